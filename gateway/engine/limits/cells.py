"""What buckets hold, and how that changes: one cell for each, in the memory of one process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Final, Protocol, TypeAlias

from gateway.engine.limits import leases, sliding, windows
from gateway.engine.limits.kept import Count
from gateway.engine.limits.store import LOOKED_AT, Bucket, Costs, Full, Refused, Standing, longest
from gateway.policy.limits import Limit, Unit, Window


class Cell(Protocol):
    """A bucket with its content."""

    unit: Unit
    amount: float
    """Of the newest reservation."""
    limit: Limit
    """That of the last `wait_s`."""
    cost: float
    """What was asked for then."""
    open: int
    """Reservations that are not settled. A bucket with some is not dropped."""
    used: float
    """As of the last call."""

    def wait_s(self, cost: float, limit: Limit, now_s: float, wall_s: float) -> float:
        """Return the seconds until `cost` fits; 0 if it does now. The whole amount is asked for if `cost` is above it.

        `now_s` and `wall_s` are the present on both clocks.
        """

    def take(self, reservation: str) -> Part:
        """Take what was asked for last, at the same time, as it fits; and return what settling it takes."""

    def settle(self, reservation: str, mark: float, by: float, now_s: float, wall_s: float) -> None:
        """End a reservation that used so much more than it took, or less if `by` is below 0. `mark` is of `take`."""

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        """Return what is used now, and what `free_in_s` does then. Later answers are as if nobody had asked."""

    def free_in_s(self, wall_s: float) -> float | None:
        """Return the seconds until nothing is used, as of the last call; None if nobody knows."""


Part: TypeAlias = tuple[Cell, float, float]
"""A reservation in one bucket: the cell, the cost, and the mark for `settle`."""


# For each request and bucket these are called three times, so they call little.
class Sliding:
    """A bucket of a minute or an hour."""

    __slots__ = ("_at_s", "_lows", "_rate", "_window_s", "amount", "cost", "limit", "open", "unit", "used")

    def __init__(self, limit: Limit, lows: int = sliding.MAX_LOWS) -> None:
        """`lows`: entries of its `Lows` at most."""
        assert limit.per is not None, "only `concurrent` has no window"
        self._window_s = sliding.WINDOW_S[limit.per]
        self._lows = sliding.Lows(lows)
        self._at_s = 0.0
        self._rate = limit.amount / self._window_s
        self.used = self.cost = 0.0
        self.limit = limit
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit, now_s: float, wall_s: float) -> float:
        used, rate, passed_s = self.used, self._rate, now_s - self._at_s
        if passed_s > 0.0:  # as `sliding.used` has it, which is a call more
            used -= passed_s * rate
            self.used = used = used if used > 0.0 else 0.0
        self._at_s = now_s
        self.limit = limit
        amount = limit.amount
        if amount != self.amount:  # what has drained until now did so at the old rate
            self.amount = amount
            rate = self._rate = amount / self._window_s
        self.cost = cost = cost if cost < amount else amount
        return sliding.wait_s(used, cost, amount, rate) if used + cost > amount else 0.0

    def take(self, reservation: str) -> Part:
        cost, used = self.cost, self.used
        serial = self._lows.note(used) if self.open else self._lows.begin()
        self.open += 1
        self.used = used + cost
        return self, cost, serial

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

    __slots__ = ("_begin_s", "_changed", "_end_s", "_key", "_per", "amount", "cost", "limit", "open", "unit", "used")

    def __init__(self, limit: Limit, key: str = "", changed: dict[str, Calendar] | None = None) -> None:
        """`changed` gets the cell by its key whenever `used` changes."""
        assert limit.per is not None, "only `concurrent` has no window"
        self._per: Window = limit.per
        self._key = key
        self._changed = changed
        self._begin_s = self._end_s = 0.0
        self.used = self.cost = 0.0
        self.limit = limit
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit, now_s: float, wall_s: float) -> float:
        self.limit = limit
        amount = self.amount = limit.amount
        if cost > amount:
            cost = amount
        self.cost = cost
        if not self._begin_s <= wall_s < self._end_s:
            self._come_to(wall_s)
        used = self.used
        return windows.wait_s(used, cost, amount, self._end_s - wall_s) if used + cost > amount else 0.0

    def take(self, reservation: str) -> Part:
        self.open += 1
        self.used += self.cost
        if self._changed is not None:
            self._changed[self._key] = self
        return self, self.cost, self._begin_s

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

    __slots__ = ("_leases", "_now_s", "amount", "cost", "limit", "open", "unit", "used")

    def __init__(self, limit: Limit) -> None:
        self._leases: dict[str, float] = {}
        self._now_s = 0.0
        self.used = self.cost = 0.0
        self.limit = limit
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit, now_s: float, wall_s: float) -> float:
        self.limit = limit
        amount = self.amount = limit.amount
        self.cost = cost
        self._now_s = now_s
        if self._leases:
            leases.drop_ended(self._leases, now_s)
        used = self.used = float(len(self._leases))
        return leases.WAIT_S if used + cost > amount else 0.0

    def take(self, reservation: str) -> Part:
        self.open += 1
        self.used += 1.0
        self._leases[reservation] = self._now_s + leases.LEASE_S
        return self, self.cost, 0.0

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


def in_the_way(
    cells: Sequence[Cell], buckets: Sequence[Bucket], costs: Costs, now_s: float, wall_s: float
) -> list[Full] | None:
    """Ask the cells of buckets for what fits, and return those into which it does not; None if it does into all."""
    full: list[Full] | None = None
    for cell, (_, limit) in zip(cells, buckets, strict=True):
        if wait_s := cell.wait_s(costs[limit.unit], limit, now_s, wall_s):
            full = full or []
            full.append(Full(limit, wait_s))
    return full


def take(
    reservation: str,
    cells: Sequence[Cell],
    full: list[Full] | None,
    opened: dict[str, list[Part]],
    wall_s: float,
) -> Standing | Refused:
    """Take from all cells what `in_the_way` has asked them for, unless some are `full`: as `Store.try_reserve` does.

    `opened` gets what settling takes. What it has was made before: then nothing is taken.
    """
    parts: list[Part] | None = None
    if reservation in opened:
        full = None
    elif full is not None:
        limit = longest(full).limit
        cells = [cell for cell in cells if cell.limit is limit]
    else:
        parts = opened[reservation] = []
    most = -1.0
    for cell in cells:
        if parts is not None:
            parts.append(cell.take(reservation))
        share = cell.used / cell.amount
        if share > most:
            most, fullest = share, cell
    left = fullest.amount - fullest.used
    standing = _standing((fullest.limit, left if left > 0.0 else 0.0, fullest.free_in_s(wall_s)))
    return standing if full is None else Refused(tuple(full), standing)
