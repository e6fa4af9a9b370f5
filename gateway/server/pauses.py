"""What keeps a compile in its own thread from stopping the event loop beside it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

TURN_S: Final = 0.00001
"""How long one thread may keep the interpreter while another wants it.

The event loop gives it up around each call of a transport and so waits as often, dozens of times in one turn: Python's
own 5 ms add up over a request, and so does half a millisecond.
"""

_NEVER: Final = 1_000_000_000
_MANY: Final = 20
"""Collections of the middle generation, about 8,000 new objects each, after which a full one would be due."""


@contextmanager
def short_pauses() -> Iterator[None]:
    """Keep the pauses of other threads short. For one thread at a time.

    A full garbage collection looks at every object there is, a tenth of a second for a large table, and all threads
    wait. None is run meanwhile, and what a large compile made is then left out of later ones: a table holds no cycles,
    so nothing of it ever needs one.
    """
    turn_s = sys.getswitchinterval()
    young, middle, old = gc.get_threshold()
    before = gc.get_count()[2]
    sys.setswitchinterval(min(turn_s, TURN_S))
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        if gc.get_count()[2] - before > _MANY:
            gc.freeze()
        gc.set_threshold(young, middle, old)
        sys.setswitchinterval(turn_s)
