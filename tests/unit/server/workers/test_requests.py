"""The requests of several workers in one order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.server.live.recent import KEPT
from gateway.server.workers.requests import JoinedRequests

A, B = "one worker", "another"


def row(n: int, ended_at: str) -> dict[str, Any]:
    return {"n": n, "ended_at": ended_at}


def numbered(joined: JoinedRequests, after: int | None = None) -> list[tuple[int, str, int]]:
    return [(row["n"], row["ended_at"], row["worker"]) for row in joined.after(after)]


def test_what_is_heard_together_is_in_the_order_of_its_ends() -> None:
    joined = JoinedRequests()
    joined.take([(A, 0, 2, [row(1, "12:01"), row(2, "12:03")]), (B, 1, 1, [row(1, "12:02")])])
    assert numbered(joined) == [(1, "12:01", 0), (2, "12:02", 1), (3, "12:03", 0)]
    assert numbered(joined, 2) == [(3, "12:03", 0)]
    assert (joined.known(A), joined.known(B), joined.last) == (2, 1, 3)


def test_what_is_heard_later_has_a_higher_number_whenever_it_ended() -> None:
    joined = JoinedRequests()
    joined.take([(A, 0, 1, [row(1, "12:05")])])
    joined.take([(B, 1, 1, [row(1, "12:01")])])
    assert numbered(joined, 1) == [(2, "12:01", 1)]


def test_what_is_told_twice_is_taken_once() -> None:
    joined = JoinedRequests()
    for _ in range(2):
        joined.take([(A, 0, 2, [row(1, "12:01"), row(2, "12:02")])])
    joined.take([(A, 0, 3, [row(2, "12:02"), row(3, "12:03")])])
    assert [n for n, _, _ in numbered(joined)] == [1, 2, 3]


def test_what_a_worker_forgot_is_counted() -> None:
    joined = JoinedRequests()
    joined.take([(A, 0, 500, [row(499, "12:01"), row(500, "12:02")])])
    assert (joined.last, [n for n, _, _ in numbered(joined)]) == (500, [499, 500])


def test_a_new_process_of_the_same_number_begins_with_one() -> None:
    joined = JoinedRequests()
    joined.take([(A, 0, 2, [row(1, "12:01"), row(2, "12:02")])])
    joined.forget(A)
    joined.take([(B, 0, 1, [row(1, "12:03")])])
    assert [n for n, _, _ in numbered(joined)] == [1, 2, 3]


@pytest.mark.parametrize("number", [None, 0, -1, 9])
def test_a_number_that_no_request_has_yet_returns_all(number: int | None) -> None:
    joined = JoinedRequests()
    joined.take([(A, 0, 1, [row(1, "12:01")])])
    assert len(joined.after(number)) == 1


def test_their_number_is_bounded() -> None:
    joined = JoinedRequests()
    joined.take([(A, 0, 900, [row(n, f"{n:04}") for n in range(1, 901)])])
    assert [n for n, _, _ in numbered(joined)] == list(range(901 - KEPT, 901))


async def test_who_waits_is_woken_once() -> None:
    joined = JoinedRequests()
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(joined.wait(60.0)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waits)
        joined.wake()
    waiting = asyncio.ensure_future(joined.wait(0.01))  # noqa: TID251 - awaited here
    await asyncio.sleep(0)
    assert not waiting.done()
    await waiting
