"""Buckets in this process. Nothing is waited for, and a bucket in which nothing is used is soon forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gateway.engine.limits import sliding
from gateway.engine.limits.cells import Calendar, Cell, Concurrent, Part, Sliding, in_the_way, reserve, would_fit
from gateway.engine.limits.kept import Count, Counts
from gateway.engine.limits.store import UNTAKEN, Bucket, Costs, Fill, Full, Refused, Standing
from gateway.policy.limits import Limit

_LOOKED_AT: Final = 2
"""Old buckets that are looked at, and dropped if nothing is used in them, for each new one."""
MAX_KEPT: Final = 10_000
"""Owners whose cells are kept together. Beyond, all are looked up anew."""


class MemoryStore:
    """The store of a process that is alone. For one thread."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        kept: Counts | None = None,
    ) -> None:
        """`clock` is for all but days and months, for which `wall_clock` returns seconds since the epoch.

        `kept`: counts of days and months to go on from; without them, even empty ones, `changes` tells of none.
        """
        self._clock = clock
        self._wall_clock = wall_clock
        self._cells: dict[str, Cell] = {}
        self._open: dict[str, list[Part]] = {}
        """Reservation → its parts."""
        self._known: dict[int, tuple[Sequence[Bucket], list[Cell], bool]] = {}
        """Cache by id() of buckets: these, their cells, and whether one is of a day or a month."""
        self._kept: dict[str, Count] = {} if kept is None else {count.key: count for count in kept}
        """Counts whose buckets nobody has asked for yet."""
        self._changed: dict[str, Calendar] | None = None if kept is None else {}

    def __len__(self) -> int:
        return len(self._cells)

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Take from all buckets or from none, as `Store` says; never None."""
        known = self._known.get(id(buckets))
        if known is None or known[0] is not buckets:
            return self._reserve_first(reservation, buckets, costs)
        _, cells, is_by_calendar = known
        wall_s = self._wall_clock() if is_by_calendar else 0.0
        return reserve(reservation, cells, costs, self._open, self._clock(), wall_s)

    def _reserve_first(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Do so for buckets whose cells are not in the cache."""
        before = len(self._cells)
        now_s, wall_s = self._clock(), self._wall_clock()
        cells = []
        for key, limit in buckets:
            cell = self._cells.get(key) or self._new(key, limit)
            if cell.limit is not limit:
                self._known.clear()  # whoever knows the cell has to have it adopt its own limit again
                cell.adopt(limit, now_s)
            cells.append(cell)
        if type(buckets) is tuple:  # a list may be changed
            if len(self._known) >= MAX_KEPT:
                self._known.clear()
            self._known[id(buckets)] = buckets, cells, any(isinstance(cell, Calendar) for cell in cells)
        answer = reserve(reservation, cells, costs, self._open, now_s, wall_s)
        if len(self._cells) > before:
            self._drop_idle(_LOOKED_AT * (len(self._cells) - before), now_s, wall_s)
        return answer

    def cell(self, key: str, limit: Limit) -> Cell:
        """Return the bucket of a key, for another store that has no room for it."""
        found = self._cells.get(key)
        if found is None:
            self._drop_idle(_LOOKED_AT, self._clock(), self._wall_clock())  # before: nothing is used in a new one
            found = self._new(key, limit)
        return found

    def full(self, buckets: Sequence[Bucket], costs: Costs) -> Sequence[Full]:
        """Return the buckets that are in the way, and take nothing; never None."""
        now_s = self._clock()
        cells = []
        for key, limit in buckets:
            if (cell := self._cells.get(key)) is not None:
                if cell.limit is not limit:
                    self._known.clear()
                    cell.adopt(limit, now_s)
                cells.append(cell)
        return in_the_way(cells, costs, now_s, self._wall_clock())

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Do the same."""
        return self.try_reserve(reservation, buckets, costs)

    def settle(self, reservation: str, used: Costs) -> None:
        """End a reservation by what was used."""
        parts = self._open.pop(reservation, None)
        if parts is None:
            return
        now_s = self._clock() if used else 0.0  # else nobody asks
        for cell, cost, mark in parts:
            by = used.get(cell.unit, cost) - cost
            if by:
                cell.settle(reservation, mark, by, now_s)
            else:
                cell.open -= 1

    def release(self, reservation: str) -> None:
        """Give all of a reservation back."""
        self.settle(reservation, UNTAKEN)

    def renew(self) -> None:
        """Do nothing: there are no leases."""

    def would_fit(self, bucket: Bucket, cost: float) -> bool:
        """Tell whether a cost would fit if open reservations used nothing, as `Store` says."""
        return would_fit(self._cells.get(bucket.key), cost, self._open)

    def look(self) -> Iterator[Fill]:
        """Yield the buckets in which something is used, each as it is then."""
        for key, cell in list(self._cells.items()):
            used, free_in_s = cell.present(self._clock(), self._wall_clock())
            if used:
                yield Fill(key, cell.amount, used, free_in_s, cell.open)

    def changes(self) -> Callable[[], Counts] | None:
        """Return what reads the counts that changed, as `CountSource` says."""
        changed = self._changed
        if not changed:
            return None
        cells = list(changed.values())
        changed.clear()
        return lambda: [cell.count() for cell in cells]

    def _new(self, key: str, limit: Limit) -> Cell:
        """Return a new bucket."""
        made: Cell
        if limit.per is None:
            made = Concurrent(limit)
        else:
            made = Sliding(limit) if limit.per in sliding.WINDOW_S else self._calendar(key, limit)
        self._cells[key] = made
        return made

    def _calendar(self, key: str, limit: Limit) -> Calendar:
        made = Calendar(limit, key, self._changed)
        if (count := self._kept.pop(key, None)) is not None:
            made.restore(count)
        return made

    def _drop_idle(self, looked_at: int, now_s: float, wall_s: float) -> None:
        """Drop those of the oldest buckets in which nothing is used."""
        cells = self._cells
        for _ in range(min(looked_at, len(cells))):
            oldest = next(iter(cells))
            cell = cells.pop(oldest)
            if cell.open or cell.present(now_s, wall_s)[0]:
                cells[oldest] = cell
            else:
                self._known.clear()
