"""The order of a chain with pools and conditions for one request, and what the engine makes of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.arrange import Arrangement, arranged, member_shares, shares
from gateway.engine.facts import RequestFacts
from gateway.engine.health import Health
from gateway.engine.health_view import HealthView
from gateway.engine.makers import Makers
from gateway.engine.pipeline import Pipeline
from gateway.errors import GatewayError, NoStep
from gateway.operations import CHAT, OPERATIONS
from gateway.policy.conditions import Threshold, When, unmet
from gateway.policy.failures import Kind
from gateway.policy.overlay import Overlay
from gateway.policy.pools import Conditional, Member, Part, Pick, Pool, StickyKey, conditionals, positions
from gateway.policy.problem import Problems
from gateway.policy.table import Route, RoutingTable, Step
from gateway.policy.target import Cooldown, Endpoint, Limits, ScriptedOutcome, Target
from gateway.simulation import clock as virtual
from gateway.simulation.upstreams import ANSWERED, Upstreams
from gateway.telemetry.report import CallReport
from gateway.wire.json import EMPTY, Json, JsonObject
from tests.supposing import resting

LIMITS = Limits(connect_s=5, first_token_s=10, idle_s=20, total_s=30)
SHORT_REST = Cooldown(failures=1, within_s=30, for_s=30)
LONG = When(tokens=Threshold(">", 1000))
PAID = When(headers={"x-tier": ("paid",)})
STREAMS = When(features={"stream": True})
HI: JsonObject = {"messages": [{"role": "user", "content": "hi"}]}


def step(number: int, *, model: str = "x", adapter: Any = "relay", **values: Any) -> Step:
    endpoint = Endpoint(provider=f"up{number}", kind="openai", adapter=adapter, cooldown=SHORT_REST)
    name = f"up{number}/{model}"
    return Step(target=Target(name=name, model=model, label=name, endpoint=endpoint), limits=LIMITS, **values)


def member(*parts: Part, weight: float = 1.0, name: str | None = None) -> Member:
    return Member(name=name or f"m{positions(parts)[0]}", parts=parts, weight=weight)


def pool(*members: Member | int, **values: Any) -> Pool:
    return Pool(members=tuple([member(one) if isinstance(one, int) else one for one in members]), **values)


def route(*parts: Part, steps: Sequence[Step] | None = None, **values: Any) -> Route:
    made = tuple(step(number) for number in range(len(positions(parts)))) if steps is None else tuple(steps)
    return Route(alias="smart", steps=made, parts=parts, **{"max_attempts": max(8, len(made)), **values})


def facts(operation: str = "chat", params: JsonObject = HI, **values: Any) -> RequestFacts:
    return RequestFacts(OPERATIONS[operation], params, arrived=lambda: 0.0, **values)


def order(
    chain: Route, request: RequestFacts | None = None, *, health: Health | None = None, seed: int = 1
) -> list[int]:
    assert chain.parts is not None
    view = HealthView(health or Health(), chain.steps, ("chat", False), now_s=0.0)
    return [*Arrangement(chain.parts, request or facts(), view, random.Random(seed).random).order]


def firsts(chain: Route, **values: Any) -> Counter[int]:
    return Counter(order(chain, seed=seed, **values)[0] for seed in range(400))


class TestOrder:
    def test_a_pool_stands_where_it_is_in_the_chain(self) -> None:
        chain = route(0, pool(1, 2, 3), 4)
        for seed in range(20):
            found = order(chain, seed=seed)
            assert (found[0], found[4], sorted(found[1:4])) == (0, 4, [1, 2, 3])

    def test_an_alias_member_keeps_its_own_chain_together(self) -> None:
        chain = route(pool(member(0, 1, name="smart"), 2))
        assert {tuple(order(chain, seed=seed)) for seed in range(20)} == {(0, 1, 2), (2, 0, 1)}

    def test_an_alias_member_may_have_pools_and_conditions_of_its_own(self) -> None:
        chain = route(pool(member(pool(0, 1), Conditional(when=PAID, parts=(2,)), name="inner"), member(3, weight=0)))
        found = [order(chain, seed=seed) for seed in range(20)]
        assert {tuple(each[2:]) for each in found} == {(2, 3)}
        assert {each[0] for each in found} == {0, 1}

    def test_members_that_rest_come_last(self) -> None:
        chain = route(pool(0, 1, 2), 3)
        health = resting(chain, {0: 5.0})
        for seed in range(20):
            assert order(chain, health=health, seed=seed)[2:] == [0, 3]

    def test_a_resting_member_comes_behind_one_of_weight_0(self) -> None:
        chain = route(pool(0, member(1, weight=0)))
        assert order(chain, health=resting(chain, {0: 5.0})) == [1, 0]

    def test_a_member_rests_when_all_its_steps_do(self) -> None:
        chain = route(pool(member(0, 1, name="smart"), member(2, weight=0)))
        assert order(chain, health=resting(chain, {0: 5.0})) == [0, 1, 2]
        assert order(chain, health=resting(chain, {0: 5.0, 1: 5.0})) == [2, 0, 1]

    def test_a_member_whose_steps_are_all_skipped_leaves_its_share_to_the_others(self) -> None:
        chain = route(pool(member(Conditional(when=PAID, parts=(0,)), weight=8), 1, 2))
        found = firsts(chain)
        assert found[0] == 0
        assert abs(found[1] - 200) <= 40


class TestSticky:
    def test_a_key_has_one_order_and_its_source_is_known(self) -> None:
        chain = route(pool(0, 1, 2, pick="sticky", key=StickyKey(header="x-session")))
        assert chain.parts is not None
        request = facts(headers={"x-session": "abc"})
        assert len({tuple(order(chain, request, seed=seed)) for seed in range(20)}) == 1
        made = arranged(chain, request, Health(), random.random, now_s=0.0).made
        assert made.source == "header x-session"

    def test_a_request_without_the_key_is_drawn_by_weight(self) -> None:
        chain = route(pool(member(0, weight=3), 1, pick="sticky", key=StickyKey(header="x-session")))
        found = firsts(chain)
        assert abs(found[0] - 300) <= 4 * 75**0.5
        assert arranged(chain, facts(), Health(), random.random, now_s=0.0).made.source is None

    def test_a_resting_member_s_keys_go_to_their_own_second_choice_and_come_back(self) -> None:
        chain = route(pool(0, 1, 2, pick="sticky"))
        health = resting(chain, {1: 5.0})
        for number in range(200):
            request = facts(headers={"x-session-id": f"{number}"})
            usual = order(chain, request)
            expected = [each for each in usual if each != 1]
            assert order(chain, request, health=health) == [*expected, 1]
            assert order(chain, request) == usual


class TestLoad:
    def test_the_less_busy_of_two_comes_first(self) -> None:
        chain = route(pool(0, 1, pick="least_busy"))
        health = Health()
        health.begin(chain.steps[0], now_s=0.0)
        assert firsts(chain, health=health) == {1: 400}

    def test_calls_count_by_weight(self) -> None:
        chain = route(pool(member(0, weight=4), 1, pick="least_busy"))
        health = Health()
        for position in (0, 0, 0, 1):
            health.begin(chain.steps[position], now_s=0.0)
        assert firsts(chain, health=health) == {0: 400}

    def test_the_busiest_of_three_is_never_picked(self) -> None:
        chain = route(pool(0, 1, 2, pick="least_busy"))
        health = Health()
        for position in (0, 0, 1):
            health.begin(chain.steps[position], now_s=0.0)
        found = firsts(chain, health=health)
        assert found[0] == 0
        assert found[2] > found[1] > 0

    def test_idle_members_are_drawn_by_weight(self) -> None:
        pick: Pick
        for pick in ("least_busy", "fastest"):
            chain = route(pool(member(0, weight=3), 1, pick=pick))
            assert abs(firsts(chain)[0] - 300) <= 4 * 75**0.5

    def test_calls_of_all_steps_of_an_alias_count(self) -> None:
        chain = route(pool(member(0, 1, name="smart"), 2, pick="least_busy"))
        health = Health()
        health.begin(chain.steps[1], now_s=0.0)
        assert {tuple(order(chain, health=health, seed=seed)) for seed in range(20)} == {(2, 0, 1)}

    def test_the_faster_of_two_comes_first(self) -> None:
        chain = route(pool(0, 1, pick="fastest"))
        health = Health()
        for position, seconds in ((0, 0.4), (1, 0.2)):
            health.begin(chain.steps[position], now_s=0.0).done()
            health.note_pace(chain.steps[position].target, ("chat", False), seconds, now_s=0.0)
        assert firsts(chain, health=health) == {1: 400}

    def test_a_slower_one_is_better_while_the_faster_one_is_busy(self) -> None:
        chain = route(pool(0, 1, pick="fastest"))
        health = Health()
        for position, seconds in ((0, 0.4), (1, 0.3)):
            health.begin(chain.steps[position], now_s=0.0).done()
            health.note_pace(chain.steps[position].target, ("chat", False), seconds, now_s=0.0)
        health.begin(chain.steps[1], now_s=0.0)
        assert firsts(chain, health=health) == {0: 400}


class TestConditions:
    CHAIN = route(Conditional(when=LONG, parts=(0,)), Conditional(when=PAID, parts=(pool(1, 2),)), 3)

    def test_steps_are_skipped_with_the_first_part_that_is_not_met(self) -> None:
        made = arranged(self.CHAIN, facts(), Health(), random.random, now_s=0.0)
        assert dict(made.made.skipped) == {0: "tokens", 1: "header x-tier", 2: "header x-tier"}
        assert {made.steps[place].target.name for place in made.skipped} == {"up0/x", "up1/x", "up2/x"}

    def test_all_parts_of_a_chain_are_asked_for_their_own_condition(self) -> None:
        long = {"messages": [{"role": "user", "content": "x" * 5000}]}
        made = arranged(self.CHAIN, facts(params=long, headers={"x-tier": "paid"}), Health(), random.random, now_s=0.0)
        assert not made.skipped

    def test_an_inner_condition_is_told_after_the_outer_one(self) -> None:
        chain = route(Conditional(when=PAID, parts=(Conditional(when=LONG, parts=(0,)), 1)), 2)
        made = arranged(chain, facts(headers={"x-tier": "paid"}), Health(), random.random, now_s=0.0)
        assert dict(made.made.skipped) == {0: "tokens"}
        made = arranged(chain, facts(), Health(), random.random, now_s=0.0)
        assert dict(made.made.skipped) == {0: "header x-tier", 1: "header x-tier"}

    def test_the_stream_is_what_was_asked_for(self) -> None:
        chain = route(Conditional(when=STREAMS, parts=(0,)), 1)
        assert not arranged(chain, facts(stream=True), Health(), random.random, now_s=0.0).skipped


class TestShares:
    def test_a_pool_s_shares_are_its_weights(self) -> None:
        assert shares((pool(member(0, weight=9), 1), 2)) == {0: 0.9, 1: 0.1}

    def test_shares_of_pools_in_pools(self) -> None:
        chain = (pool(member(pool(0, member(1, weight=3)), 2, name="inner"), member(3, weight=1)),)
        assert shares(chain) == {0: 0.125, 1: 0.375, 3: 0.5}

    def test_closed_steps_leave_their_share_to_the_others(self) -> None:
        chain = (0, pool(member(1, weight=2), 2, 3), 4)
        assert shares(chain) == {0: 1.0}
        assert shares(chain, {0}) == {1: 0.5, 2: 0.25, 3: 0.25}
        assert shares(chain, {0, 1}) == {2: 0.5, 3: 0.5}
        assert shares(chain, {0, 1, 2, 3}) == {4: 1.0}
        assert shares(chain, {0, 1, 2, 3, 4}) == {}

    def test_weight_0_has_a_share_only_when_nobody_else_is_left(self) -> None:
        chain = pool(0, member(1, weight=0))
        assert member_shares(chain) == [1.0, 0.0]
        assert member_shares(chain, {0}) == [0.0, 1.0]
        assert member_shares(chain, {0, 1}) == [1.0, 0.0]


class Fixed:
    """One table that never changes."""

    problems: Problems = ()

    def __init__(self, *routes: Route) -> None:
        self.current = RoutingTable(generation=1, routes={each.alias: each for each in routes})

    def set_overlay(self, overlay: Overlay) -> None:
        """Do nothing."""

    def reload(self) -> Fixed:
        """Do nothing."""
        return self


class Bench:
    """A pipeline with scripted upstreams on a virtual clock."""

    def __init__(self, chain: Route, *, seed: int = 1, health: Health | None = None) -> None:
        self.script: dict[str, ScriptedOutcome] = {}
        self.upstreams = Upstreams(lambda call: self.script.get(call.target.name, ANSWERED))
        self.health = health or Health()
        self.makers = Makers()
        self.report = CallReport()
        self.pipeline = Pipeline(
            tables=Fixed(chain),
            adapters=self.upstreams.adapters,
            health=self.health,
            makers=self.makers,
            draw=random.Random(seed).random,
            jitter=lambda: 1.0,
        )

    async def ask(self, operation: str = "chat", params: JsonObject = HI, **values: Any) -> str:
        """Return the target that answered."""
        self.report = CallReport()
        body = {"model": "smart", **params}
        await self.pipeline.answer(OPERATIONS[operation], body, report=self.report, **values)
        assert self.report.target is not None
        return self.report.target.name

    @property
    def attempts(self) -> list[tuple[str, str | None]]:
        return [(attempt.target, attempt.kind) for attempt in self.report.attempts]


DOWN = ScriptedOutcome(kind=Kind.SERVER_ERROR, status=500)


class TestEngine:
    def test_a_failure_stays_in_the_pool_first(self) -> None:
        async def run() -> None:
            bench = Bench(route(pool(0, 1, 2), 3))
            bench.script = dict.fromkeys(("up0/x", "up1/x", "up2/x"), DOWN)
            assert await bench.ask() == "up3/x"
            assert sorted(bench.attempts[:3]) == [(f"up{each}/x", "server_error") for each in range(3)]

        virtual.run(run())

    def test_a_skipped_step_is_an_attempt_of_its_own_kind_and_never_called(self) -> None:
        async def run() -> None:
            bench = Bench(route(Conditional(when=PAID, parts=(0,)), 1))
            assert await bench.ask() == "up1/x"
            assert bench.attempts == [("up0/x", "condition"), ("up1/x", None)]
            assert bench.report.calls == 1
            assert await bench.ask(client_headers={"x-tier": "paid"}) == "up0/x"

        virtual.run(run())

    def test_a_skipped_step_is_no_last_resort(self) -> None:
        async def run() -> None:
            bench = Bench(route(Conditional(when=PAID, parts=(0,)), 1))
            bench.script["up1/x"] = DOWN
            for _ in range(3):
                with pytest.raises(GatewayError):
                    await bench.ask()
            assert {call.sent["model"] for call in bench.upstreams.calls} == {"x"}
            assert "up0/x" not in {target for target, kind in bench.attempts if kind != "condition"}

        virtual.run(run())

    def test_a_chain_whose_every_step_is_skipped_answers_400(self) -> None:
        async def run() -> None:
            bench = Bench(route(Conditional(when=PAID, parts=(0,)), Conditional(when=LONG, parts=(1, 2))))
            with pytest.raises(NoStep) as caught:
                await bench.ask()
            assert (caught.value.status, caught.value.is_final) == (400, True)
            assert str(caught.value) == (
                "no step of 'smart' takes this request: it does not meet their conditions (header x-tier, tokens)"
            )
            assert [attempt.kind for attempt in caught.value.attempts] == ["condition"] * 3
            assert not bench.upstreams.calls

        virtual.run(run())

    def test_the_first_step_of_the_arrangement_says_which_model_embeddings_may_fall_over_to(self) -> None:
        steps = (step(0, model="a"), step(1, model="b"), step(2, model="b"))

        async def run() -> None:
            bench = Bench(route(Conditional(when=PAID, parts=(0,)), 1, 2, steps=steps))
            bench.script["up1/b"] = DOWN
            assert await bench.ask("embeddings", {"input": "hi"}) == "up2/b"
            assert bench.attempts[0] == ("up0/a", "condition")

        virtual.run(run())

    def test_a_bound_request_goes_to_its_maker_whatever_a_pool_or_a_condition_says(self) -> None:
        async def run() -> None:
            bench = Bench(route(pool(0, 1, 2, pick="sticky"), Conditional(when=PAID, parts=(3,))))
            bench.makers.note(["resp_1"], bench.pipeline.route("smart").steps[3].target, alias="smart", client=None)
            for number in range(5):
                body = {"input": "hi", "previous_response_id": "resp_1", "user": str(number)}
                assert await bench.ask("responses", body) == "up3/x"
                free = {"input": "hi", "previous_response_id": "resp_9", "user": str(number)}
                assert await bench.ask("responses", free) == "up0/x", "the first in file order"

        virtual.run(run())

    def test_an_unbound_response_is_arranged(self) -> None:
        async def run() -> None:
            bench = Bench(route(pool(0, 1, 2)))
            assert {await bench.ask("responses", {"input": "hi"}) for _ in range(40)} == {"up0/x", "up1/x", "up2/x"}

        virtual.run(run())

    def test_the_source_of_a_key_is_reported(self) -> None:
        async def run() -> None:
            bench = Bench(route(pool(0, 1, pick="sticky")))
            await bench.ask(client_headers={"x-session-id": "abc"})
            assert bench.report.sticky == "header x-session-id"
            await bench.ask(params={"messages": []} | {"user": "me"})
            assert bench.report.sticky == "user"

        virtual.run(run())

    def test_times_are_noted_for_the_fastest_only(self) -> None:
        async def run() -> None:
            for pick, expected in (("fastest", 0.25), ("weighted", None)):
                bench = Bench(route(pool(0, pick=pick)))
                bench.script["up0/x"] = ScriptedOutcome(text="hi", delay_s=0.25)
                await bench.ask()
                pace = bench.health.pace(bench.pipeline.route("smart").steps[0].target, ("chat", False))
                assert (None if pace is None else pytest.approx(pace.average_s)) == expected

        virtual.run(run())

    def test_a_target_that_is_too_slow_to_answer_is_not_taken_for_fast(self) -> None:
        async def run() -> None:
            bench = Bench(route(pool(0, member(1, weight=0), pick="fastest")))
            bench.script["up0/x"] = ScriptedOutcome(text=None, stall=0)
            await bench.ask()
            pace = bench.health.pace(bench.pipeline.route("smart").steps[0].target, ("chat", False))
            assert pace is not None
            assert pace.average_s >= LIMITS.first_token_s

        virtual.run(run())

    def test_a_long_body_is_read_for_its_conditions(self) -> None:
        from tests.unit.engine.test_facts import large

        async def run() -> None:
            bench = Bench(route(Conditional(when=LONG, parts=(0,)), 1))
            body = large({"messages": [{"role": "user", "content": "word " * 2000}]})
            assert await bench.ask(params=body) == "up0/x"
            assert await bench.ask() == "up1/x"

        virtual.run(run())


class TestNoHerd:
    """1,000 clients at once, on members of which one just came back."""

    @pytest.mark.parametrize("pick", ["least_busy", "fastest"])
    def test_calls_in_flight_stay_even(self, pick: Pick) -> None:
        names = [f"up{number}/x" for number in range(4)]
        most: Counter[str] = Counter()

        async def client(bench: Bench, number: int) -> None:
            await asyncio.sleep(number * 0.005)
            await bench.pipeline.answer(CHAT, {"model": "smart", **HI}, report=CallReport())

        async def watch(bench: Bench, since_s: float) -> None:
            steps = bench.pipeline.route("smart").steps
            while True:
                await asyncio.sleep(0.05)
                counts = [bench.health.in_flight(one.target) for one in steps]
                if asyncio.get_running_loop().time() >= since_s:
                    for name, count in zip(names, counts, strict=True):
                        most[name] = max(most[name], count)

        async def run() -> None:
            chain = route(pool(0, 1, 2, 3, pick=pick))
            bench = Bench(chain, health=resting(chain, {2: 1.0}))
            bench.script = {name: ScriptedOutcome(text="hi", delay_s=0.8) for name in names}
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(watch(bench, 1.0))
                await asyncio.gather(*(client(bench, number) for number in range(1000)))
                watching.cancel()

        virtual.run(run())
        assert max(most.values()) <= 1.5 * 160 / 4, most
        assert most["up2/x"] >= 0.5 * 160 / 4, "it has its share again"

    def test_only_one_probe_goes_to_a_member_whose_rest_has_ended(self) -> None:
        async def run() -> None:
            for pick in ("weighted", "sticky", "least_busy", "fastest"):
                chain = route(pool(0, 1, pick=pick))
                bench = Bench(chain, health=resting(chain, {0: 1.0}))
                bench.script = {name: ScriptedOutcome(text="hi", delay_s=0.5) for name in ("up0/x", "up1/x")}
                await asyncio.sleep(1.1)
                calls = (
                    bench.pipeline.answer(CHAT, {"model": "smart", **HI, "user": str(number)}, report=CallReport())
                    for number in range(1000)
                )
                asking = asyncio.gather(*calls)
                await asyncio.sleep(0.1)
                assert bench.health.in_flight(chain.steps[0].target) <= 1
                await asking

        virtual.run(run())


# What holds for every policy, health and failure

WHENS = [LONG, PAID, STREAMS, When(features={"tools": False}), When(inverse=PAID)]
WEIGHTS = st.sampled_from([0.0, 1.0, 1.0, 3.0, 9.0])
PICKS: st.SearchStrategy[Pick] = st.sampled_from(["weighted", "sticky", "least_busy", "fastest"])


@st.composite
def chains(draw: st.DrawFn) -> Route:
    """Return a random chain with up to a dozen steps."""
    count = iter(range(100))

    def parts(depth: int) -> tuple[Part, ...]:
        made: list[Part] = []
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["step", "pool", "when"])) if depth else "step"
            if kind == "step":
                made.append(next(count))
            elif kind == "when":
                made.append(Conditional(when=draw(st.sampled_from(WHENS)), parts=parts(depth - 1)))
            else:
                members: list[Member] = []
                for number in range(draw(st.integers(1, 3))):
                    inner = parts(depth - 1) if draw(st.booleans()) else (next(count),)
                    members.append(Member(name=f"m{number}", parts=inner, weight=draw(WEIGHTS)))
                made.append(Pool(members=tuple(members), pick=draw(PICKS)))
        return tuple(made)

    found = parts(2)
    steps = [step(number, retries=draw(st.integers(0, 2))) for number in range(len(positions(found)))]
    return route(*found, steps=steps)


@settings(max_examples=300, deadline=None)
@given(
    chain=chains(),
    headers=st.sampled_from([EMPTY, {"x-tier": "paid"}]),
    is_long=st.booleans(),
    down=st.frozensets(st.integers(0, 11)),
    tired=st.frozensets(st.integers(0, 11)),
    seed=st.integers(0, 9),
)
def test_whatever_the_policy_health_and_failures(
    chain: Route, headers: dict[str, str], is_long: bool, down: frozenset[int], tired: frozenset[int], seed: int
) -> None:
    """No target is called more often than its retries allow, and none whose condition fails; the order is a pick's."""
    params: JsonObject = {"messages": [{"role": "user", "content": "word " * (2000 if is_long else 1)}], "user": "me"}
    request = facts(params=params, headers=headers)
    assert chain.parts is not None
    forbidden = {
        position
        for one in conditionals(chain.parts)
        if unmet(one.when, request) is not None
        for position in positions(one.parts)
    }
    names = [one.target.name for one in chain.steps]
    health = resting(chain, {position: 5.0 for position in tired if position < len(names)})

    async def run() -> list[str]:
        bench = Bench(chain, seed=seed, health=health)
        bench.script = {names[position]: DOWN for position in down if position < len(names)}
        error: GatewayError | None = None
        try:
            await bench.ask(params=params, client_headers=headers)
        except GatewayError as exc:
            error = exc
        assert isinstance(error, NoStep) == (len(forbidden) == len(names))
        called = [attempt.target for attempt in bench.report.attempts if attempt.was_called]
        passed = {attempt.target for attempt in bench.report.attempts if attempt.kind == "condition"}
        assert passed <= {names[position] for position in forbidden}
        return called

    called = virtual.run(run())
    for position, count in Counter(names.index(name) for name in called).items():
        assert count <= 1 + chain.steps[position].retries
        assert position not in forbidden
    if forbidden != set(range(len(names))) and set(range(len(names))) - forbidden - down:
        assert called, "somebody could be asked"
        assert names.index(called[-1]) not in down, "and somebody answers"

    again = HealthView(Health(), chain.steps, ("chat", False), now_s=0.0)
    made = Arrangement(chain.parts, request, again, random.Random(seed).random)
    assert sorted(made.order) == list(range(len(names)))
    assert set(made.skipped) == forbidden
    for picked in made.picked:
        first, weights = picked.order[0], [member.weight for member in picked.pool.members]
        is_open = [any(one not in forbidden for one in positions(each.parts)) for each in picked.pool.members]
        if any(is_open):
            assert is_open[first]
            if any(weight and opened for weight, opened in zip(weights, is_open, strict=True)):
                assert weights[first]
        if picked.pool.pick == "sticky":
            other = Arrangement(chain.parts, request, again, random.Random(seed + 100).random)
            assert picked.order in [each.order for each in other.picked if each.pool is picked.pool]
    found = shares(chain.parts, forbidden)
    assert sum(found.values()) == pytest.approx(1.0 if forbidden != set(range(len(names))) else 0.0)
    assert forbidden.isdisjoint(found)


def test_a_json_value_is_compared_by_type() -> None:
    """`param` and `metadata` are asked of the facts as they are in the body."""
    when = When(params={"reasoning_effort": ("high",)}, metadata={"tier": ("paid", 1)})
    params: dict[str, Json] = {"reasoning_effort": "high", "metadata": {"tier": 1}}
    assert unmet(when, facts(params=params)) is None
    assert unmet(when, facts(params={**params, "metadata": {"tier": True}})) == "metadata tier"
