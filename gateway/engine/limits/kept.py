"""Counts of days and months that outlive a process: what each bucket has used in the window that it reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol, TypeAlias

from gateway.engine.limits import windows
from gateway.policy.limits import Window

_PERS: Final[dict[str, Window]] = {"day": "day", "month": "month"}


class Count(NamedTuple):
    """What a bucket of a day or a month has used."""

    key: str
    """Of its `Bucket`."""
    begin_s: float
    """Where its window begins, in seconds since the epoch."""
    used: float
    """At least 0."""

    @property
    def per(self) -> Window | None:
        """Its window; None for a key that is not one of a day or a month."""
        return _PERS.get(self.key.rpartition("/")[2])


Counts: TypeAlias = Iterable[Count]


class CountSource(Protocol):
    """A store whose counts are kept."""

    def changes(self) -> Callable[[], Counts] | None:
        """Return what reads the counts that changed since the last call, to be called in another thread, once.

        None if none did. It reads them as they are when it is called.
        """


def current(counts: Counts, wall_s: float) -> dict[str, Count]:
    """Return by key the counts whose window is the one that a bucket has reached at `wall_s`."""
    known: dict[tuple[Window | None, float], bool] = {}
    found = {}
    for count in counts:
        window = count.per, count.begin_s
        if window not in known:
            known[window] = _is_current(*window, wall_s)
        if known[window]:
            found[count.key] = count
    return found


def _is_current(per: Window | None, begin_s: float, wall_s: float) -> bool:
    if per is None:
        return False
    begin, end_s = windows.window(per, begin_s)
    return begin == begin_s and windows.current(begin, end_s, per, wall_s) == (begin, end_s)
