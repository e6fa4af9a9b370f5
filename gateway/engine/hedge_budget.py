"""How many second calls an alias' requests may get in a minute: so that a slow vendor does not double the load.

One in any case, or MINUTE_SHARE of the requests if that is more.
"""

from __future__ import annotations

import math
from typing import Final

MINUTE_S: Final = 60.0
MINUTE_SHARE: Final = 0.1
"""In a minute so much of an alias' requests may get a second call; one may in any case."""
_SLOTS: Final = 6
MAX_ALIASES: Final = 10_000
"""Aliases whose minutes are counted. Beyond, all are forgotten."""


class Minute:
    """The requests of one alias and their second calls within the last minute, in slots of ten seconds."""

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: list[list[float]] = []
        """[begin on the event loop's clock, requests, second calls], oldest first."""

    def count(self, *, now_s: float) -> None:
        """Count a request."""
        slots = self._slots
        if not slots or now_s - slots[-1][0] >= MINUTE_S / _SLOTS:
            while slots and slots[0][0] <= now_s - MINUTE_S:
                del slots[0]
            slots.append([now_s, 0, 0])
        slots[-1][1] += 1

    def take(self, *, now_s: float) -> bool:
        """Take one second call; return False if there are too many already."""
        slots = self._last(now_s)
        if not slots:  # its request came over a minute ago
            slots = self._slots = [[now_s, 0, 0]]
        if _left(slots, requests=0) < 1:
            return False
        slots[-1][2] += 1
        return True

    def left(self, *, now_s: float) -> int:
        """Return how many second calls may be begun now, if one more request comes."""
        return _left(self._last(now_s), requests=1)

    def shifted(self, by_s: float) -> Minute:
        """Return a copy on a clock that reads `by_s` more."""
        copy = Minute()
        copy._slots = [[begin_s + by_s, *counts] for begin_s, *counts in self._slots]
        return copy

    def _last(self, now_s: float) -> list[list[float]]:
        return [slot for slot in self._slots if slot[0] > now_s - MINUTE_S]


def _left(slots: list[list[float]], *, requests: int) -> int:
    """Return the second calls that are left in these slots, with so many more requests."""
    allowed = max(1.0, MINUTE_SHARE * (sum(slot[1] for slot in slots) + requests))
    return max(0, math.floor(allowed - sum(slot[2] for slot in slots)))


class Minutes:
    """The minutes of all aliases."""

    def __init__(self) -> None:
        self._of: dict[str, Minute] = {}

    def of(self, alias: str) -> Minute:
        """Return an alias' minute, a new one if nothing was counted."""
        if alias not in self._of and len(self._of) >= MAX_ALIASES:
            self._of.clear()
        return self._of.setdefault(alias, Minute())

    def copied(self, alias: str, *, now_s: float) -> Minutes:
        """Return a copy of one alias' minute on a clock that reads 0 at `now_s`."""
        copy = Minutes()
        if alias in self._of:
            copy._of[alias] = self._of[alias].shifted(-now_s)
        return copy
