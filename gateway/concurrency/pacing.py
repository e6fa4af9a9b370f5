"""Rests in long loops, for the sake of an event loop in another thread of the same interpreter."""

from __future__ import annotations

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
