"""An arrival resumes its task in the callback that brings the data, and stops waiting when the task is cancelled."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from gateway.concurrency.arrival import Arrival


async def _waiting(arrival: Arrival, seen: list[str]) -> asyncio.Task[None]:
    async def wait() -> None:
        for number in range(3):
            await arrival
            seen.append(f"resumed {number}")

    task = asyncio.get_running_loop().create_task(wait())
    await asyncio.sleep(0)
    return task


def _outside_tasks(*calls: object) -> asyncio.Future[None]:
    """Make calls in a callback of the event loop, as a transport does."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        for call in calls:
            assert callable(call)
            call()
        done.set_result(None)

    loop.call_soon(run)
    return done


async def test_the_task_runs_within_the_callback() -> None:
    arrival, seen = Arrival(asyncio.get_running_loop()), list[str]()
    task = await _waiting(arrival, seen)
    await _outside_tasks(lambda: seen.append("before"), arrival.come, lambda: seen.append("after"))
    assert seen == ["before", "resumed 0", "after"]
    task.cancel()


async def test_it_can_wait_for_the_next_turn_of_the_loop() -> None:
    arrival, seen = Arrival(asyncio.get_running_loop()), list[str]()
    task = await _waiting(arrival, seen)
    await _outside_tasks(arrival.come_soon, lambda: seen.append("after"))
    await asyncio.sleep(0)
    assert seen == ["after", "resumed 0"]
    task.cancel()


async def test_one_arrival_serves_wait_after_wait() -> None:
    arrival, seen = Arrival(asyncio.get_running_loop()), list[str]()
    task = await _waiting(arrival, seen)
    await _outside_tasks(arrival.come, arrival.come, arrival.come)
    await task
    assert seen == ["resumed 0", "resumed 1", "resumed 2"]


async def test_what_comes_while_nobody_waits_is_no_error() -> None:
    arrival = Arrival(asyncio.get_running_loop())
    await _outside_tasks(arrival.come, arrival.come_soon)


@pytest.mark.parametrize("message", [None, "enough"])
async def test_a_cancelled_task_stops_waiting(message: str | None) -> None:
    arrival, seen = Arrival(asyncio.get_running_loop()), list[str]()
    task = await _waiting(arrival, seen)
    task.cancel(message)
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.args == (() if message is None else (message,))
    await _outside_tasks(arrival.come)
    assert seen == []


async def test_a_timeout_around_a_wait_ends_it_and_the_next_one_works() -> None:
    arrival = Arrival(asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await arrival
    asyncio.get_running_loop().call_soon(arrival.come)
    await arrival


async def test_the_task_keeps_its_context() -> None:
    name: ContextVar[str] = ContextVar("name", default="none")
    arrival, seen = Arrival(asyncio.get_running_loop()), list[str]()

    async def wait() -> None:
        name.set("task's own")
        await arrival
        seen.append(name.get())

    task = asyncio.get_running_loop().create_task(wait())
    await asyncio.sleep(0)
    await _outside_tasks(arrival.come)
    await task
    assert (seen, name.get()) == (["task's own"], "none")
