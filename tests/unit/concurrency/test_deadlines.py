"""Limits behind one timer do what `asyncio.timeout_at` does."""

from __future__ import annotations

import asyncio
import math

import aiohttp
import pytest

from gateway.concurrency.deadlines import SLACK, Limit, _alarms, until


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_what_takes_too_long_is_stopped_with_a_timeout() -> None:
    limit = until(now_s() + 0.01)
    with pytest.raises(TimeoutError), limit:
        await asyncio.sleep(30)
    assert limit.expired
    await asyncio.sleep(0)  # nothing of the cancellation is left


async def test_a_point_in_the_past_stops_at_the_first_wait() -> None:
    with pytest.raises(TimeoutError), until(now_s() - 1):
        await asyncio.sleep(30)


async def test_what_is_done_in_time_is_left_alone() -> None:
    with until(now_s() + 30) as limit:
        await asyncio.sleep(0)
    assert not limit.expired


async def test_a_limit_that_passed_while_nothing_waited_says_so_only() -> None:
    limit = until(now_s() - 1)
    with limit:
        pass
    await asyncio.sleep(0.01)
    assert not limit.expired


async def test_a_later_limit_does_not_hold_up_an_earlier_one() -> None:
    with until(now_s() + 30), pytest.raises(TimeoutError), until(now_s() + 0.01):
        await asyncio.sleep(30)


async def test_the_outer_limit_goes_through_the_inner_one() -> None:
    inner = until(now_s() + 30)
    with pytest.raises(TimeoutError), until(now_s() + 0.01), inner:
        await asyncio.sleep(30)
    assert not inner.expired


async def test_limits_of_many_tasks_end_each_at_its_own_time() -> None:
    ended: list[int] = []

    async def wait(number: int) -> None:
        with pytest.raises(TimeoutError), until(start_s + number / 100):
            await asyncio.sleep(30)
        ended.append(number)

    start_s = now_s()
    async with asyncio.TaskGroup() as group:
        for number in (3, 1, 4, 2):
            group.create_task(wait(number))
    assert ended == [1, 2, 3, 4]


async def test_a_cancelled_task_is_cancelled_and_not_timed_out() -> None:
    async def wait() -> None:
        with until(now_s() + 30):
            await asyncio.sleep(30)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


async def test_a_cancellation_beside_the_limit_wins() -> None:
    async def wait() -> None:
        with until(now_s() - 1) as limit:
            while not limit.expired:
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    task.cancel()
                    raise

    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait())
    assert task.cancelled()


async def test_an_error_of_the_block_stays_what_it_is() -> None:
    with pytest.raises(KeyError), until(now_s() + 30):
        raise KeyError


async def test_limits_that_are_over_leave_nothing_behind() -> None:
    for _ in range(10 * SLACK):
        with until(now_s() + 3600):
            pass
    alarm = _alarms[asyncio.get_running_loop()]
    assert len(alarm.heap) <= SLACK + 1


async def test_many_limits_that_are_due_at_once_all_ring() -> None:
    due_s = now_s() + 0.05

    async def wait() -> None:
        with pytest.raises(TimeoutError), until(due_s):
            await asyncio.sleep(30)

    for _ in range(3 * SLACK):
        with until(due_s):
            pass
    await asyncio.gather(*(wait() for _ in range(3 * SLACK)))
    assert not _alarms[asyncio.get_running_loop()].heap


def test_each_loop_has_its_own_and_closed_ones_are_forgotten() -> None:
    async def wait() -> None:
        with pytest.raises(TimeoutError), until(now_s() + 0.001):
            await asyncio.sleep(30)

    asyncio.run(wait())
    asyncio.run(wait())
    assert sum(loop.is_closed() for loop in _alarms) <= 1


async def test_a_limit_that_is_extended_rings_later() -> None:
    start_s = now_s()

    async def wait() -> None:
        with until(start_s + 0.01) as limit:
            for hundredths in range(2, 5):
                limit.deadline_s = start_s + hundredths / 100
                await asyncio.sleep(0.005)
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        await wait()
    assert now_s() >= start_s + 0.04


async def test_a_limit_that_is_over_rings_no_more() -> None:
    with until(now_s() + 30) as limit:
        pass
    assert limit.ring(now_s() + 60) is None


async def _sleep_under(limit: Limit) -> None:
    try:
        await asyncio.sleep(30)
    except BaseException as error:
        limit.leave(error)
        raise


async def test_one_limit_serves_many_blocks_from_one_entry() -> None:
    limit = until(now_s() + 3600)
    for _ in range(10):
        with limit.again(now_s() + 3600):
            await asyncio.sleep(0)
    alarm = _alarms[asyncio.get_running_loop()]
    assert [entry[2] for entry in alarm.heap].count(limit) == 1
    for _ in range(2):
        with pytest.raises(TimeoutError), limit.again(now_s() + 0.01):
            await asyncio.sleep(30)
        assert limit.expired
    with limit.again(now_s() + 30):
        await asyncio.sleep(0)
    assert not limit.expired


async def test_a_limit_rings_for_a_later_block_after_its_entry_came_up() -> None:
    limit, other = until(now_s()), until(now_s() + 3600)
    with limit.again(now_s() + 0.01):
        pass
    with pytest.raises(TimeoutError), other.again(now_s() + 0.02):
        await asyncio.sleep(30)  # the first one's entry comes up meanwhile, and goes
    started_s = now_s()
    with pytest.raises(TimeoutError), limit.again(started_s + 0.03):
        await asyncio.sleep(30)
    assert now_s() >= started_s + 0.03


async def test_a_limit_whose_entry_was_tidied_away_rings_all_the_same() -> None:
    limit = until(now_s())
    with limit.again(now_s() + 0.02):
        pass
    _alarms[asyncio.get_running_loop()].tidy()
    with pytest.raises(TimeoutError), limit.again(now_s() + 0.02):
        await asyncio.sleep(30)


@pytest.mark.parametrize("inside", [None, TimeoutError, aiohttp.ServerTimeoutError])
async def test_a_limit_raises_what_it_was_told_to(inside: type[Exception] | None) -> None:
    async def wait() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            if inside is None:
                raise
            raise inside from None

    with pytest.raises(KeyError) as caught, until(now_s() + 0.01, raises=lambda: KeyError("late")):
        await wait()
    assert caught.value.args == ("late",)
    with pytest.raises(TimeoutError), until(now_s() + 30, raises=lambda: KeyError("late")):
        raise TimeoutError


async def _sleep_limited(limit: Limit) -> None:
    try:
        await asyncio.sleep(30)
    except BaseException as error:
        limit.leave(error)
        raise


async def test_one_limit_serves_wait_after_wait_of_a_task() -> None:
    limit = until(math.inf)
    for _ in range(3):
        limit.resume(now_s() + 30)
        await asyncio.sleep(0)
        limit.deadline_s = math.inf
    limit.resume(now_s() + 0.01)
    with pytest.raises(TimeoutError):
        await _sleep_limited(limit)
    await asyncio.sleep(0)  # nothing of the cancellation is left


async def test_between_waits_a_limit_stops_nothing() -> None:
    limit = until(math.inf)
    limit.resume(now_s() + 0.01)
    limit.deadline_s = math.inf
    await asyncio.sleep(0.03)
    limit.resume(now_s() + 30)
    await asyncio.sleep(0)
    assert not limit.expired
    limit.leave()


async def test_a_wait_of_another_task_is_what_is_stopped() -> None:
    limit = until(math.inf)
    limit.resume(now_s() + 30)

    async def wait() -> None:
        limit.resume(now_s() + 0.01)
        await _sleep_limited(limit)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait(), 20)
    await asyncio.sleep(0.03)  # this task goes on
