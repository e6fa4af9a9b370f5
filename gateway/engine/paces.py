"""How fast targets answer: a decaying peak average of the time to first content, by operation.

Source: the peak EWMA of Twitter's Finagle (https://twitter.github.io/finagle/guide/Clients.html#p2c-peak-ewma).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

HALF_LIFE_S: Final = 10.0
"""Seconds after which an average counts half, against newer times or, without any, the mean of the other targets."""

NEW_S: Final = 0.25
"""Seconds in which an average does not drift: it would by 2 % at most."""

PERIOD_S: Final = 600.0
"""How long times count for a percentile, in seconds."""
MIN_TIMES: Final = 20
"""Fewer times have no percentile."""
_SLOT_S: Final = 60.0
_LOG_STEP: Final = math.log(1.05)

PaceKey: TypeAlias = tuple[str, bool]
"""An operation's name, and whether its answer is a stream: the time of a plain answer is that of the whole."""


class Pace(NamedTuple):
    """A target's average, as of its newest time."""

    average_s: float
    noted_s: float
    """On the event loop's clock."""

    def shifted(self, by_s: float) -> Pace:
        """Return the same on a clock that reads `by_s` more."""
        return Pace(self.average_s, self.noted_s + by_s)


class Latest:
    """A target's times of the last PERIOD_S seconds, as counts of slots of a minute.

    Times below 1 s are counted as one; above, a bucket's end is 5 % above its begin.
    """

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: list[tuple[float, Counter[int]]] = []
        """(begin on the event loop's clock, bucket → times), oldest first."""

    def add(self, time_s: float, *, now_s: float) -> None:
        """Count one time, in seconds."""
        slots = self._slots
        if not slots or now_s - slots[-1][0] >= _SLOT_S:
            slots.append((now_s, Counter()))
            while slots[0][0] <= now_s - PERIOD_S:
                del slots[0]
        bucket = math.ceil(math.log(time_s) / _LOG_STEP) if time_s > 1.0 else 0
        slots[-1][1][bucket] += 1

    def percentile_s(self, share: float, *, now_s: float) -> float | None:
        """Return the seconds within which this share of the times lies, at least 1; None below MIN_TIMES times."""
        counts = sum((counts for begin_s, counts in self._slots if begin_s > now_s - PERIOD_S), Counter[int]())
        total = counts.total()
        if total < MIN_TIMES:
            return None
        left = math.ceil(share * total)
        for bucket in sorted(counts):
            left -= counts[bucket]
            if left <= 0:
                return math.exp(bucket * _LOG_STEP)
        raise AssertionError("a share is at most 1")

    def shifted(self, by_s: float) -> Latest:
        """Return a copy on a clock that reads `by_s` more."""
        copy = Latest()
        copy._slots = [(begin_s + by_s, Counter(counts)) for begin_s, counts in self._slots]
        return copy


def with_time(pace: Pace | None, time_s: float, *, now_s: float) -> Pace:
    """Return the average with one more time. A longer time than the average replaces it: trouble shows at once."""
    if pace is None or time_s >= pace.average_s:
        return Pace(time_s, now_s)
    kept = _left(now_s - pace.noted_s)
    return Pace(pace.average_s * kept + time_s * (1.0 - kept), now_s)


def is_new(pace: Pace, *, now_s: float) -> bool:
    """Tell whether an average is too new to drift."""
    return now_s - pace.noted_s <= NEW_S


def expected_s(pace: Pace | None, others: Sequence[float], *, now_s: float) -> float:
    """Return the seconds to expect of a target; 0 if nothing is known of it and the others of its pool.

    The average of a target that nobody asks drifts to the mean of the others, so that it is asked again. A target that
    was never asked is taken to be as fast as the mean. `others` has the averages that are known; a new time needs none.
    """
    if pace is not None and is_new(pace, now_s=now_s):
        return pace.average_s
    if not others:
        return 0.0 if pace is None else pace.average_s
    mean_s = math.fsum(others) / len(others)
    return mean_s if pace is None else mean_s + (pace.average_s - mean_s) * _left(now_s - pace.noted_s)


def _left(seconds: float) -> float:
    return math.exp2(-seconds / HALF_LIFE_S) if seconds > 0 else 1.0
