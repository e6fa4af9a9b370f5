"""Reservations: their ids, waiting for a store elsewhere, and the renewal of leases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.engine.limits.leases import LEASE_S, RENEW_S
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.reservations import Reservations
from gateway.engine.limits.store import Bucket, Costs, Refused, Standing
from gateway.simulation import clock as virtual
from tests.limiting import Clock, buckets

COSTS: Costs = {"requests": 1.0, "concurrent": 1.0}


def test_no_two_have_one_id() -> None:
    one, other = (Reservations(Clock().store()) for _ in range(2))
    assert len({*[one.new_id() for _ in range(3)], *[other.new_id() for _ in range(3)]}) == 6


def test_leases_are_renewed_when_that_is_due() -> None:
    clock = Clock()
    reservations = Reservations(clock.store())
    store, at_once = reservations.store, buckets("1 concurrent")
    assert isinstance(store.try_reserve("r", at_once, COSTS), Standing)
    reservations.open.add("r")
    for _ in range(10):
        clock.now_s += LEASE_S / 2
        reservations.renew_due(clock.now_s)
        assert store.full(at_once, COSTS)
    reservations.open.discard("r")
    clock.now_s += LEASE_S
    reservations.renew_due(clock.now_s)
    assert not store.full(at_once, COSTS)


def test_or_by_a_task() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        reservations = Reservations(MemoryStore(clock=loop.time))
        reservations.store.try_reserve("r", buckets("1 concurrent"), COSTS)
        reservations.open.add("r")
        task = loop.create_task(reservations.run())
        await asyncio.sleep(RENEW_S * 10 + 1)
        assert [fill.used for fill in reservations.store.look()] == [1.0]
        task.cancel()

    virtual.run(run())


class Slow(MemoryStore):
    """A store that answers after a second, and has taken before."""

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        answer = self.try_reserve(reservation, buckets, costs)
        await asyncio.sleep(1)
        return answer


def test_who_leaves_while_a_store_elsewhere_is_waited_for_takes_nothing() -> None:
    async def run() -> None:
        reservations = Reservations(Slow(clock=asyncio.get_running_loop().time))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await reservations.wait_for("r", buckets("5 requests/minute"), COSTS)
        assert list(reservations.store.look()) == []

    virtual.run(run())
