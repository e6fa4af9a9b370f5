"""Buckets in this process. Nothing is waited for, and a bucket in which nothing is used is soon forgotten."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

from gateway.engine.limits import leases, sliding, windows
from gateway.engine.limits.store import UNTAKEN, Bucket, Costs, Fill, Full, Granted, Refused, Standing
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

    def wait_s(self, cost: float, limit: Limit) -> float:
        """Return the seconds until `cost` fits; 0 if it does now. A `take` that follows is at the same time."""

    def take(self, reservation: str, cost: float) -> _Mark:
        """Take what fits, and return what settling it takes."""

    def settle(self, reservation: str, mark: _Mark, cost: float, used: float | None) -> None:
        """End a reservation of `cost`, of which so much was used; None: all of it."""

    def look(self) -> None:
        """Note the present."""

    def used(self) -> float:
        """Return what is used, as of the last call of anything above."""

    def free_in_s(self) -> float | None:
        """Return the seconds until nothing is used, likewise; None if nobody knows."""


_Mark: TypeAlias = float
_Part: TypeAlias = tuple[_Cell, float, _Mark]
"""A reservation in one bucket: the cost, and what settling takes."""


class _Sliding:
    """A bucket of a minute or an hour."""

    __slots__ = ("_clock", "_level", "_lows", "_now_s", "_rate", "_window_s", "amount", "open", "unit")

    def __init__(self, clock: Callable[[], float], limit: Limit) -> None:
        assert limit.per is not None, "only `concurrent` has no window"
        self._clock = clock
        self._window_s = sliding.WINDOW_S[limit.per]
        self._level = sliding.EMPTY
        self._lows = sliding.Lows()
        self._now_s = 0.0
        self.amount = limit.amount
        self._rate = limit.amount / self._window_s
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit) -> float:
        self.look()
        if limit.amount != self.amount:  # what has drained until now did so at the old rate
            self.amount = limit.amount
            self._rate = limit.amount / self._window_s
        return sliding.wait_s(self._level[0], cost, limit.amount, self._rate)

    def take(self, reservation: str, cost: float) -> _Mark:
        if not self.open:
            self._lows.clear()
        self.open += 1
        before, now_s = self._level
        self._level = (before + cost, now_s)
        return self._lows.note(before)

    def settle(self, reservation: str, mark: _Mark, cost: float, used: float | None) -> None:
        self.open -= 1
        if used is None or used == cost:
            return
        self.look()
        more, (in_it, now_s) = used - cost, self._level
        if more < 0.0:
            more = -self._lows.give_back(int(mark), -more, in_it)
        self._level = (in_it + more, now_s)

    def look(self) -> None:
        now_s = self._clock()
        self._level = (sliding.used(self._level, self._rate, now_s), now_s)

    def used(self) -> float:
        return self._level[0]

    def free_in_s(self) -> float | None:
        return self._level[0] / self._rate


class _Calendar:
    """A bucket of a day or a month."""

    __slots__ = ("_clock", "_now_s", "_per", "_state", "amount", "open", "unit")

    def __init__(self, clock: Callable[[], float], limit: Limit) -> None:
        assert limit.per is not None, "only `concurrent` has no window"
        self._clock = clock
        self._per: Window = limit.per
        self._now_s = 0.0
        self._state = windows.NOTHING
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit) -> float:
        self.amount = limit.amount
        self.look()
        return windows.wait_s(self._state, cost, limit.amount, self._now_s)

    def take(self, reservation: str, cost: float) -> _Mark:
        self.open += 1
        begin_s, end_s, used = self._state
        self._state = (begin_s, end_s, used + cost)
        return begin_s

    def settle(self, reservation: str, mark: _Mark, cost: float, used: float | None) -> None:
        self.open -= 1
        if used is not None and used != cost:
            self.look()
            self._state = windows.changed(self._state, mark, used - cost)

    def used(self) -> float:
        return self._state[2]

    def free_in_s(self) -> float | None:
        return self._state[1] - self._now_s if self._state[2] else 0.0

    def look(self) -> None:
        now_s = self._now_s = self._clock()
        self._state = windows.current(self._state, self._per, now_s)


class _Concurrent:
    """A bucket of requests at once."""

    __slots__ = ("_clock", "_leases", "_now_s", "amount", "open", "unit")

    def __init__(self, clock: Callable[[], float], limit: Limit) -> None:
        self._clock = clock
        self._now_s = 0.0
        self._leases: dict[str, float] = {}
        self.amount = limit.amount
        self.unit = limit.unit
        self.open = 0

    def wait_s(self, cost: float, limit: Limit) -> float:
        self.amount = limit.amount
        self.look()
        return leases.WAIT_S if len(self._leases) + cost > limit.amount else 0.0

    def take(self, reservation: str, cost: float) -> _Mark:
        self.open += 1
        leases.take(self._leases, reservation, self._now_s)
        return 0.0

    def settle(self, reservation: str, mark: _Mark, cost: float, used: float | None) -> None:
        self.open -= 1
        self._leases.pop(reservation, None)

    def renew(self, reservation: str) -> None:
        """Renew a lease, also one that has ended: its request goes on."""
        leases.take(self._leases, reservation, self._clock())

    def used(self) -> float:
        return float(len(self._leases))

    def free_in_s(self) -> float | None:
        return None

    def look(self) -> None:
        self._now_s = self._clock()
        leases.drop_ended(self._leases, self._now_s)


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

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Granted | Refused:
        """Take from all buckets or from none, as `Store` says; never None."""
        before = len(self._cells)
        answer = self._reserved(reservation, buckets, costs)
        if len(self._cells) > before:
            self._drop_idle(_LOOKED_AT * (len(self._cells) - before))
        return answer

    def _reserved(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Granted | Refused:
        cells = self._cells
        if reservation in self._open:
            for key, limit in buckets:
                (cells.get(key) or self._new(key, limit)).look()
            return Granted(self._tightest(buckets))
        found: list[tuple[_Cell, float]] = []
        full: list[Full] | None = None
        for key, limit in buckets:
            cell = cells.get(key) or self._new(key, limit)
            cost = costs[limit.unit]
            if cost > limit.amount:
                cost = limit.amount
            if wait_s := cell.wait_s(cost, limit):
                full = full or []
                full.append(Full(limit, wait_s))
            found.append((cell, cost))
        if full:
            longest = max(full, key=_wait_s).limit
            return Refused(tuple(full), self._tightest([one for one in buckets if one.limit is longest]))
        self._open[reservation] = [(cell, cost, cell.take(reservation, cost)) for cell, cost in found]
        return Granted(self._tightest(buckets))

    def _tightest(self, buckets: Sequence[Bucket]) -> Standing:
        """Return how the bucket stands of which the smallest share is left, as of the last call."""
        least = math.inf
        for key, limit in buckets:
            cell = self._cells[key]
            share = 1.0 - cell.used() / limit.amount
            if share < least:
                least, tightest, found = share, limit, cell
        return Standing(tightest, max(0.0, tightest.amount - found.used()), found.free_in_s())

    def _new(self, key: str, limit: Limit) -> _Cell:
        """Return a new bucket."""
        made: _Cell
        if limit.per is None:
            made = _Concurrent(self._clock, limit)
        elif limit.per in sliding.WINDOW_S:
            made = _Sliding(self._clock, limit)
        else:
            made = _Calendar(self._wall_clock, limit)
        self._cells[key] = made
        return made

    def _drop_idle(self, looked_at: int) -> None:
        """Drop those of the oldest buckets in which nothing is used."""
        cells = self._cells
        for _ in range(min(looked_at, len(cells))):
            oldest = next(iter(cells))
            cell = cells.pop(oldest)
            cell.look()
            if cell.open or cell.used():
                cells[oldest] = cell

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Granted | Refused:
        """Do the same."""
        return self.try_reserve(reservation, buckets, costs)

    def settle(self, reservation: str, used: Costs) -> None:
        """End a reservation by what was used."""
        parts = self._open.pop(reservation, None)
        if parts is not None:
            for cell, cost, mark in parts:
                cell.settle(reservation, mark, cost, used.get(cell.unit))

    def release(self, reservation: str) -> None:
        """Give all of a reservation back."""
        self.settle(reservation, UNTAKEN)

    def renew(self, reservations: Iterable[str]) -> None:
        """Renew leases."""
        for reservation in reservations:
            for cell, _, _ in self._open.get(reservation, ()):
                if isinstance(cell, _Concurrent):
                    cell.renew(reservation)

    def look(self) -> Sequence[Fill]:
        """Return the buckets in which something is used."""
        fills = []
        for key, cell in self._cells.items():
            cell.look()
            if used := cell.used():
                fills.append(Fill(key, cell.amount, used, cell.free_in_s(), cell.open))
        return fills


def _wait_s(full: Full) -> float:
    return full.wait_s
