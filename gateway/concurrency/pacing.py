"""Rests in long loops, for the sake of an event loop in another thread of the same interpreter."""

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
"""So many items pass between looks at the clock."""

_rests: ContextVar[bool] = ContextVar("rests", default=False)


@contextmanager
def resting() -> Iterator[None]:
    """Have the `paced` loops of this thread rest."""
    token = _rests.set(True)
    try:
        yield
    finally:
        _rests.reset(token)


def paced(items: Iterable[T]) -> Iterable[T]:
    """Return the items. Within `resting` it sleeps REST_S after each WORK_S of processor time that they take."""
    return _paced(items) if _rests.get() else items


def _paced(items: Iterable[T]) -> Iterator[T]:
    rest_at = time.thread_time() + WORK_S
    for number, item in enumerate(items):
        if number % _EVERY == 0 and time.thread_time() > rest_at:
            time.sleep(REST_S)
            rest_at = time.thread_time() + WORK_S
        yield item


TURN_S: Final = 0.001
"""How long one thread may keep the interpreter while another wants it. Python's own 5 ms add up over a request.

Longer than a compile works between two rests: the event loop gives the interpreter up around each call of a transport,
and would wait for many short turns as often, dozens of times over a request.
"""

_NEVER: Final = 1_000_000_000

_MANY: Final = 150_000
"""New objects after which a full collection is worth avoiding for good."""


@contextmanager
def short_pauses() -> Iterator[None]:
    """Keep the pauses of other threads short: this one rests between pieces of work. For one thread at a time."""
    turn_s = sys.getswitchinterval()
    sys.setswitchinterval(min(turn_s, TURN_S))
    try:
        with resting(), no_full_collection():
            yield
    finally:
        sys.setswitchinterval(turn_s)


@contextmanager
def no_full_collection() -> Iterator[None]:
    """Run no full garbage collection meanwhile. For one thread at a time.

    It looks at every object there is, a tenth of a second for a large table, and all threads wait. What a large compile
    made is left out of later ones too: a table holds no cycles, so nothing of it ever needs one.
    """
    young, middle, old = gc.get_threshold()
    before = gc.get_count()[2]
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        # Each collection of the middle generation stands for so many new objects, which differs among Pythons.
        if (gc.get_count()[2] - before) * young * middle > _MANY:
            gc.freeze()
        gc.set_threshold(young, middle, old)
