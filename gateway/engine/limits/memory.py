"""Buckets in this process. Nothing is waited for, and a bucket in which nothing is used is soon forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeAlias

from gateway.engine.limits import leases, sliding, windows
from gateway.engine.limits.store import UNTAKEN, Bucket, Costs, Fill, Full, Refused, Standing
from gateway.policy.limits import Limit, Unit, Window

_LOOKED_AT: Final = 2
"""Old buckets that are looked at, and dropped if nothing is used in them, for each new one."""


class _Cell(Protocol):
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

    def look(self, now_s: float, wall_s: float) -> None:
        """Bring `used` to the present."""

    def free_in_s(self, wall_s: float) -> float | None:
        """Return the seconds until nothing is used, as of the last call; None if nobody knows."""


_Part: TypeAlias = tuple[_Cell, float, float]
"""A reservation in one bucket: the cost, and what settling takes."""


# For each request and bucket these are called three times, so they call little.
class _Sliding:
    """A bucket of a minute or an hour."""

    __slots__ = ("_at_s", "_lows", "_rate", "_window_s", "amount", "open", "unit", "used")

    def __init__(self, limit: Limit) -> None:
        assert limit.per is not None, "only `concurrent` has no window"
        self._window_s = sliding.WINDOW_S[limit.per]
        self._lows = sliding.Lows()
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

    def look(self, now_s: float, wall_s: float) -> None:
        self.used = sliding.used(self.used, self._at_s, self._rate, now_s)
        self._at_s = now_s

    def free_in_s(self, wall_s: float) -> float | None:
        return self.used / self._rate


class _Calendar:
    """A bucket of a day or a month."""

    __slots__ = ("_begin_s", "_end_s", "_per", "amount", "open", "unit", "used")

    def __init__(self, limit: Limit) -> None:
        assert limit.per is not None, "only `concurrent` has no window"
        self._per: Window = limit.per
        self._begin_s = self._end_s = 0.0
        self.used = 0.0
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit, now_s: float, wall_s: float) -> float:
        amount = self.amount = limit.amount
        if not self._begin_s <= wall_s < self._end_s:
            self.look(now_s, wall_s)
        return windows.wait_s(self.used, cost, amount, self._end_s - wall_s)

    def take(self, reservation: str, cost: float) -> float:
        self.open += 1
        self.used += cost
        return self._begin_s

    def settle(self, reservation: str, mark: float, by: float, now_s: float, wall_s: float) -> None:
        self.open -= 1
        if by:
            self.look(now_s, wall_s)
            if mark == self._begin_s:  # else its window is over
                self.used = max(0.0, self.used + by)

    def look(self, now_s: float, wall_s: float) -> None:
        begin_s, end_s = windows.current(self._begin_s, self._end_s, self._per, wall_s)
        if begin_s != self._begin_s:
            self._begin_s, self._end_s, self.used = begin_s, end_s, 0.0

    def free_in_s(self, wall_s: float) -> float | None:
        return self._end_s - wall_s if self.used else 0.0


class _Concurrent:
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

    def look(self, now_s: float, wall_s: float) -> None:
        leases.drop_ended(self._leases, now_s)
        self.used = float(len(self._leases))

    def free_in_s(self, wall_s: float) -> float | None:
        return None


class MemoryStore:
    """The store of a process that is alone. For one thread."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` is for all but days and months, for which `wall_clock` returns seconds since the epoch."""
        self._clock = clock
        self._wall_clock = wall_clock
        self._cells: dict[str, _Cell] = {}
        self._open: dict[str, list[_Part]] = {}
        """Reservation → its parts."""

    def __len__(self) -> int:
        return len(self._cells)

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Take from all buckets or from none, as `Store` says; never None."""
        cells = self._cells
        before = len(cells)
        now_s, wall_s = self._clock(), self._wall_clock()
        is_open = reservation in self._open
        found: list[tuple[_Cell, float, Limit]] = []
        full: list[Full] | None = None
        for key, limit in buckets:
            cell = cells.get(key) or self._new(key, limit)
            cost = costs[limit.unit]
            if cost > limit.amount:
                cost = limit.amount
            if (wait_s := cell.wait_s(cost, limit, now_s, wall_s)) and not is_open:
                full = full or []
                full.append(Full(limit, wait_s))
            found.append((cell, cost, limit))
        if full is not None:
            longest = max(full, key=_wait_s).limit
            found = [one for one in found if one[2] is longest]
        elif not is_open:
            self._open[reservation] = [(cell, cost, cell.take(reservation, cost)) for cell, cost, _ in found]
        most = -1.0
        for cell, _, limit in found:
            share = cell.used / limit.amount
            if share > most:
                most, fullest, tightest = share, cell, limit
        left = tightest.amount - fullest.used
        standing = Standing(tightest, left if left > 0.0 else 0.0, fullest.free_in_s(wall_s))
        if len(cells) > before:
            self._drop_idle(_LOOKED_AT * (len(cells) - before), now_s, wall_s)
        return standing if full is None else Refused(tuple(full), standing)

    def full(self, buckets: Sequence[Bucket], costs: Costs) -> Sequence[Full]:
        """Return the buckets that are in the way, and take nothing; never None."""
        cells = self._cells
        now_s, wall_s = self._clock(), self._wall_clock()
        found: list[Full] = []
        for key, limit in buckets:
            cell = cells.get(key)
            if cell is not None:
                cost = costs[limit.unit]
                wait_s = cell.wait_s(cost if cost < limit.amount else limit.amount, limit, now_s, wall_s)
                if wait_s:
                    found.append(Full(limit, wait_s))
        return found

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Do the same."""
        return self.try_reserve(reservation, buckets, costs)

    def settle(self, reservation: str, used: Costs) -> None:
        """End a reservation by what was used."""
        parts = self._open.pop(reservation, None)
        if parts is None:
            return
        now_s, wall_s = self._clock(), self._wall_clock()
        for cell, cost, mark in parts:
            cell.settle(reservation, mark, used.get(cell.unit, cost) - cost, now_s, wall_s)

    def release(self, reservation: str) -> None:
        """Give all of a reservation back."""
        self.settle(reservation, UNTAKEN)

    def renew(self, reservations: Iterable[str]) -> None:
        """Renew leases."""
        now_s = self._clock()
        for reservation in reservations:
            for cell, _, _ in self._open.get(reservation, ()):
                if isinstance(cell, _Concurrent):
                    cell.renew(reservation, now_s)

    def look(self) -> Iterator[Fill]:
        """Yield the buckets in which something is used, each as it is then."""
        for key, cell in list(self._cells.items()):
            wall_s = self._wall_clock()
            cell.look(self._clock(), wall_s)
            if cell.used:
                yield Fill(key, cell.amount, cell.used, cell.free_in_s(wall_s), cell.open)

    def _new(self, key: str, limit: Limit) -> _Cell:
        """Return a new bucket."""
        made: _Cell
        if limit.per is None:
            made = _Concurrent(limit)
        else:
            made = _Sliding(limit) if limit.per in sliding.WINDOW_S else _Calendar(limit)
        self._cells[key] = made
        return made

    def _drop_idle(self, looked_at: int, now_s: float, wall_s: float) -> None:
        """Drop those of the oldest buckets in which nothing is used."""
        cells = self._cells
        for _ in range(min(looked_at, len(cells))):
            oldest = next(iter(cells))
            cell = cells.pop(oldest)
            cell.look(now_s, wall_s)
            if cell.open or cell.used:
                cells[oldest] = cell


def _wait_s(full: Full) -> float:
    return full.wait_s
