"""Buckets of minutes and hours, which empty steadily: GCRA in its form of a leaky bucket (ITU-T I.371, Annex A).

A bucket of 60 requests a minute holds 60, and one drains each second. So a burst may be the whole amount, no border
between two minutes lets twice as much through, and the moment at which something fits again is exact. What is used is
kept as a number, not as a point in time: a changed amount keeps it.

What a reservation gets back is no more than what of it is still there. A bucket that took 50 and was empty in between
gives nothing back of them: that would be somebody else's. So it always holds what it would if each cost had been known
from the start. `Lows` is what that takes.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import Final

WINDOW_S: Final = {"minute": 60.0, "hour": 3600.0}
"""Seconds in which a full bucket drains."""

MAX_LOWS: Final = 1000
"""Entries of `Lows`: reservations that are open while a bucket fills. Beyond, neighbours are joined: less goes back."""

_TOLERANCE: Final = 1e-9
"""Part of the amount that rounding may add up to."""


def used(was: float, at_s: float, rate: float, now_s: float) -> float:
    """Return what is left of what `was` in the bucket at `at_s`. `rate` is what drains in a second."""
    if now_s <= at_s:
        return was
    left = was - (now_s - at_s) * rate
    return left if left > 0.0 else 0.0


def wait_s(was: float, cost: float, amount: float, rate: float) -> float:
    """Return the seconds until `cost`, at most `amount`, fits beside what is in the bucket; 0 if it does now."""
    over = was + cost - amount
    return over / rate if over > amount * _TOLERANCE else 0.0


class Lows:
    """How low a bucket has been since each of its open reservations was made.

    The lows ascend, and each is kept as its rise above the one before: what `give_back` does, to lower those from one
    on by as much, changes one rise.
    """

    __slots__ = ("most", "rises", "serial", "serials", "top")

    def __init__(self, most: int = MAX_LOWS) -> None:
        self.most = most
        """Entries at most."""
        self.serial = 0.0
        """Of the newest reservation; a whole number."""
        self.serials: list[float] = []
        """They ascend. A reservation's low is the first one with a greater serial; without one, what is used now."""
        self.rises: list[float] = []
        self.top = 0.0
        """The last low, if there is one."""

    def begin(self) -> float:
        """Note a reservation while none is open, and return its serial."""
        if self.serials:
            self.serials.clear()
            self.rises.clear()
        self.serial += 1.0
        return self.serial

    def note(self, before: float) -> float:
        """Note a reservation that found so much in the bucket, and return its serial."""
        self.serial = serial = self.serial + 1.0
        serials, rises = self.serials, self.rises
        if before == self.top and rises:  # as of a bucket that is empty again and again
            serials[-1] = serial
            return serial
        while rises and self.top >= before:
            self.top -= rises.pop()
            serials.pop()
        rises.append(before - self.top if rises else before)
        serials.append(serial)
        self.top = before
        if len(rises) > self.most:
            self._join()
        return serial

    def give_back(self, serial: float, back: float, in_it: float) -> float:
        """Return how much of `back` a reservation gets, of what is in the bucket, and note that it did."""
        serials, rises = self.serials, self.rises
        if back > in_it:
            back = in_it
        if not serials or serials[-1] <= serial:  # none was made since
            return back
        first = 0 if serials[0] > serial else bisect_right(serials, serial)
        low = self.top if first == len(rises) - 1 else sum(rises[: first + 1])
        if back > low:
            if low <= 0.0:
                return 0.0
            back = low
        self.top -= back
        rise = rises[first] - back
        while first and rise <= 0.0:  # the one before is no longer lower
            first -= 1
            rise += rises[first]
            del serials[first], rises[first]
        rises[first] = rise
        return back

    def _join(self) -> None:
        """Join neighbours: the later serial has the lower low of both."""
        lows = list(accumulate(self.rises))[::2]
        self.rises[:] = [low - before for before, low in pairwise([0.0, *lows])]
        del self.serials[:-1:2]
        self.top = lows[-1]
