"""What buckets hold, and how that changes: one cell for each, in the memory of one process."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from gateway.engine.limits import leases, sliding, windows
from gateway.engine.limits.kept import Count
from gateway.engine.limits.store import Full, Refused, Standing, longest
from gateway.policy.limits import Limit, Unit, Window


class Cell(Protocol):
    """A bucket with its content."""

    unit: Unit
    amount: float
    """Of the newest reservation."""
    open: int
    """Reservations that are not settled. A bucket with some is not dropped."""
    used: float
    """As of the last call."""

    def wait_s(self, cost: float, limit: Limit, now_s: float, wall_s: float) -> float:
        """Return the seconds until `cost` fits; 0 if it does now. A `take` that follows is at the same time.

        `now_s` and `wall_s` are the present on both clocks.
        """

    def take(self, reservation: str, cost: float) -> float:
        """Take what fits, and return what settling it takes."""

    def settle(self, reservation: str, mark: float, by: float, now_s: float, wall_s: float) -> None:
        """End a reservation that used so much more than it took, or less if `by` is below 0. `mark` is of `take`."""

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        """Return what is used now, and what `free_in_s` does then. Later answers are as if nobody had asked."""

    def free_in_s(self, wall_s: float) -> float | None:
        """Return the seconds until nothing is used, as of the last call; None if nobody knows."""


# For each request and bucket these are called three times, so they call little.
class Sliding:
    """A bucket of a minute or an hour."""

    __slots__ = ("_at_s", "_lows", "_rate", "_window_s", "amount", "open", "unit", "used")

    def __init__(self, limit: Limit, lows: int = sliding.MAX_LOWS) -> None:
        """`lows`: entries of its `Lows` at most."""
        assert limit.per is not None, "only `concurrent` has no window"
        self._window_s = sliding.WINDOW_S[limit.per]
        self._lows = sliding.Lows(lows)
        self._at_s = 0.0
        self._rate = limit.amount / self._window_s
        self.used = 0.0
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit, now_s: float, wall_s: float) -> float:
        rate = self._rate
        used = self.used = sliding.used(self.used, self._at_s, rate, now_s)
        self._at_s = now_s
        amount = limit.amount
        if amount != self.amount:  # what has drained until now did so at the old rate
            self.amount = amount
            rate = self._rate = amount / self._window_s
        return sliding.wait_s(used, cost, amount, rate) if used + cost > amount else 0.0

    def take(self, reservation: str, cost: float) -> float:
        serial = self._lows.note(self.used) if self.open else self._lows.begin()
        self.open += 1
        self.used += cost
        return serial

    def settle(self, reservation: str, mark: float, by: float, now_s: float, wall_s: float) -> None:
        self.open -= 1
        if by:
            used = sliding.used(self.used, self._at_s, self._rate, now_s)
            self._at_s = now_s
            self.used = used + by if by > 0.0 else used - self._lows.give_back(mark, -by, used)

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        # Nothing is written: drained in two steps, a bucket may hold another last digit than in one.
        used = sliding.used(self.used, self._at_s, self._rate, now_s)
        return used, used / self._rate

    def free_in_s(self, wall_s: float) -> float | None:
        return self.used / self._rate


class Calendar:
    """A bucket of a day or a month."""

    __slots__ = ("_begin_s", "_changed", "_end_s", "_key", "_per", "amount", "open", "unit", "used")

    def __init__(self, limit: Limit, key: str = "", changed: dict[str, Calendar] | None = None) -> None:
        """`changed` gets the cell by its key whenever `used` changes."""
        assert limit.per is not None, "only `concurrent` has no window"
        self._per: Window = limit.per
        self._key = key
        self._changed = changed
        self._begin_s = self._end_s = 0.0
        self.used = 0.0
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit, now_s: float, wall_s: float) -> float:
        amount = self.amount = limit.amount
        if not self._begin_s <= wall_s < self._end_s:
            self._come_to(wall_s)
        return windows.wait_s(self.used, cost, amount, self._end_s - wall_s)

    def take(self, reservation: str, cost: float) -> float:
        self.open += 1
        self.used += cost
        if self._changed is not None:
            self._changed[self._key] = self
        return self._begin_s

    def settle(self, reservation: str, mark: float, by: float, now_s: float, wall_s: float) -> None:
        self.open -= 1
        if by:
            self._come_to(wall_s)
            if mark == self._begin_s:  # else its window is over
                self.used = max(0.0, self.used + by)
                if self._changed is not None:
                    self._changed[self._key] = self

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        self._come_to(wall_s)
        return self.used, self.free_in_s(wall_s)

    def _come_to(self, wall_s: float) -> None:
        """Begin with nothing if the window is over."""
        begin_s, end_s = windows.current(self._begin_s, self._end_s, self._per, wall_s)
        if begin_s != self._begin_s:
            self._begin_s, self._end_s, self.used = begin_s, end_s, 0.0

    def free_in_s(self, wall_s: float) -> float | None:
        return self._end_s - wall_s if self.used else 0.0

    def restore(self, count: Count) -> None:
        """Begin with what was kept."""
        self._begin_s, self._end_s = windows.window(self._per, count.begin_s)
        self.used = count.used

    def count(self) -> Count:
        """Return what is used, from any thread."""
        return Count(self._key, self._begin_s, self.used)


class Concurrent:
    """A bucket of requests at once."""

    __slots__ = ("_leases", "_now_s", "amount", "open", "unit", "used")

    def __init__(self, limit: Limit) -> None:
        self._leases: dict[str, float] = {}
        self._now_s = 0.0
        self.used = 0.0
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit, now_s: float, wall_s: float) -> float:
        self.amount = limit.amount
        self._now_s = now_s
        if self._leases:
            leases.drop_ended(self._leases, now_s)
        self.used = float(len(self._leases))
        return leases.WAIT_S if self.used + cost > limit.amount else 0.0

    def take(self, reservation: str, cost: float) -> float:
        self.open += 1
        self.used += 1.0
        self._leases[reservation] = self._now_s + leases.LEASE_S
        return 0.0

    def settle(self, reservation: str, mark: float, by: float, now_s: float, wall_s: float) -> None:
        self.open -= 1
        if self._leases.pop(reservation, None) is not None:
            self.used -= 1.0

    def renew(self, reservation: str, now_s: float) -> None:
        """Renew a lease, also one that has ended: its request goes on."""
        leases.renew(self._leases, reservation, now_s)

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        leases.drop_ended(self._leases, now_s)
        self.used = float(len(self._leases))
        return self.used, None

    def free_in_s(self, wall_s: float) -> float | None:
        return None


Found: TypeAlias = tuple[Cell, float, Limit]
"""A bucket that a reservation asks, with its cost there and the limit."""
Part: TypeAlias = tuple[Cell, float, float]
"""A reservation in one bucket: the cost, and what settling takes."""


def take(
    reservation: str, found: list[Found], full: list[Full] | None, parts: list[Part] | None, wall_s: float
) -> Standing | Refused:
    """Take from all cells, unless some are full, and return what `Store.try_reserve` does.

    `parts` gets what settling takes; None: the reservation was made before, and nothing is taken.
    """
    if full is not None:
        limit_of_longest = longest(full).limit
        found = [one for one in found if one[2] is limit_of_longest]
    elif parts is not None:
        parts += [(cell, cost, cell.take(reservation, cost)) for cell, cost, _ in found]
    most = -1.0
    for cell, _, limit in found:
        share = cell.used / limit.amount
        if share > most:
            most, fullest, tightest = share, cell, limit
    left = tightest.amount - fullest.used
    standing = Standing(tightest, left if left > 0.0 else 0.0, fullest.free_in_s(wall_s))
    return standing if full is None else Refused(tuple(full), standing)
