"""Who waits for whom, and what becomes of those who wait."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.engine.cache.flights import Flights, Landing, NoAnswer
from gateway.engine.cache.store import Entry

KEY = b"key"
LATER_S = 60.0


async def landings(flights: Flights, landing: Landing | None, *, fails: bool = False) -> list[Landing]:
    """Return what three get that wait for a flight with this landing."""
    async with asyncio.TaskGroup() as group:
        with suppress(LookupError), flights.begin(KEY) as flight:
            until_s = asyncio.get_running_loop().time() + LATER_S
            waiting = [group.create_task(flight.wait(until_s=until_s)) for _ in range(3)]
            await asyncio.sleep(0)
            assert (flights.find(KEY), flight.waiting) == (flight, 3)
            if landing is not None:
                flight.landing = landing
            if fails:
                raise LookupError
        assert flights.find(KEY) is None
    assert flight.waiting == 0
    return [task.result() for task in waiting]


@pytest.mark.parametrize(
    ("landing", "fails", "got"),
    [
        (Entry(0, b"x"), False, Entry(0, b"x")),
        (NoAnswer.FAILED, True, NoAnswer.FAILED),
        (None, True, NoAnswer.LEFT),
    ],
)
async def test_those_who_wait_get_what_the_flight_ends_with(landing: Landing | None, fails: bool, got: Landing) -> None:
    flights = Flights()
    for _ in range(2):
        assert await landings(flights, landing, fails=fails) == [got] * 3


async def test_who_leaves_or_waits_too_long_ends_nothing_for_others() -> None:
    flights = Flights()
    now_s = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        with flights.begin(KEY) as flight:
            leaving = group.create_task(flight.wait(until_s=now_s + LATER_S))
            staying = group.create_task(flight.wait(until_s=now_s + LATER_S))
            assert await flight.wait(until_s=now_s) is NoAnswer.FAILED
            leaving.cancel()
            await asyncio.wait([leaving])
            assert not staying.done()
            flight.landing = Entry(0, b"x")
    assert (leaving.cancelled(), staying.result()) == (True, Entry(0, b"x"))
