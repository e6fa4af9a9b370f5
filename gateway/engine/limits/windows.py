"""Buckets of days and months, which empty at midnight in UTC: what was used, in the window of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from gateway.policy.limits import Window

DAY_S: Final = 86400
BACK_S: Final = 3600.0
"""A clock that goes back by less than this stays in the window that it had reached: nobody gets two of the same day."""

TOLERANCE: Final = 1e-9


def window(per: Window, now_s: float) -> tuple[float, float]:
    """Return begin and end of the day or month at `now_s`, in seconds since the epoch."""
    if per == "day":
        begin_s = now_s // DAY_S * DAY_S
        return begin_s, begin_s + DAY_S
    first = datetime.fromtimestamp(now_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first.timestamp(), following.timestamp()


def current(begin_s: float, end_s: float, per: Window, now_s: float) -> tuple[float, float]:
    """Return the window of `now_s`, given the one that was reached; 0 and 0 before there is one."""
    if now_s < end_s and now_s >= begin_s - BACK_S:
        return begin_s, end_s
    return window(per, now_s)


def wait_s(used: float, cost: float, amount: float, left_s: float) -> float:
    """Return the seconds until `cost`, at most `amount`, fits beside what is used; 0 if it does now.

    `left_s` is what is left of the window.
    """
    return left_s if used + cost > amount * (1.0 + TOLERANCE) else 0.0
