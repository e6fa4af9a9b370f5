"""Pauses in long loops, so that an event loop in another thread of the interpreter can run."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

T = TypeVar("T")

WORK_S: Final = 0.0005
REST_S: Final = 0.0005
_EVERY: Final = 16
"""Items between two readings of the clock."""

_rests: ContextVar[bool] = ContextVar("rests", default=False)


@contextmanager
def resting() -> Iterator[None]:
    """Make the `paced` loops of this thread pause."""
    token = _rests.set(True)
    try:
        yield
    finally:
        _rests.reset(token)


def paced(items: Iterable[T]) -> Iterable[T]:
    """Return the items. Within `resting`, iterating sleeps REST_S after each WORK_S of processor time."""
    return _paced(items) if _rests.get() else items


def _paced(items: Iterable[T]) -> Iterator[T]:
    rest_at = time.thread_time() + WORK_S
    for number, item in enumerate(items):
        if number % _EVERY == 0 and time.thread_time() > rest_at:
            time.sleep(REST_S)
            rest_at = time.thread_time() + WORK_S
        yield item


TURN_S: Final = 0.001
"""Seconds that a thread may keep the interpreter while another waits. Python's default of 5 ms adds up over a request.

It is longer than WORK_S: the event loop releases the interpreter at each call of a transport, dozens of times in a
request, and would wait for a turn of the other thread each time.
"""

_NEVER: Final = 1_000_000_000

_MANY: Final = 150_000
"""New objects from which on they are left out of later full collections."""


@contextmanager
def short_pauses() -> Iterator[None]:
    """Let other threads run often: this one pauses between pieces of work. For one thread at a time."""
    turn_s = sys.getswitchinterval()
    sys.setswitchinterval(min(turn_s, TURN_S))
    try:
        with resting(), no_full_collection():
            yield
    finally:
        sys.setswitchinterval(turn_s)


@contextmanager
def no_full_collection() -> Iterator[None]:
    """Run no full garbage collection in this block. For one thread at a time.

    A full collection visits all objects, a tenth of a second for a large table, while all threads wait. The objects of
    a large compile are left out of later collections too: a table has no cycles.
    """
    young, middle, old = gc.get_threshold()
    before = gc.get_count()[2]
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        # Each collection of the middle generation stands for young * middle new objects.
        if (gc.get_count()[2] - before) * young * middle > _MANY:
            gc.freeze()
        gc.set_threshold(young, middle, old)
