"""The engine with providers that have limits: who is passed over, waited for and refused, and what each call takes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from gateway.engine.health import Health
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.limits.reservations import Reservations
from gateway.engine.limits.store import Bucket, Costs, Fill, Full, Refused, Standing
from gateway.engine.pipeline import Pipeline
from gateway.errors import BudgetExceeded, GatewayError, Limited, UpstreamFailed
from gateway.operations import CHAT, OPERATIONS
from gateway.policy.failures import Kind
from gateway.policy.target import ScriptedOutcome
from gateway.simulation import clock as virtual
from gateway.simulation.buckets import simulated_store
from gateway.simulation.simulator import _FixedTable
from gateway.simulation.upstreams import Script, Upstreams, named
from gateway.telemetry.report import CallReport
from gateway.wire.json import JsonObject
from tests.compiling import table

ROUTES = """
providers:
  a: {{kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-a, limits: [{limits}]}}
  k: {{kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: [sk-k, sk-l], limits: [{limits}]}}
  b: {{kind: openai, base_url: "http://127.0.0.1:8/v1", api_key: sk-b}}
defaults: {{retries: 0, timeout: 30s, deadline: 20s, cooldown: {{failures: 100}}}}
models:
  one: a/x
  two: [a/x, b/y]
  again: {{chain: [a/x], retries: 1}}
  both: [b/y, a/x]
  keys: [k/x, b/y]
  key: k/x
  hedged: {{chain: [b/y, a/x], hedge: 3s}}
  held: {{chain: [a/x], stream: {{hold: full}}}}
  pool: {{chain: [{{pool: {{a/x: 1, b/y: 0}}}}]}}
  long: {{chain: [{{target: a/x, timeout: 60s}}], deadline: 60s}}
  short: {{chain: [{{target: a/x, params: {{max_tokens: 10}}}}]}}
"""
PRICED = """
providers: {{a: {{kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-a, limits: [{limits}]}}}}
models: {{one: {{chain: [{{target: a/x, price: {{input: 1000000, output: 0}}}}]}}}}
"""


class Elsewhere:
    """A store that can only be asked by waiting, as one on another machine."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.settle, self.release = store.settle, store.release
        self.renew, self.look, self.would_fit = store.renew, store.look, store.would_fit

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused | None:
        return None

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        await asyncio.sleep(0.001)
        return self.store.try_reserve(reservation, buckets, costs)

    def full(self, buckets: Sequence[Bucket], costs: Costs) -> Sequence[Full] | None:
        return None


class Bench:
    """A pipeline with scripted upstreams, in virtual time."""

    def __init__(self, limits: str, outcomes: dict[str, Any], routes: str, *, elsewhere: bool) -> None:
        script = {name: one if isinstance(one, tuple) else (one,) for name, one in outcomes.items()}
        self.upstreams = Upstreams(Script(script))
        memory = simulated_store(86400.0 * 20_000)
        self.store = Elsewhere(memory) if elsewhere else memory
        self.reservations = Reservations(self.store)
        self.pipeline = Pipeline(
            tables=_FixedTable(table(routes.format(limits=limits))),
            adapters=self.upstreams.adapters,
            health=Health(),
            jitter=lambda: 0.0,
            draw=lambda: 0.5,
            provider_limits=ProviderLimits(self.reservations),
        )
        self.report = CallReport()

    async def ask(self, alias: str, *, stream: bool = False, **more: Any) -> Any:
        self.report = report = CallReport()
        body: JsonObject = {"model": alias, "messages": [{"role": "user", "content": "x" * 40}], **more}
        if not stream:
            return await self.pipeline.answer(CHAT, body, report=report)
        opened = await self.pipeline.open_stream(CHAT, {**body, "stream": True}, report=report)
        try:
            while await opened.read():
                pass
        finally:
            await opened.aclose()

    @property
    def attempts(self) -> list[tuple[str, str | None]]:
        return [(one.target, one.kind and str(one.kind)) for one in self.report.attempts]

    @property
    def fills(self) -> dict[str, Fill]:
        return {fill.key: fill for fill in self.store.look()}

    def used(self, key: str) -> float:
        fill = self.fills.get(f"provider/{key}")
        return 0.0 if fill is None else round(fill.used, 6)


def play(ask: Any, limits: str, *, elsewhere: bool = False, routes: str = ROUTES, **outcomes: Any) -> Bench:
    """Run `ask` with a bench whose targets answer by these outcomes (`a` is a/x), and check that nothing stays open."""

    async def run() -> Bench:
        models = {"a": "a/x", "b": "b/y", "k": "k/x"}
        bench = Bench(limits, {models[name]: one for name, one in outcomes.items()}, routes, elsewhere=elsewhere)
        await ask(bench)
        assert all(not fill.reservations for fill in bench.fills.values())
        return bench

    return virtual.run(run())


def failing(kind: Kind, **more: Any) -> ScriptedOutcome:
    outcome = named(kind)
    return ScriptedOutcome(kind=outcome.kind, status=outcome.status, code=outcome.code, **more)


async def refused(asking: Coroutine[Any, Any, Any]) -> Limited:
    with pytest.raises(Limited) as caught:
        await asking
    return caught.value


both_stores = pytest.mark.parametrize("elsewhere", [False, True], ids=["memory", "elsewhere"])


@both_stores
class TestWhoIsCalled:
    def test_a_full_target_is_passed_over_without_a_call(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("two")
            assert bench.attempts == [("a/x", None)]
            await bench.ask("two")
            assert bench.attempts == [("a/x", "limited"), ("b/y", None)]
            assert (bench.report.calls, len(bench.upstreams.calls)) == (1, 2)
            assert bench.report.fell_back

        play(ask, "1 requests/minute", elsewhere=elsewhere)

    def test_when_none_is_left_the_first_to_be_free_is_waited_for(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            loop = asyncio.get_running_loop()
            for _ in range(6):
                await bench.ask("one")
            assert loop.time() < 1
            await bench.ask("one")
            assert loop.time() == pytest.approx(10, abs=0.1)
            assert bench.attempts == [("a/x", None)]

        play(ask, "6 requests/minute", elsewhere=elsewhere)

    def test_beyond_the_deadline_the_client_is_told_when(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("one")
            error = await refused(bench.ask("one"))
            assert (error.status, error.code, error.limit) == (429, "limited", "1 requests/minute")
            assert error.retry_after_s == pytest.approx(60, abs=0.1)
            assert bench.attempts == [("a/x", "limited")]
            assert [one.kind for one in error.attempts] == ["limited"]
            told = "the provider 'a' has reached the limit of 1 requests/minute, and no other target of 'one' is left"
            assert str(error).startswith(told)
            assert "sk-a" not in str(error.envelope())

        play(ask, "1 requests/minute", elsewhere=elsewhere)

    def test_a_budget_that_is_used_up_is_not_to_be_asked_for_again(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("one")
            error = await refused(bench.ask("one"))
            assert isinstance(error, BudgetExceeded)
            assert (error.limit, error.is_final) == ("1 requests/day", True)

        play(ask, "1 requests/day", elsewhere=elsewhere)

    def test_after_another_targets_failure_it_is_the_limit_that_is_told(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("one")
            await refused(bench.ask("both"))
            assert bench.attempts == [("b/y", "server_error"), ("a/x", "limited")]

        play(ask, "1 requests/minute", elsewhere=elsewhere, b=failing(Kind.SERVER_ERROR))

    def test_its_own_failure_is_told_although_there_is_no_room_to_retry_it(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            with pytest.raises(UpstreamFailed) as caught:
                await bench.ask("again")
            assert caught.value.status == 502
            assert bench.attempts == [("a/x", "server_error")]

        play(ask, "1 requests/minute", elsewhere=elsewhere, a=failing(Kind.SERVER_ERROR))

    def test_a_further_key_is_not_called_without_room(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("keys")
            assert bench.attempts == [("k/x", "auth"), ("b/y", None)]
            assert bench.report.attempts[0].key is not None

        play(ask, "1 requests/minute", elsewhere=elsewhere, k=failing(Kind.AUTH))

    def test_each_key_that_is_called_takes(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("keys")
            assert bench.attempts == [("k/x", "auth"), ("k/x", "auth"), ("b/y", None)]
            assert bench.used("k requests/day") == 2

        play(ask, "9 requests/day", elsewhere=elsewhere, k=failing(Kind.AUTH))

    def test_a_hedge_does_not_wait_for_room(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("one")
            await bench.ask("hedged")
            kinds = [one for one in bench.attempts if one[1] != "limited"]
            assert kinds == [("b/y", None)]
            assert asyncio.get_running_loop().time() == pytest.approx(8, abs=0.1)

        play(ask, "20 requests/minute, 1 requests/day", elsewhere=elsewhere, b=ScriptedOutcome(delay_s=8.0))

    def test_a_full_member_of_a_pool_comes_last(self, *, elsewhere: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("pool")
            await bench.ask("pool")
            passed = [("a/x", "limited")] if elsewhere else []
            assert bench.attempts == [*passed, ("b/y", None)]

        play(ask, "1 requests/minute", elsewhere=elsewhere)


@pytest.mark.parametrize("stream", [False, True])
class TestWhatACallTakes:
    def test_an_answer_is_settled_by_its_usage(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("one", stream=stream, max_tokens=500)
            assert bench.used("a requests/day") == 1
            assert 0 < bench.used("a tokens/day") < 60

        play(ask, "9 requests/day, 1000 tokens/day, 5 concurrent", a=ScriptedOutcome(text="some words"))

    def test_a_call_that_needs_more_than_is_left_finds_no_room(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("one", stream=stream, max_tokens=600)
            assert (error := await refused(bench.ask("one", stream=stream, max_tokens=600))).limit == "1k tokens/day"
            assert isinstance(error, BudgetExceeded)
            await bench.ask("short", stream=stream, max_tokens=600)

        play(ask, "1000 tokens/day", a=(ScriptedOutcome(tokens=(500, 100)), ScriptedOutcome()))

    def test_a_budget_that_calls_under_way_hold_is_waited_for(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            loop = asyncio.get_running_loop()
            task = loop.create_task(bench.ask("one", stream=stream, max_tokens=600))
            await asyncio.sleep(1)
            assert bench.used("a tokens/day") == 610
            await bench.ask("one", stream=stream, max_tokens=600)
            assert 5.0 <= loop.time() < 6.0
            await task

        play(ask, "1000 tokens/day", a=(ScriptedOutcome(delay_s=5.0), ScriptedOutcome()))

    def test_one_that_they_hold_for_too_long_is_not_told_to_be_used_up(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            task = asyncio.get_running_loop().create_task(bench.ask("long", stream=stream, max_tokens=600))
            await asyncio.sleep(1)
            error = await refused(bench.ask("one", stream=stream, max_tokens=600))
            assert (error.retry_after_s, isinstance(error, BudgetExceeded)) == (1.0, False)
            await task

        play(ask, "1000 tokens/day", a=(ScriptedOutcome(delay_s=50.0), ScriptedOutcome()))

    @pytest.mark.parametrize("kind", [Kind.CONNECTION, Kind.AUTH, Kind.OVERLOADED, Kind.BAD_REQUEST])
    def test_a_failure_before_content_gives_tokens_back_and_no_request(self, kind: Kind, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            with pytest.raises(GatewayError):
                await bench.ask("one", stream=stream)
            assert (bench.used("a requests/day"), bench.used("a tokens/day")) == (1, 0)

        play(ask, "9 requests/day, 9000 tokens/day", a=failing(kind))

    def test_a_timeout_costs_the_input(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            with pytest.raises(GatewayError):
                await bench.ask("one", stream=stream)
            assert bench.used("a tokens/day") == 10

        play(ask, "9000 tokens/day", a=named(Kind.TIMEOUT))

    def test_a_client_that_leaves_costs_the_input(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            task = asyncio.get_running_loop().create_task(bench.ask("one", stream=stream))
            await asyncio.sleep(1)
            assert bench.used("a concurrent") == 1
            task.cancel()
            await asyncio.wait([task])
            assert (bench.used("a tokens/day"), bench.used("a requests/day"), bench.used("a concurrent")) == (10, 1, 0)

        play(ask, "9 requests/day, 9000 tokens/day, 5 concurrent", a=ScriptedOutcome(delay_s=9.0))

    def test_a_retry_takes_once_more(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("again", stream=stream)
            assert bench.attempts == [("a/x", "overloaded"), ("a/x", None)]
            assert bench.used("a requests/day") == 2

        play(ask, "9 requests/day", a=(failing(Kind.OVERLOADED), ScriptedOutcome()))

    def test_a_hedge_takes_and_the_closed_call_is_settled(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("hedged", stream=stream)
            assert bench.attempts == [("b/y", "hedged_out"), ("a/x", None)]
            assert bench.used("a requests/day") == 1
            assert bench.report.tokens is not None
            assert bench.used("a tokens/day") == sum(bench.report.tokens[name] for name in ("prompt", "completion"))

        play(ask, "9 requests/day, 9000 tokens/day", a=ScriptedOutcome(delay_s=1.0), b=ScriptedOutcome(delay_s=20.0))

    def test_calls_at_once_are_waited_for_until_one_ends(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            loop = asyncio.get_running_loop()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(bench.ask("one", stream=stream))
            assert loop.time() == pytest.approx(1.5, abs=0.01), "one after the other, and no second is lost"

        play(ask, "1 concurrent", a=ScriptedOutcome(delay_s=0.5))

    def test_spend_is_counted_by_the_targets_price(self, *, stream: bool) -> None:
        async def ask(bench: Bench) -> None:
            await bench.ask("one", stream=stream)
            assert bench.report.tokens is not None
            assert bench.used("a spend/day") == bench.report.tokens["prompt"]

        play(ask, "{spend: 500, per: day}", routes=PRICED, a=ScriptedOutcome(text="some words"))


def test_a_stream_that_breaks_costs_what_came() -> None:
    async def ask(bench: Bench) -> None:
        with pytest.raises(GatewayError):
            await bench.ask("one", stream=True)
        assert bench.attempts == [("a/x", "bad_response")]
        assert bench.used("a tokens/day") > 10

    play(ask, "9000 tokens/day", a=ScriptedOutcome(text="words " * 20, cut=15))


@pytest.mark.parametrize("leaves", [False, True])
def test_a_held_stream_that_does_not_end_costs_what_came(*, leaves: bool) -> None:
    async def ask(bench: Bench) -> None:
        task = asyncio.get_running_loop().create_task(bench.ask("held", stream=True))
        await asyncio.sleep(2)
        if leaves:
            task.cancel()
        await asyncio.wait([task])
        assert bench.used("a tokens/day") > 10

    play(ask, "9000 tokens/day", a=ScriptedOutcome(text="words " * 20, stall=15))


def test_a_full_provider_is_told_while_another_rests() -> None:
    async def ask(bench: Bench) -> None:
        await bench.ask("one")
        with pytest.raises(GatewayError):
            await bench.ask("both")
        await refused(bench.ask("one"))
        # b/y does not rest, so it is called first; a/x never is.
        assert [call.model for call in bench.upstreams.calls] == ["x", "y"]

    play(ask, "1 requests/hour", b=failing(Kind.SERVER_ERROR))


def test_a_long_stream_holds_its_place_until_its_end() -> None:
    async def ask(bench: Bench) -> None:
        task = asyncio.get_running_loop().create_task(bench.ask("one", stream=True))
        await asyncio.sleep(100)
        error = await refused(bench.ask("one"))
        assert error.limit == "1 concurrent"
        await task

    play(ask, "1 concurrent", a=(ScriptedOutcome(text="so slow " * 20, pace_s=9.0), ScriptedOutcome()))


def test_a_request_that_is_bound_waits_for_its_target() -> None:
    async def ask(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        body: JsonObject = {"model": "two", "input": "hi", "previous_response_id": "resp_1"}
        for _ in range(6):
            await bench.pipeline.answer(OPERATIONS["responses"], body, report=CallReport())
        report = CallReport()
        await bench.pipeline.answer(OPERATIONS["responses"], body, report=report)
        assert loop.time() == pytest.approx(10, abs=0.1)
        assert [(one.target, one.kind) for one in report.attempts] == [("a/x", None)]

    play(ask, "6 requests/minute")


@both_stores
def test_no_more_leave_than_the_limit_allows_however_many_come_at_once(*, elsewhere: bool) -> None:
    async def ask(bench: Bench) -> None:
        answers = await asyncio.gather(*[bench.ask("one") for _ in range(200)], return_exceptions=True)
        refusals = [answer for answer in answers if isinstance(answer, Limited)]
        assert (len(bench.upstreams.calls), len(refusals)) == (100, 100)

    play(ask, "100 requests/day", elsewhere=elsewhere)
