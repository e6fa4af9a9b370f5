"""How fast targets answer: a decaying peak average of the time to first content, by operation.

Source: the peak EWMA of Twitter's Finagle (https://twitter.github.io/finagle/guide/Clients.html#p2c-peak-ewma).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

HALF_LIFE_S: Final = 10.0
"""Seconds after which an average counts half, against newer times or, without any, the mean of the other targets."""

NEW_S: Final = 0.25
"""Seconds in which an average does not drift: it would by 2 % at most."""

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


def with_time(pace: Pace | None, time_s: float, *, now_s: float) -> Pace:
    """Return the average with one more time. A longer time than the average replaces it: trouble shows at once."""
    if pace is None or time_s >= pace.average_s:
        return Pace(time_s, now_s)
    kept = _left(now_s - pace.noted_s)
    return Pace(pace.average_s * kept + time_s * (1.0 - kept), now_s)


def expected_s(pace: Pace | None, others: Iterable[Pace | None], *, now_s: float) -> float:
    """Return the seconds to expect of a target; 0 if nothing is known of it and the `others` of its pool.

    The average of a target that nobody asks drifts to the mean of the others, so that it is asked again. A target that
    was never asked is taken to be as fast as the mean. `others` are not looked at for a time that is new.
    """
    if pace is not None and now_s - pace.noted_s <= NEW_S:
        return pace.average_s
    known = [other.average_s for other in others if other is not None]
    if not known:
        return 0.0 if pace is None else pace.average_s
    mean_s = math.fsum(known) / len(known)
    return mean_s if pace is None else mean_s + (pace.average_s - mean_s) * _left(now_s - pace.noted_s)


def _left(seconds: float) -> float:
    return math.exp2(-seconds / HALF_LIFE_S) if seconds > 0 else 1.0
