"""Buckets of days and months, which empty at midnight in UTC: what was used, in the window of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, TypeAlias

from gateway.policy.limits import Window

Used: TypeAlias = tuple[float, float, float]
"""Begin and end of the window in seconds since the epoch, and what was used in it."""

NOTHING: Final[Used] = (0.0, 0.0, 0.0)

DAY_S: Final = 86400
BACK_S: Final = 3600.0
"""A clock that goes back by less than this stays in the window that it had reached: nobody gets two of the same day."""

_TOLERANCE: Final = 1e-9


def window(per: Window, now_s: float) -> tuple[float, float]:
    """Return begin and end of the day or month at `now_s`, in seconds since the epoch."""
    if per == "day":
        begin_s = now_s // DAY_S * DAY_S
        return begin_s, begin_s + DAY_S
    first = datetime.fromtimestamp(now_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first.timestamp(), following.timestamp()


def current(state: Used, per: Window, now_s: float) -> Used:
    """Return the bucket in the window of `now_s`."""
    begin_s, end_s, _ = state
    if now_s < end_s and now_s >= begin_s - (BACK_S if end_s else 0.0):
        return state
    return (*window(per, now_s), 0.0)


def wait_s(state: Used, cost: float, amount: float, now_s: float) -> float:
    """Return the seconds until `cost`, at most `amount`, fits into the current bucket; 0 if it does now."""
    return state[1] - now_s if state[2] + cost > amount * (1.0 + _TOLERANCE) else 0.0


def changed(state: Used, begin_s: float, by: float) -> Used:
    """Return the bucket after a reservation of the window that began at `begin_s` was settled; as it was in another."""
    return (state[0], state[1], max(0.0, state[2] + by)) if state[0] == begin_s else state
