"""Reservations: their ids, waiting for a store elsewhere, and the renewal of leases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.engine.limits.leases import LEASE_S, RENEW_S
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.reservations import Reservations
from gateway.engine.limits.store import ONE, Bucket, Costs, Refused, Standing
from gateway.simulation import clock as virtual
from tests.limiting import Clock, buckets


def test_no_two_have_one_id() -> None:
    one, other = (Reservations(Clock().store()) for _ in range(2))
    assert len({*[one.new_id() for _ in range(3)], *[other.new_id() for _ in range(3)]}) == 6


class Renewed(MemoryStore):
    """A store that counts its renewals."""

    renewals = 0

    def renew(self) -> None:
        self.renewals += 1


def test_leases_are_renewed_by_a_task() -> None:
    async def run() -> None:
        store = Renewed()
        task = asyncio.get_running_loop().create_task(Reservations(store).run())
        await asyncio.sleep(RENEW_S * 10 + 1)
        task.cancel()
        assert store.renewals == 10
        assert 2 * RENEW_S < LEASE_S, "one that is late ends no lease"

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
                await reservations.wait_for("r", buckets("5 requests/minute"), ONE)
        assert list(reservations.store.look()) == []

    virtual.run(run())
