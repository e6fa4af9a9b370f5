"""What keeps a compile in its own thread from stopping the event loop beside it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gateway.concurrency.pacing import resting

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
