"""Within `resting`, other threads get the interpreter in the middle of a paced loop."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from gateway.concurrency.pacing import WORK_S, paced, resting


class Beside:
    """A thread that counts how often it gets the interpreter."""

    def __init__(self) -> None:
        self.turns = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.0001):
            self.turns += 1

    def end(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def beside() -> Iterator[Beside]:
    """Nobody gives the interpreter up but of their own will."""
    turn_s = sys.getswitchinterval()
    sys.setswitchinterval(60)
    made = Beside()
    try:
        yield made
    finally:
        sys.setswitchinterval(turn_s)
        made.end()


def work(items: int) -> Iterator[int]:
    """Yield items that take a good part of the time between two rests each."""
    for item in range(items):
        until = time.thread_time() + WORK_S / 10
        while time.thread_time() < until:
            pass
        yield item


def turns_during_work(beside: Beside) -> int:
    before = beside.turns
    assert list(paced(work(160))) == list(range(160))
    return beside.turns - before


def test_a_paced_loop_rests_where_it_is_told_to(beside: Beside) -> None:
    with resting():
        assert turns_during_work(beside) >= 5


def test_elsewhere_it_does_not(beside: Beside) -> None:
    assert turns_during_work(beside) == 0


def test_only_the_thread_that_said_so_rests() -> None:
    items = [1, 2]
    seen: list[bool] = []
    with resting():
        assert paced(items) is not items
        other = threading.Thread(target=lambda: seen.append(paced(items) is items))
        other.start()
        other.join()
    assert seen == [True]
    assert paced(items) is items
