"""Simulated calls: the engine's decision after each failure, with its reason, and the worst case."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.failures import Kind
from gateway.policy.keys import NO_KEY, KeyList, KeySource
from gateway.policy.table import Route, RoutingTable, Step, StreamPolicy
from gateway.policy.target import Cooldown, Endpoint, Limits, ScriptedOutcome, Target
from gateway.simulation import clock as virtual
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import ANSWERED, Script, named
from gateway.simulation.walk import Walk, walk, worst
from tests.supposing import fails, resting

LIMITS = Limits(connect_s=5, first_token_s=10, idle_s=20, total_s=30)


def step(name: str, *, cooldown: Cooldown | None = None, limits: Limits = LIMITS, keys: int = 1, **values: Any) -> Step:
    provider, _, model = name.partition("/")
    endpoint = Endpoint(
        provider=provider,
        kind="openai",
        adapter="relay",
        cooldown=cooldown or Cooldown(),
        api_key=KeyList([KeySource(name=f"k{number}") for number in range(keys)]) if keys > 1 else NO_KEY,
    )
    return Step(target=Target(name=name, model=model, label=name, endpoint=endpoint), limits=limits, **values)


def route(*steps: Step, **values: Any) -> Route:
    return Route(alias="smart", steps=steps, **{"max_attempts": max(8, len(steps)), **values})


def told(call: Walk) -> list[tuple[int, str, str]]:
    return [(event.step, event.then, event.why) for event in call.events]


class TestReasons:
    def test_the_first_target_answers(self) -> None:
        call = walk(route(step("a/x"), step("b/x")), fails(None))
        assert (told(call), call.reason, call.error) == ([(0, "answers", "")], "answered", None)

    @pytest.mark.parametrize(
        ("chain", "kind", "expected"),
        [
            (
                route(step("a/x", retries=1)),
                Kind.OVERLOADED,
                [(0, "retry", ""), (0, "give up", "its retry is used up")],
            ),
            (
                route(step("a/x", retries=2, cooldown=Cooldown(failures=9))),
                Kind.OVERLOADED,
                [(0, "retry", ""), (0, "retry", ""), (0, "give up", "its retries are used up")],
            ),
            (route(step("a/x")), Kind.OVERLOADED, [(0, "give up", "retries: 0")]),
            (
                route(step("a/x", retries=1)),
                Kind.AUTH,
                [(0, "give up", "auth is not in retry_on")],
            ),
            (
                route(step("a/x", retries=1), step("b/x")),
                Kind.CONTENT_FILTER,
                [(0, "stop", "content_filter is not in fallback_on")],
            ),
            (
                route(step("a/x", retries=5), step("b/x")),
                Kind.BAD_RESPONSE,
                [
                    (0, "next", "bad_response is retried no more while another target is left"),
                    (1, "give up", "retries: 0"),
                ],
            ),
            (
                route(step("a/x", retries=5)),
                Kind.BAD_RESPONSE,
                [(0, "retry", ""), (0, "give up", "its retries are used up")],
            ),
            (
                route(step("a/x", retries=5), step("b/x"), max_attempts=2),
                Kind.OVERLOADED,
                [(0, "next", "the calls left are kept for the other targets"), (1, "give up", "retries: 0")],
            ),
            (
                route(step("a/x", retries=5), max_attempts=1),
                Kind.OVERLOADED,
                [(0, "give up", "max_attempts is reached")],
            ),
            (
                route(step("a/x", retries=1), deadline_s=0.25),
                Kind.OVERLOADED,
                [(0, "give up", "the deadline is too near")],
            ),
        ],
    )
    def test_each_end_of_a_targets_attempts_has_its_reason(
        self, chain: Route, kind: Kind, expected: list[tuple[int, str, str]]
    ) -> None:
        assert told(walk(chain, fails(kind))) == expected

    def test_a_retry_after_that_is_too_long_rests_the_target(self) -> None:
        call = walk(route(step("a/x", retries=1), step("b/x")), fails(Kind.RATE_LIMIT, retry_after_s=60.0))
        assert told(call) == [(0, "next", "its Retry-After is too long to wait for"), (1, "give up", "retries: 0")]

    def test_a_short_retry_after_is_waited_for(self) -> None:
        call = walk(route(step("a/x", retries=1), step("b/x")), fails(Kind.RATE_LIMIT, retry_after_s=6.0))
        assert [(event.step, event.wait_s) for event in call.events] == [(0, 6.0), (0, 0.0), (1, 0.0)]

    def test_a_deadline_ends_a_call_in_the_midst_of_an_attempt(self) -> None:
        call = walk(route(step("a/x"), step("b/x"), deadline_s=40), fails(Kind.OVERLOADED, delay_s=25.0))
        assert [(event.kind, event.then) for event in call.events] == [
            (Kind.OVERLOADED, "next"),
            (Kind.TIMEOUT, "give up"),
        ]
        assert (call.reason, call.ended_s, call.error and call.error.status) == ("deadline", 40.0, 504)

    def test_a_resting_target_is_passed_over(self) -> None:
        chain = route(step("a/x"), step("b/x"))
        call = walk(chain, fails(None), health=resting(chain, {0: 20.0}))
        assert (set(call.tried), dict(call.passed_over)) == ({1}, {0: "cooldown"})

    def test_a_target_that_rests_no_more_is_tried_once_the_others_failed(self) -> None:
        chain = route(step("a/x"), step("b/x"))
        call = walk(chain, fails(Kind.OVERLOADED, delay_s=25.0), health=resting(chain, {0: 20.0}))
        assert told(call) == [(1, "next", "retries: 0"), (0, "give up", "retries: 0")]

    def test_a_resting_target_is_the_last_resort(self) -> None:
        chain = route(step("a/x", retries=3), step("b/x"))
        call = walk(chain, fails(Kind.SERVER_ERROR), health=resting(chain, {0: 20.0, 1: 10.0}))
        events = [(event.step, event.last_resort) for event in call.events]
        assert events == [(1, True), (0, True), (0, False), (0, False), (0, False)]
        assert (call.events[0].why, call.events[-1].why) == ("retries: 0", "its retries are used up")


class TestWorst:
    def test_fast_failures_make_the_most_calls(self) -> None:
        chain = route(step("a/x", retries=1), step("b/x", retries=1))
        assert [event.step for event in worst(chain, stream=False, slow=False).events] == [0, 0, 1, 1]

    def test_slow_failures_take_the_most_time(self) -> None:
        chain = route(step("a/x", retries=1), step("b/x"))
        call = worst(chain, stream=False, slow=True)
        assert (len(call.events), call.ended_s) == (3, 90.25)

    def test_a_target_that_is_retried_on_what_does_not_move_on_still_moves_on(self) -> None:
        steps = (
            step("a/x", retries=1, retry_on=frozenset({Kind.RATE_LIMIT}), fallback_on=frozenset({Kind.AUTH})),
            step("b/x"),
        )
        call = worst(route(*steps), stream=False, slow=False)
        assert [(event.step, event.kind) for event in call.events][:2] == [(0, Kind.RATE_LIMIT), (0, Kind.AUTH)]

    def test_a_target_that_never_moves_on_ends_the_call(self) -> None:
        steps = (step("a/x", retry_on=frozenset[Kind](), fallback_on=frozenset[Kind]()), step("b/x"))
        call = worst(route(*steps), stream=False, slow=False)
        assert (len(call.events), call.reason) == (1, "stopped")

    @pytest.mark.parametrize(
        ("stream", "hold", "total_s", "expected_s"),
        [
            (False, "first_token", None, 30),
            (True, "first_token", None, 10),
            (True, "first_token", 7, 7),
            (True, "full", None, 600),
            (True, "full", 50, 50),
        ],
    )
    def test_how_long_one_attempt_may_take(
        self, stream: bool, hold: Any, total_s: float | None, expected_s: float
    ) -> None:
        limits = Limits(connect_s=5, first_token_s=10, idle_s=20, total_s=30, stream_total_s=total_s)
        chain = route(step("a/x", limits=limits), stream=StreamPolicy(hold=hold))
        assert worst(chain, stream=stream, slow=True).ended_s == expected_s

    def test_a_step_without_any_kind_fails_all_the_same(self) -> None:
        chain = route(step("a/x", retries=2, retry_on=frozenset[Kind](), fallback_on=frozenset[Kind]()))
        assert [event.kind for event in worst(chain, stream=False, slow=True).events] == [Kind.TIMEOUT]


class TestStreams:
    def test_a_stream_is_followed_until_it_begins(self) -> None:
        call = walk(route(step("a/x"), step("b/x")), fails(None, delay_s=2.0), stream=True)
        assert (told(call), call.ended_s, call.reason) == ([(0, "answers", "")], 2.0, "answered")

    def test_a_stream_that_is_held_back_and_too_large_ends_the_call(self) -> None:
        chain = route(step("a/x"), step("b/x"), stream=StreamPolicy(hold="full", max_bytes=8))
        call = walk(chain, fails(None), stream=True)
        assert told(call) == [(0, "stop", "the stream was held back and grew beyond stream.max_bytes (8)")]
        assert (call.reason, call.error and call.error.status) == ("stopped", 502)

    @pytest.mark.parametrize(
        ("total_s", "deadline_s", "expected_s"),
        [(None, 30, 600), (None, 900, 900), (50, 30, 50), (700, 30, 700), (50, 900, 50)],
    )
    def test_content_that_never_ends_is_held_back_until_total_or_for_ten_minutes(
        self, total_s: float | None, deadline_s: float, expected_s: float
    ) -> None:
        limits = Limits(connect_s=5, first_token_s=10, idle_s=5000, total_s=30, stream_total_s=total_s)
        steps = [step(f"{name}/x", limits=limits) for name in "ab"]
        chain = route(*steps, stream=StreamPolicy(hold="full"), deadline_s=deadline_s)
        call = walk(chain, lambda *_: ScriptedOutcome(text="one two three", stall=1), stream=True)
        assert (call.ended_s, call.reason, call.error and call.error.status) == (expected_s, "deadline", 504)
        assert [event.step for event in call.events] == [0]

    def test_a_silent_upstream_of_a_held_back_stream_is_left_after_the_limit_of_its_first_token(self) -> None:
        chain = route(step("a/x"), step("b/x"), stream=StreamPolicy(hold="full"))
        call = walk(chain, lambda *_: named(Kind.TIMEOUT), stream=True)
        assert [(event.kind, event.ended_s) for event in call.events] == [(Kind.TIMEOUT, 10.0), (Kind.TIMEOUT, 20.0)]


STEPS = st.builds(
    step,
    st.sampled_from(["a/x", "b/x", "c/x"]),
    cooldown=st.builds(Cooldown, failures=st.integers(1, 4)),
    retries=st.integers(0, 3),
    retry_on=st.frozensets(st.sampled_from(list(Kind))),
    fallback_on=st.frozensets(st.sampled_from(list(Kind))),
)
FATES = st.lists(st.one_of(st.none(), st.sampled_from(list(Kind))), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(STEPS, min_size=1, max_size=4, unique_by=lambda one: one.target.name),
    by_target=st.fixed_dictionaries(dict.fromkeys(("a/x", "b/x", "c/x"), FATES)),
    deadline_s=st.sampled_from([0.4, 20.0, 45.0, 120.0]),
    spare=st.integers(0, 6),
    stream=st.booleans(),
)
def test_a_call_is_told_as_a_whole_gateway_runs_it(
    steps: list[Step], by_target: dict[str, list[Kind | None]], deadline_s: float, spare: int, stream: bool
) -> None:
    chain = route(*steps, deadline_s=deadline_s, max_attempts=len(steps) + spare)
    outcomes = {
        name: tuple(ANSWERED if kind is None else named(kind) for kind in kinds) for name, kinds in by_target.items()
    }

    async def ask() -> Observed:
        table = RoutingTable(generation=1, routes={"smart": chain})
        request = {"model": "smart", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        return await Simulator(table, Script(outcomes)).ask(request)

    seen = virtual.run(ask())
    script = Script(outcomes)
    call = walk(chain, lambda called, *_: script(called), stream=stream)
    names = [chain.steps[event.step].target.name for event in call.events]
    assert names == [attempt.target for attempt in seen.attempts]
    assert [event.kind for event in call.events] == [attempt.kind for attempt in seen.attempts]
    assert [event.started_s for event in call.events] == [one.started_s for one in seen.attempts]
    assert call.ended_s == seen.elapsed_s
    assert (call.error.status if call.error else 200, call.error and call.error.code) == (seen.status, seen.error)


class TestSeveralKeys:
    def test_each_key_is_tried_before_the_targets_own_retry(self) -> None:
        chain = route(step("a/x", keys=3, retries=1), step("b/x"))
        call = walk(chain, fails(Kind.AUTH, Kind.RATE_LIMIT, Kind.OVERLOADED, None))
        assert [(event.step, event.then) for event in call.events] == [
            (0, "key"), (0, "key"), (0, "retry"), (0, "answers")
        ]  # fmt: skip

    def test_the_worst_case_counts_the_other_keys(self) -> None:
        chain = route(step("a/x", keys=3, retries=1), step("b/x"))
        assert len(worst(chain, stream=False, slow=False).events) == 3 + 1 + 1

    def test_a_scripted_upstream_gives_its_outcomes_to_one_key_after_the_other(self) -> None:
        chain = route(step("a/x", keys=2))
        table = RoutingTable(generation=1, routes={"smart": chain})
        script = Script({"a/x": (named(Kind.RATE_LIMIT), ANSWERED)})
        body = {"model": "smart", "messages": [{"role": "user", "content": "hi"}]}

        async def ask() -> Observed:
            return await Simulator(table, script).ask(body)

        seen = virtual.run(ask())
        assert [(one.target, one.kind) for one in seen.attempts] == [("a/x", Kind.RATE_LIMIT), ("a/x", None)]
