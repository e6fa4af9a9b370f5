"""Admission with a store elsewhere, which has to be waited for; that of one process is tried over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.engine.limits.admission import Admission, Limits
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.store import Bucket, Costs, Fill, Refused, Standing
from gateway.errors import Limited
from gateway.operations import CHAT
from gateway.policy.clients import Client
from gateway.simulation.clock import run
from gateway.telemetry.report import Attempt, CallReport
from gateway.wire.json import JsonObject
from tests.compiling import table
from tests.limiting import group, with_groups

POLICY = with_groups(table("models: {fast: mock/echo}\n"), group("default", "100 tokens/day", "2 concurrent"))
BODY: JsonObject = {"messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 50}


class Elsewhere:
    """A store that answers after a second, and then has taken what was asked for."""

    def __init__(self) -> None:
        self.store = MemoryStore(clock=asyncio.get_running_loop().time)

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> None:
        return None

    def full(self, buckets: Sequence[Bucket], costs: Costs) -> None:
        return None

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        answer = self.store.try_reserve(reservation, buckets, costs)
        await asyncio.sleep(1)
        return answer

    def settle(self, reservation: str, used: Costs) -> None:
        self.store.settle(reservation, used)

    def release(self, reservation: str) -> None:
        self.store.release(reservation)

    def renew(self) -> None:
        self.store.renew()

    def would_fit(self, bucket: Bucket, cost: float) -> bool:
        return self.store.would_fit(bucket, cost)

    def look(self) -> Sequence[Fill]:
        return list(self.store.look())


def admission(limits: Limits, report: CallReport) -> Admission:
    found = limits.admission(POLICY, POLICY.routes["fast"], Client(name="ann"), report)
    assert found is not None
    return found


def used(limits: Limits) -> dict[str, float]:
    return {fill.key: fill.used for fill in limits.store.look()}


def test_an_early_usage_does_not_hide_the_text_of_a_stream_that_a_client_leaves() -> None:
    """Anthropic's begins with the usage of until then."""
    limits = Limits(MemoryStore())
    left = admission(limits, CallReport(calls=1, tokens={"prompt": 20, "completion": 1}))
    assert left.try_enter(CHAT, POLICY.routes["fast"], BODY) is None
    left.close(answered=True, whole=False, text_bytes=160)
    assert used(limits) == {"client/ann tokens/day": 20 + 40}


def test_a_store_elsewhere_is_waited_for_and_settled() -> None:
    async def play() -> None:
        limits = Limits(Elsewhere())
        report = CallReport()
        first = admission(limits, report)
        assert await first.enter(CHAT, POLICY.routes["fast"], BODY) is None
        assert used(limits) == {"client/ann tokens/day": 60, "client/ann concurrent": 1}
        assert report.limits is not None
        assert 'RateLimit: "tokens/day";r=40' in report.limits.head
        with pytest.raises(Limited):
            await admission(limits, CallReport()).enter(CHAT, POLICY.routes["fast"], BODY)
        report.attempts.append(Attempt("mock/echo", "mock/echo", None, 200, 1.0))
        report.calls, report.tokens = 1, {"prompt": 9, "completion": 4}
        for _ in range(2):
            first.close(answered=True)
        assert used(limits) == {"client/ann tokens/day": 13}

    run(play())


def test_a_request_that_leaves_while_the_store_is_asked_takes_nothing() -> None:
    async def play() -> None:
        limits = Limits(Elsewhere())
        left = admission(limits, CallReport())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await left.enter(CHAT, POLICY.routes["fast"], BODY)
        left.close(answered=False)
        assert used(limits) == {}

    run(play())


def test_a_request_holds_its_place_for_as_long_as_it_takes() -> None:
    async def play() -> None:
        limits = Limits(Elsewhere())
        long = admission(limits, CallReport())
        await long.enter(CHAT, POLICY.routes["fast"], BODY)
        await asyncio.sleep(1000)
        assert used(limits)["client/ann concurrent"] == 1
        long.close(answered=False)
        assert used(limits) == {}

    run(play())
