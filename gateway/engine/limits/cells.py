"""What buckets hold, and how that changes: one cell for each, in the memory of one process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Final, Protocol, TypeAlias

from gateway.engine.limits import leases, sliding, windows
from gateway.engine.limits.kept import Count
from gateway.engine.limits.store import LOOKED_AT, Costs, Full, Refused, Standing, longest
from gateway.policy.limits import Limit, Unit, Window


class Cell(Protocol):
    """A bucket with its content."""

    unit: Unit
    limit: Limit
    """Whoever asks or takes has it `adopt` another one before."""
    amount: float
    """Of `limit`."""
    open: int
    """Reservations that are not settled. A bucket with some is not dropped."""
    used: float
    """As of the last call."""
    rate: float
    """What drains in a second; 0.0 for what does not drain."""

    def adopt(self, limit: Limit, now_s: float) -> None:
        """Go on with another limit of the same unit and window."""

    def wait_s(self, cost: float, now_s: float, wall_s: float) -> float:
        """Return the seconds until `cost` fits; 0 if it does now. The whole amount is asked for if `cost` is above it.

        `now_s` and `wall_s` are the present on both clocks.
        """

    def take(self, reservation: str, cost: float, now_s: float, wall_s: float) -> Part | None:
        """Take `cost`, likewise, and return what settling it takes; None if it does not fit."""

    def untake(self, reservation: str) -> None:
        """Be as before the last call, a `take`."""

    def settle(self, reservation: str, mark: float, by: float, now_s: float) -> None:
        """End a reservation that used so much more than it took, or less if `by` is below 0. `mark` is of `take`."""

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        """Return what is used now, and what `free_in_s` does then. Later answers are as if nobody had asked."""

    def free_in_s(self, wall_s: float) -> float | None:
        """Return the seconds until nothing is used, as of the last call; None if nobody knows."""


Part: TypeAlias = tuple[Cell, float, float]
"""A reservation in one bucket: the cell, the cost, and the mark for `settle`.

One that used what it took may end by `open` alone.
"""


# Each request calls these twice for each bucket, so they call little: a call takes as long as the rest of them.
class Sliding:
    """A bucket of a minute or an hour."""

    __slots__ = ("_at_s", "_before", "_lows", "_window_s", "amount", "limit", "open", "rate", "unit", "used")

    def __init__(self, limit: Limit, lows: int = sliding.MAX_LOWS) -> None:
        """`lows`: entries of its `Lows` at most."""
        assert limit.per is not None, "only `concurrent` has no window"
        self._window_s = sliding.WINDOW_S[limit.per]
        self._lows = sliding.Lows(lows)
        self._at_s = 0.0
        self.rate = limit.amount / self._window_s
        self.used = self._before = 0.0
        self.limit = limit
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def adopt(self, limit: Limit, now_s: float) -> None:
        if limit.amount != self.amount:  # what has drained until now did so at the old rate
            self._come_to(now_s)
            self.amount = limit.amount
            self.rate = limit.amount / self._window_s
        self.limit = limit

    def wait_s(self, cost: float, now_s: float, wall_s: float) -> float:
        self._come_to(now_s)
        return sliding.wait_s(self.used, min(cost, self.amount), self.amount, self.rate)

    def take(self, reservation: str, cost: float, now_s: float, wall_s: float) -> Part | None:
        used = self.used
        if used and now_s > self._at_s:  # as in `_come_to`
            used -= (now_s - self._at_s) * self.rate
            if used < 0.0:
                used = 0.0
        self._at_s = now_s
        amount = self.amount
        if cost > amount:
            cost = amount
        if used + cost > amount and sliding.wait_s(used, cost, amount, self.rate):
            self.used = used
            return None
        self._before = used
        self.used = used + cost
        lows = self._lows
        if self.open or lows.serials:
            serial = lows.note(used) if self.open else lows.begin()
        else:
            serial = lows.serial = lows.serial + 1.0  # as `begin` does
        self.open += 1
        return self, cost, serial

    def untake(self, reservation: str) -> None:
        self.open -= 1
        self.used = self._before  # its low is one of those before, too

    def _come_to(self, now_s: float) -> None:
        """Drain until now."""
        self.used = sliding.used(self.used, self._at_s, self.rate, now_s)
        self._at_s = now_s

    def settle(self, reservation: str, mark: float, by: float, now_s: float) -> None:
        self.open -= 1
        if by:
            self._come_to(now_s)
            if by < 0.0:
                by = -self._lows.give_back(mark, -by, self.used)
            elif self.open:
                self._lows.note(self.used)  # what is added now is not of what others may get back
            self.used += by

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        # Nothing is written: drained in two steps, a bucket may hold another last digit than in one.
        used = sliding.used(self.used, self._at_s, self.rate, now_s)
        return used, used / self.rate

    def free_in_s(self, wall_s: float) -> float | None:
        return self.used / self.rate


class Calendar:
    """A bucket of a day or a month."""

    __slots__ = (
        "_before", "_begin_s", "_changed", "_end_s", "_key", "_per", "amount", "limit", "open", "rate", "unit", "used",
    )  # fmt: skip

    def __init__(self, limit: Limit, key: str = "", changed: dict[str, Calendar] | None = None) -> None:
        """`changed` gets the cell by its key whenever `used` changes."""
        assert limit.per is not None, "only `concurrent` has no window"
        self._per: Window = limit.per
        self._key = key
        self._changed = changed
        self._begin_s = self._end_s = self.rate = 0.0
        self.used = self._before = 0.0
        self.limit = limit
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def adopt(self, limit: Limit, now_s: float) -> None:
        self.limit = limit
        self.amount = limit.amount

    def wait_s(self, cost: float, now_s: float, wall_s: float) -> float:
        amount = self.amount
        if not self._begin_s <= wall_s < self._end_s:
            self._come_to(wall_s)
        return windows.wait_s(self.used, min(cost, amount), amount, self._end_s - wall_s)

    def take(self, reservation: str, cost: float, now_s: float, wall_s: float) -> Part | None:
        amount = self.amount
        if not self._begin_s <= wall_s < self._end_s:
            self._come_to(wall_s)
        if cost > amount:
            cost = amount
        used = self._before = self.used
        if used + cost > amount and windows.wait_s(used, cost, amount, self._end_s - wall_s):
            return None
        self.open += 1
        self.used = used + cost
        if self._changed is not None:
            self._changed[self._key] = self
        return self, cost, self._begin_s

    def untake(self, reservation: str) -> None:
        self.open -= 1
        self.used = self._before

    def settle(self, reservation: str, mark: float, by: float, now_s: float) -> None:
        self.open -= 1
        if by and mark == self._begin_s:  # else its window is over
            used = self.used + by
            self.used = used if used > 0.0 else 0.0
            if self._changed is not None:
                self._changed[self._key] = self

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        self._come_to(wall_s)
        return self.used, self.free_in_s(wall_s)

    @property
    def begin_s(self) -> float:
        """When its window begins."""
        return self._begin_s

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

    __slots__ = ("amount", "limit", "open", "rate", "unit", "used")

    def __init__(self, limit: Limit) -> None:
        self.used = self.rate = 0.0
        self.limit = limit
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def adopt(self, limit: Limit, now_s: float) -> None:
        self.limit = limit
        self.amount = limit.amount

    def wait_s(self, cost: float, now_s: float, wall_s: float) -> float:
        self.used = float(self.open)
        return leases.WAIT_S if self.open + cost > self.amount else 0.0

    def take(self, reservation: str, cost: float, now_s: float, wall_s: float) -> Part | None:
        used = self.open + cost
        if used > self.amount:
            self.used = float(self.open)
            return None
        self.open += 1
        self.used = used
        return self, cost, 0.0

    def untake(self, reservation: str) -> None:
        self.open -= 1

    def settle(self, reservation: str, mark: float, by: float, now_s: float) -> None:
        self.open -= 1

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        return float(self.open), None

    def free_in_s(self, wall_s: float) -> float | None:
        return None


def would_fit(cell: Cell | None, cost: float, opened: dict[str, list[Part]]) -> bool:
    """Tell what `Store.would_fit` does of a cell, given the open reservations."""
    if not isinstance(cell, Calendar) or not cell.open:
        return False
    over = cell.used + cost - cell.amount * (1.0 + windows.TOLERANCE)
    for parts in islice(reversed(opened.values()), LOOKED_AT):
        for one, held, mark in parts:
            if one is cell and mark == cell.begin_s:
                over -= held
                if over <= 0.0:
                    return True
    return False


_standing: Final = partial(tuple.__new__, Standing)
"""Makes a Standing of its three fields, in a third of the time."""


def in_the_way(cells: Sequence[Cell], costs: Costs, now_s: float, wall_s: float) -> list[Full]:
    """Return the buckets into which not all fits."""
    return [Full(cell.limit, wait_s) for cell in cells if (wait_s := cell.wait_s(costs[cell.unit], now_s, wall_s))]


def reserve(
    reservation: str,
    cells: Sequence[Cell],
    costs: Costs,
    opened: dict[str, list[Part]],
    now_s: float,
    wall_s: float,
) -> Standing | Refused:
    """Take from all cells or from none, as `Store.try_reserve` does. `opened` gets what settling takes."""
    if reservation in opened:
        in_the_way(cells, costs, now_s, wall_s)
        return _tightest(cells, wall_s)
    parts: list[Part] = []
    most = -1.0
    for cell in cells:
        part = cell.take(reservation, costs[cell.unit], now_s, wall_s)
        if part is None:
            for taken, _, _ in parts:
                taken.untake(reservation)
            full = in_the_way(cells, costs, now_s, wall_s)
            limit = longest(full).limit
            return Refused(tuple(full), _tightest([one for one in cells if one.limit is limit], wall_s))
        parts.append(part)
        share = cell.used / cell.amount
        if share > most:
            most, fullest = share, cell
    opened[reservation] = parts
    left = fullest.amount - fullest.used
    free_in_s = fullest.used / fullest.rate if fullest.rate else fullest.free_in_s(wall_s)
    return _standing((fullest.limit, left if left > 0.0 else 0.0, free_in_s))


def _tightest(cells: Sequence[Cell], wall_s: float) -> Standing:
    """Return how that of the cells stands of which the smallest share is left."""
    cell = max(cells, key=_share)
    return Standing(cell.limit, max(0.0, cell.amount - cell.used), cell.free_in_s(wall_s))


def _share(cell: Cell) -> float:
    return cell.used / cell.amount
