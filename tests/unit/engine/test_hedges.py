"""When a second target is called beside a slow one, which answer wins, and how the calls are told; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.adapters.base import Call
from gateway.engine.hedge_budget import MINUTE_S
from gateway.policy.failures import Kind
from gateway.policy.target import ScriptedOutcome
from gateway.simulation import clock as virtual
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import Script, named
from gateway.wire.json import JsonObject
from tests.compiling import table

ROUTES = """
providers: {up: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-a}}
defaults: {retries: 0, timeout: 30s, cooldown: {failures: 1}}
models:
  fast: {chain: [up/a, up/b, up/c], hedge: 3s}
  again: {chain: [up/a, up/b], hedge: 3s, retries: 1}
  few: {chain: [up/a, up/b, up/c], hedge: 3s, max_attempts: 3}
  twice: {chain: [up/a, {target: up/a, timeout: 60s}, up/b], hedge: 3s}
  one: {chain: [up/a], hedge: 3s}
  retried: {chain: [up/a, {target: up/b, retries: 1}, up/c], hedge: 3s}
  pair: {chain: [up/a, up/b, {target: up/b, timeout: 60s}], hedge: 3s}
  whole: {chain: [up/a, up/b, up/c], hedge: 3s, stream: {hold: full}}
  last_kept: {chain: [up/a, up/b, {target: up/c, params: {store: true}}], hedge: 3s}
  held: {chain: [up/a, up/b], hedge: 3s, stream: {hold: full}}
  usual: {chain: [up/a, up/b], hedge: p95}
  kept: {chain: [up/a, up/b], hedge: 3s, params: {store: true}}
  tool: {chain: [up/a, {target: up/b, params: {tools: [{type: mcp}]}}], hedge: 3s}
  when: {chain: [up/a, {when: {tools: true}, target: up/b}, up/c], hedge: 3s}
"""

HI: JsonObject = {"messages": [{"role": "user", "content": "hi"}]}

Shown = list[tuple[str, str | None, float, float]]


def after(delay_s: float, text: str = "hello") -> ScriptedOutcome:
    return ScriptedOutcome(text=text, delay_s=delay_s)


def failing(kind: Kind, delay_s: float = 0.0, **more: Any) -> ScriptedOutcome:
    outcome = named(kind)
    return ScriptedOutcome(kind=outcome.kind, status=outcome.status, delay_s=delay_s, **more)


def played(ask: Callable[[Simulator], Coroutine[Any, Any, Any]], **outcomes: Any) -> Any:
    """Return what `ask` returns of a gateway whose targets `up/NAME` answer by these outcomes, the last for ever."""

    async def run() -> Any:
        script = Script({f"up/{name}": (one,) if isinstance(one, ScriptedOutcome) else one for name, one in by_name})
        return await ask(Simulator(table(ROUTES), script))

    by_name = list(outcomes.items())
    return virtual.run(run())


def asked(alias: str = "fast", *, stream: bool = False, operation: str | None = None, **more: Any) -> Any:
    body = {"model": alias, **({} if "input" in more else HI), **({"stream": True} if stream else {}), **more}
    return lambda simulator: simulator.ask(body, operation)


def calls(observed: Observed) -> Shown:
    return [
        (one.target, None if one.kind is None else str(one.kind), one.started_s, round(one.ended_s, 3))
        for one in observed.attempts
    ]


@pytest.mark.parametrize("stream", [False, True])
class TestWhichWins:
    def test_a_fast_target_is_called_alone(self, *, stream: bool) -> None:
        observed = played(asked(stream=stream), a=after(2.9))
        assert (calls(observed), observed.elapsed_s) == ([("up/a", None, 0, 2.9)], 2.9)

    def test_the_second_target_answers_while_the_first_is_silent(self, *, stream: bool) -> None:
        observed = played(asked(stream=stream), a=after(20), b=after(1, "from b"))
        assert calls(observed) == [("up/a", "hedged_out", 0, 4), ("up/b", None, 3, 4)]
        assert (observed.text, observed.target, observed.elapsed_s) == ("from b", "up/b", 4)
        assert observed.headers["x-gateway-attempts"] == "2"
        assert observed.headers["x-gateway-target"] == "up/b"
        assert observed.first_content_s == (4 if stream else None)

    def test_the_first_target_answers_before_the_second(self, *, stream: bool) -> None:
        observed = played(asked(stream=stream), a=after(4, "from a"), b=after(5))
        assert calls(observed) == [("up/a", None, 0, 4), ("up/b", "hedged_out", 3, 4)]
        assert (observed.text, observed.target, observed.kind) == ("from a", "up/a", None)
        assert observed.headers["x-gateway-attempts"] == "2"

    def test_the_second_fails_and_the_first_is_waited_for(self, *, stream: bool) -> None:
        observed = played(asked("again", stream=stream), a=after(9), b=failing(Kind.AUTH, 1))
        assert calls(observed) == [("up/a", None, 0, 9), ("up/b", "auth", 3, 4)]

    def test_then_a_third_is_called_after_the_same_time(self, *, stream: bool) -> None:
        async def ask(simulator: Simulator) -> Observed:
            for _ in range(20):
                await simulator.ask({"model": "fast", **HI})
            found: Observed = await asked(stream=stream)(simulator)
            return found

        observed = played(ask, a=(*[after(0)] * 20, after(29)), b=failing(Kind.AUTH, 1), c=after(1))
        assert calls(observed) == [("up/a", "hedged_out", 0, 8), ("up/b", "auth", 3, 4), ("up/c", None, 7, 8)]

    def test_the_first_fails_and_the_second_is_waited_for(self, *, stream: bool) -> None:
        observed = played(asked(stream=stream), a=failing(Kind.SERVER_ERROR, 5), b=after(9))
        assert calls(observed) == [("up/a", "server_error", 0, 5), ("up/b", None, 3, 12)]

    def test_both_fail_and_the_chain_goes_on_behind_them(self, *, stream: bool) -> None:
        observed = played(asked(stream=stream), a=failing(Kind.SERVER_ERROR, 5), b=failing(Kind.AUTH, 1), c=after(1))
        assert calls(observed) == [("up/a", "server_error", 0, 5), ("up/b", "auth", 3, 4), ("up/c", None, 5, 6)]

    def test_the_first_is_retried_while_the_second_is_silent(self, *, stream: bool) -> None:
        observed = played(asked("again", stream=stream), a=(failing(Kind.CONNECTION, 5), after(1)), b=after(29))
        assert [(one[0], one[1]) for one in calls(observed)] == [
            ("up/a", "connection"), ("up/b", "hedged_out"), ("up/a", None),
        ]  # fmt: skip

    def test_a_request_that_is_refused_ends_both(self, *, stream: bool) -> None:
        observed = played(asked(stream=stream), a=failing(Kind.BAD_REQUEST, 4), b=after(9))
        assert (observed.status, observed.elapsed_s) == (400, 4)
        assert calls(observed) == [("up/a", "bad_request", 0, 4), ("up/b", "hedged_out", 3, 4)]

    def test_none_answers(self, *, stream: bool) -> None:
        observed = played(asked("again", stream=stream), a=failing(Kind.AUTH, 5), b=failing(Kind.SERVER_ERROR, 6))
        assert observed.status == 502
        assert [one[:2] for one in calls(observed)] == [
            ("up/a", "auth"), ("up/b", "server_error"), ("up/b", "server_error"),
        ]  # fmt: skip

    def test_the_deadline_ends_both(self, *, stream: bool) -> None:
        observed = played(asked(stream=stream), a=after(500), b=after(500), c=after(500))
        assert observed.status == 502
        assert [one[:2] for one in calls(observed)] == [(f"up/{name}", "timeout") for name in "abc"]


def busy(
    alias: str = "fast", *, first: ScriptedOutcome | None = None, stream: bool = False, **outcomes: Any
) -> Observed:
    """Return a request of an alias that has had twenty others, so that it may get two calls beside its first."""

    async def ask(simulator: Simulator) -> Observed:
        for _ in range(20):
            await simulator.ask({"model": alias, **HI})
        found: Observed = await asked(alias, stream=stream)(simulator)
        return found

    return played(ask, a=(*[after(0)] * 20, first or failing(Kind.AUTH, 4)), **outcomes)  # type: ignore[no-any-return]


@pytest.mark.parametrize("stream", [False, True])
class TestSecondIsLate:
    """The first has failed, and the second has brought nothing after the hedge's time either."""

    def test_the_chain_goes_on_beside_it(self, *, stream: bool) -> None:
        observed = busy(b=after(29), c=after(1, "from c"), stream=stream)
        assert calls(observed) == [("up/a", "auth", 0, 4), ("up/b", "hedged_out", 3, 7), ("up/c", None, 6, 7)]
        assert (observed.text, observed.headers["x-gateway-attempts"]) == ("from c", "3")

    def test_the_first_fails_after_that_time(self, *, stream: bool) -> None:
        observed = busy(first=failing(Kind.AUTH, 8), b=after(29), c=after(1), stream=stream)
        assert calls(observed) == [("up/a", "auth", 0, 8), ("up/b", "hedged_out", 3, 9), ("up/c", None, 8, 9)]

    def test_it_answers_before_the_next(self, *, stream: bool) -> None:
        observed = busy(b=after(5, "from b"), c=after(9), stream=stream)
        assert calls(observed) == [("up/a", "auth", 0, 4), ("up/b", None, 3, 8), ("up/c", "hedged_out", 6, 8)]
        assert observed.text == "from b"

    def test_the_next_fails_and_it_is_waited_for(self, *, stream: bool) -> None:
        observed = busy(b=after(9), c=failing(Kind.AUTH, 1), stream=stream)
        assert calls(observed) == [("up/a", "auth", 0, 4), ("up/b", None, 3, 12), ("up/c", "auth", 6, 7)]

    def test_it_fails_and_the_next_is_waited_for(self, *, stream: bool) -> None:
        observed = busy(b=failing(Kind.AUTH, 5), c=after(9), stream=stream)
        assert calls(observed) == [("up/a", "auth", 0, 4), ("up/b", "auth", 3, 8), ("up/c", None, 6, 15)]

    def test_all_fail(self, *, stream: bool) -> None:
        observed = busy(b=failing(Kind.AUTH, 5), c=failing(Kind.AUTH, 9), stream=stream)
        assert observed.status == 502
        assert [one[:2] for one in calls(observed)] == [("up/a", "auth"), ("up/b", "auth"), ("up/c", "auth")]

    def test_a_retry_of_it_takes_its_own_time(self, *, stream: bool) -> None:
        second = (failing(Kind.CONNECTION, 2), after(29))
        observed = busy("retried", b=second, c=after(1), stream=stream)
        assert [one[:2] for one in calls(observed)] == [
            ("up/a", "auth"), ("up/b", "connection"), ("up/b", "hedged_out"), ("up/c", None),
        ]  # fmt: skip
        again, third = calls(observed)[2:]
        assert 5 <= again[2] < 6
        assert third[2] == pytest.approx(again[2] + 3)

    def test_it_is_waited_for_where_the_minute_allows_no_more(self, *, stream: bool) -> None:
        observed = played(asked(stream=stream), a=failing(Kind.AUTH, 4), b=after(9), c=after(0))
        assert calls(observed) == [("up/a", "auth", 0, 4), ("up/b", None, 3, 12)]

    @pytest.mark.parametrize("alias", ["again", "pair", "last_kept"])
    def test_it_is_waited_for_where_no_other_may_be_called(self, alias: str, *, stream: bool) -> None:
        observed = busy(alias, b=after(9), c=after(0), stream=stream)
        assert calls(observed) == [("up/a", "auth", 0, 4), ("up/b", None, 3, 12)]


class TestWhoIsCalled:
    def test_no_target_twice(self) -> None:
        observed = played(asked("twice"), a=after(9), b=after(1))
        assert calls(observed) == [("up/a", "hedged_out", 0, 4), ("up/b", None, 3, 4)]

    def test_none_where_there_is_one(self) -> None:
        assert calls(played(asked("one"), a=after(9))) == [("up/a", None, 0, 9)]

    def test_none_that_rests(self) -> None:
        async def ask(simulator: Simulator) -> Observed:
            simulator.play(Script({"up/a": (failing(Kind.AUTH),), "up/b": (failing(Kind.AUTH),)}))
            await simulator.ask({"model": "fast", **HI})
            simulator.play(Script({"up/c": (after(9),)}))
            return await simulator.ask({"model": "fast", **HI})

        observed = played(ask)
        assert calls(observed) == [("up/c", None, 0, 9)]
        assert observed.skipped == ("up/a", "up/b")

    def test_a_step_whose_condition_fails_is_passed_over(self) -> None:
        observed = played(asked("when"), a=after(9), c=after(1))
        assert calls(observed) == [("up/a", "hedged_out", 0, 4), ("up/c", None, 3, 4)]
        assert observed.skipped == ("up/b",)

    def test_max_attempts_keeps_one_for_each_target(self) -> None:
        observed = played(asked("few"), a=failing(Kind.AUTH, 5), b=failing(Kind.AUTH, 5), c=after(1))
        assert [one[:2] for one in calls(observed)] == [("up/a", "auth"), ("up/b", "auth"), ("up/c", None)]

    def test_one_in_a_minute_or_a_tenth_of_the_requests(self) -> None:
        async def ask(simulator: Simulator) -> list[int]:
            found = []
            for _ in range(40):
                found.append(len((await simulator.ask({"model": "fast", **HI})).attempts))
                await asyncio.sleep(0.5)
            return found

        found = played(ask, a=(*[after(0)] * 20, after(4)), b=after(9))
        assert found[:20] == [1] * 20
        assert sum(found[20:]) - 20 == 3  # of 30 requests in the minute, and more do not fit

    def test_the_next_minute_allows_another(self) -> None:
        async def ask(simulator: Simulator) -> list[int]:
            found = []
            for _ in range(3):
                found.append(len((await simulator.ask({"model": "fast", **HI})).attempts))
                await asyncio.sleep(MINUTE_S / 2)
            return found

        assert played(ask, a=after(4), b=after(9)) == [2, 1, 2]


class TestWhichRequests:
    @pytest.mark.parametrize(
        ("more", "hedged"),
        [
            ({"store": True}, False),
            ({"tools": [{"type": "function", "function": {"name": "f"}}]}, True),
            ({"web_search_options": {}}, False),
            ({"operation": "embeddings", "input": "text"}, False),  # b is another model
            ({"operation": "responses", "input": "text"}, False),
            ({"operation": "responses", "input": "text", "store": False}, True),
            ({"operation": "responses", "input": "text", "store": False, "previous_response_id": "resp_1"}, False),
            ({"operation": "responses", "input": "text", "store": False, "tools": [{"type": "web_search"}]}, False),
            ({"operation": "moderations", "input": "text"}, False),
            ({"operation": "completions", "prompt": "text"}, True),
        ],
        ids=str,
    )
    def test_those_that_keep_nothing_and_run_nothing_upstream(self, more: dict[str, Any], *, hedged: bool) -> None:
        observed = played(asked(**more), a=after(9), b=after(1))
        assert [one.target for one in observed.attempts] == (["up/a", "up/b"] if hedged else ["up/a"])

    @pytest.mark.parametrize("alias", ["kept", "tool"])
    def test_parameters_of_the_file_count(self, alias: str) -> None:
        assert len(played(asked(alias), a=after(9), b=after(1)).attempts) == 1


class TestHealth:
    def test_a_closed_call_is_neither_a_failure_nor_an_answer(self) -> None:
        async def ask(simulator: Simulator) -> Observed:
            await simulator.ask({"model": "fast", **HI})
            return await simulator.ask({"model": "fast", **HI})

        observed = played(ask, a=(after(29), after(0)), b=after(1))
        assert calls(observed) == [("up/a", None, 0, 0)]  # failures: 1 would have made it rest

    def test_a_failed_second_call_counts_as_any(self) -> None:
        async def ask(simulator: Simulator) -> Observed:
            await simulator.ask({"model": "fast", **HI})
            return await simulator.ask({"model": "fast", **HI})

        observed = played(ask, a=(after(9), failing(Kind.AUTH)), b=failing(Kind.SERVER_ERROR), c=after(0))
        assert (calls(observed), observed.skipped) == ([("up/a", "auth", 0, 0), ("up/c", None, 0, 0)], ("up/b",))

    @pytest.mark.parametrize("alias", ["fast", "again"])
    def test_a_first_call_that_failed_before_the_second_answered_counts_as_any(self, alias: str) -> None:
        async def ask(simulator: Simulator) -> Observed:
            await simulator.ask({"model": alias, **HI})
            return await simulator.ask({"model": alias, **HI})

        observed = played(ask, a=failing(Kind.SERVER_ERROR, 4), b=after(1.1))
        assert (observed.skipped, observed.target) == (("up/a",), "up/b")


class TestFromTheReview:
    """Faults that were found by trying."""

    def test_the_first_target_keeps_its_retries_when_the_second_fails_in_the_pause(self) -> None:
        first = (failing(Kind.OVERLOADED, 4, retry_after_s=2), after(1))
        observed = played(asked("again"), a=first, b=failing(Kind.AUTH, 2))
        assert [one[:2] for one in calls(observed)] == [("up/a", "overloaded"), ("up/b", "auth"), ("up/a", None)]

    def test_a_second_call_that_is_dropped_in_a_pause_has_failed(self) -> None:
        async def ask(simulator: Simulator) -> Observed:
            await simulator.ask({"model": "again", **HI})
            await asyncio.sleep(MINUTE_S)
            return await simulator.ask({"model": "again", **HI})

        second = failing(Kind.OVERLOADED, 0.9, retry_after_s=5)
        observed = played(ask, a=(after(4), failing(Kind.AUTH)), b=second)
        assert [one[:2] for one in calls(observed)][:1] == [("up/a", "auth")]

    def test_a_cancellation_of_an_adapters_own_ends_the_request(self) -> None:
        async def ask(simulator: Simulator) -> float:
            simulator.play(_cancelling)
            loop = asyncio.get_running_loop()
            with pytest.raises(asyncio.CancelledError):
                await simulator.ask({"model": "fast", **HI})
            return loop.time()

        assert played(ask) == 0


def _cancelling(_: Call) -> ScriptedOutcome:
    raise asyncio.CancelledError


class TestHeldStreams:
    def test_one_that_has_content_is_alone(self) -> None:
        slow = ScriptedOutcome(text="one two three", delay_s=2, stall=1)
        observed = played(asked("held", stream=True), a=slow, b=after(1, "from b"))
        assert [one[:2] for one in calls(observed)] == [("up/a", "timeout"), ("up/b", None)]
        assert calls(observed)[1][2] > 3

    def test_a_second_one_that_has_content_is_not_late(self) -> None:
        slow = ScriptedOutcome(text="one two three", delay_s=1, stall=1)
        observed = busy("whole", b=slow, c=after(0), stream=True)
        assert [one[:2] for one in calls(observed)] == [("up/a", "auth"), ("up/b", "timeout"), ("up/c", None)]

    def test_the_first_whole_one_wins(self) -> None:
        observed = played(asked("held", stream=True), a=after(9), b=after(1, "from b"))
        assert (calls(observed), observed.text) == (
            [("up/a", "hedged_out", 0, 4), ("up/b", None, 3, 4)],
            "from b",
        )


class TestUsual:
    def test_waits_for_the_percentile_of_the_target_once_there_are_enough(self) -> None:
        async def ask(simulator: Simulator) -> list[Shown]:
            return [calls(await simulator.ask({"model": "usual", **HI})) for _ in range(21)]

        found = played(ask, a=(*[after(2)] * 20, after(20)), b=after(1))
        assert all(len(one) == 1 for one in found[:20])
        (first, second) = found[20]
        assert (first[0], first[1], second[0], second[1]) == ("up/a", "hedged_out", "up/b", None)
        assert 2 <= second[2] <= 2.1

    def test_waits_for_a_second_at_least(self) -> None:
        async def ask(simulator: Simulator) -> Shown:
            for _ in range(20):
                await simulator.ask({"model": "usual", **HI})
            return calls(await simulator.ask({"model": "usual", **HI}))

        found = played(ask, a=(*[after(0.1)] * 20, after(20)), b=after(1))
        assert found == [("up/a", "hedged_out", 0, 2), ("up/b", None, 1, 2)]
