"""Buckets that the workers of one gateway fill together, in `SharedMemory`.

The rules are those of a process that is alone: a cell is read from its record before each use and written back after
it, under the lock. What cannot be counted together is counted by this process alone: a bucket for which there is no
place, and all while the lock cannot be had.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from mmap import mmap
from struct import Struct
from typing import Final, TypeAlias

from gateway.engine.limits import sliding
from gateway.engine.limits.cells import Calendar, Cell, Concurrent, Part, Sliding, in_the_way, reserve, would_fit
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.shared_memory import (
    CALENDAR,
    CHANGES,
    CONCURRENT,
    DIGEST_BYTES,
    FIELDS,
    LEFT,
    LOWS,
    MAX_BUCKETS,
    OPENED,
    SLIDING,
    SharedMemory,
    digest_of,
)
from gateway.engine.limits.store import UNTAKEN, Bucket, Costs, Fill, Full, Refused, Standing
from gateway.policy.limits import Limit

log = logging.getLogger(__name__)

_NUMBERS: Final = tuple([Struct(f"<{count}d") for count in range(LOWS + 1)])
_pack, _unpack = FIELDS.pack_into, FIELDS.unpack_from


class _Shared:
    """A cell with a record. What it holds is as of `load`, and others see it after `save`."""

    open: int
    amount: float
    _memory: SharedMemory
    _map: mmap
    _numbers: memoryview[float]
    _record: int
    _digest: bytes
    _seat: int
    """The place of our own open reservations."""
    _base: int
    _mine: int
    """Their number, and what it is kept on top of."""
    _counted: int
    """All open reservations, as read."""

    def _bind(self, memory: SharedMemory, record: int, digest: bytes) -> None:
        self._memory, self._map, self._numbers = memory, memory.map, memory.numbers
        self._record, self._digest = record, digest
        self._seat, self._base = memory.place_of_open(record)
        self._mine = self._counted = 0

    def _write(
        self, used: float, at_s: float, rate: float, serial: float = 0.0, lows: int = 0, top: float = 0.0
    ) -> None:
        """Write all fields."""
        opened, numbers = self.open, self._numbers
        left = numbers[LEFT]
        _pack(self._map, self._record, self._digest, used, at_s, rate, self.amount, serial, lows, top, opened, left)
        if opened != self._counted:
            self._mine += opened - self._counted
            numbers[self._seat] = self._base + self._mine

    @property
    def is_in_use(self) -> bool:
        """Reservations of ours are open."""
        return self._mine > 0

    def end_one(self) -> None:
        """End a reservation that used what it took, without reading and writing all."""
        numbers, record = self._numbers, self._record
        if self._map[record : record + DIGEST_BYTES] != self._digest:
            return
        opened = (record + OPENED) // 8
        if numbers[opened + 1] == numbers[LEFT]:  # else it is counted anew by who reads it
            numbers[opened] -= 1.0
        self._mine -= 1
        numbers[self._seat] = self._base + self._mine


class _SharedSliding(Sliding, _Shared):
    """A bucket of a minute or an hour."""

    def __init__(self, limit: Limit, memory: SharedMemory, record: int, digest: bytes) -> None:
        super().__init__(limit, LOWS)
        self._bind(memory, record, digest)

    def load(self) -> bool:
        """Read the record; return False if it is another bucket's by now."""
        lows = self._lows
        digest, used, at_s, rate, amount, serial, count, top, opened, left = _unpack(self._map, self._record)
        if digest != self._digest:
            return False
        self.used, self._at_s, lows.serial, lows.top = used, at_s, serial, top
        if rate:  # else it is new
            self.rate, self.amount = rate, amount
        self.open = self._counted = (
            int(opened) if left == self._numbers[LEFT] else self._memory.count_open(self._record)
        )
        if count:
            at, form = self._record + self._memory.lows, _NUMBERS[int(count)]
            lows.serials = list(form.unpack_from(self._map, at))
            lows.rises = list(form.unpack_from(self._map, at + 8 * LOWS))
        elif lows.rises:
            lows.serials, lows.rises = [], []
        return True

    def save(self) -> None:
        """Write the record."""
        lows = self._lows
        count = len(lows.rises)
        if count:
            at, form = self._record + self._memory.lows, _NUMBERS[count]
            form.pack_into(self._map, at, *lows.serials)
            form.pack_into(self._map, at + 8 * LOWS, *lows.rises)
        self._write(self.used, self._at_s, self.rate, lows.serial, count, lows.top)


class _SharedCalendar(Calendar, _Shared):
    """A bucket of a day or a month."""

    def __init__(self, limit: Limit, memory: SharedMemory, record: int, digest: bytes) -> None:
        super().__init__(limit)
        self._bind(memory, record, digest)
        self._read = 0.0, 0.0

    def load(self) -> bool:
        """As `_SharedSliding.load`."""
        digest, used, begin_s, end_s, amount, _, _, _, opened, left = _unpack(self._map, self._record)
        if digest != self._digest:
            return False
        self.used, self._begin_s, self._end_s = used, begin_s, end_s
        self._read = used, begin_s
        self.amount = amount
        self.open = self._counted = (
            int(opened) if left == self._numbers[LEFT] else self._memory.count_open(self._record)
        )
        return True

    def save(self) -> None:
        """Write the record."""
        self._write(self.used, self._begin_s, self._end_s)
        if self._read != (self.used, self._begin_s):
            self._numbers[CHANGES] += 1.0


class _SharedConcurrent(Concurrent, _Shared):
    """A bucket of requests at once."""

    def __init__(self, limit: Limit, memory: SharedMemory, record: int, digest: bytes) -> None:
        super().__init__(limit)
        self._bind(memory, record, digest)

    def load(self) -> bool:
        """As `_SharedSliding.load`."""
        digest, _, _, _, self.amount, _, _, _, opened, left = _unpack(self._map, self._record)
        if digest != self._digest:
            return False
        self.open = self._counted = (
            int(opened) if left == self._numbers[LEFT] else self._memory.count_open(self._record)
        )
        self.used = float(self.open)
        return True

    def save(self) -> None:
        """Write the record."""
        self._write(self.used, 0.0, 0.0)


_SharedCell: TypeAlias = _SharedSliding | _SharedCalendar | _SharedConcurrent
_MADE: Final[Mapping[int, type[_SharedCell]]] = {
    SLIDING: _SharedSliding,
    CALENDAR: _SharedCalendar,
    CONCURRENT: _SharedConcurrent,
}
_SHARED: Final = (_SharedSliding, _SharedCalendar, _SharedConcurrent)


class WorkersStore:
    """The store of one of several workers. For one thread."""

    def __init__(
        self,
        memory: SharedMemory,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`memory` has a seat. The clocks are those of `MemoryStore`, the same for all workers."""
        self._memory = memory
        self._clock = clock
        self._wall_clock = wall_clock
        self._cells: dict[str, _SharedCell] = {}
        self._open: dict[str, list[Part]] = {}
        """Reservation → its parts; those of `_own` are not among them."""
        self._late: list[tuple[str, list[Part], Costs]] = []
        """What could not be settled, as the lock could not be had."""
        self._own = MemoryStore(clock=clock, wall_clock=wall_clock)
        self._has_lock = True

    @property
    def alone(self) -> int:
        """The number of buckets that this process counts alone."""
        return len(self._own)

    def try_reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Take from all buckets or from none, as `Store` says; never None."""
        memory = self._memory
        if not memory.lock():
            self._tell_of_lock(has_lock=False)
            return self._own.try_reserve(reservation, buckets, costs)
        try:
            if self._late or not self._has_lock:
                self._catch_up()
            now_s, wall_s = self._clock(), self._wall_clock()
            cells = self._loaded(buckets, now_s, wall_s)
            answer = reserve(reservation, cells, costs, self._open, now_s, wall_s)
            for cell in cells:
                if isinstance(cell, _SHARED):
                    cell.save()
            return answer
        finally:
            memory.unlock()

    async def reserve(self, reservation: str, buckets: Sequence[Bucket], costs: Costs) -> Standing | Refused:
        """Do the same."""
        return self.try_reserve(reservation, buckets, costs)

    def full(self, buckets: Sequence[Bucket], costs: Costs) -> Sequence[Full]:
        """Return the buckets that are in the way, and take nothing; never None."""
        memory = self._memory
        if not memory.lock():
            return self._own.full(buckets, costs)
        try:
            now_s, wall_s = self._clock(), self._wall_clock()
            return in_the_way(self._loaded(buckets, now_s, wall_s), costs, now_s, wall_s)
        finally:
            memory.unlock()

    def settle(self, reservation: str, used: Costs) -> None:
        """End a reservation by what was used."""
        parts = self._open.pop(reservation, None)
        if parts is None:
            self._own.settle(reservation, used)
            return
        memory = self._memory
        if not memory.lock():
            self._tell_of_lock(has_lock=False)
            self._late.append((reservation, parts, used))
            return
        try:
            if self._late or not self._has_lock:
                self._catch_up()
            self._settle(reservation, parts, used)
        finally:
            memory.unlock()

    def release(self, reservation: str) -> None:
        """Give all of a reservation back."""
        self.settle(reservation, UNTAKEN)

    def renew(self) -> None:
        """Settle what is late; there are no leases."""
        if self._late and self._memory.lock():
            try:
                self._catch_up()
            finally:
                self._memory.unlock()

    def would_fit(self, bucket: Bucket, cost: float) -> bool:
        """Tell whether a cost would fit if open reservations of this worker used nothing, as of its last look."""
        return would_fit(self._cells.get(bucket.key), cost, self._open) or self._own.would_fit(bucket, cost)

    def look(self) -> Iterator[Fill]:
        """Yield the buckets in which something is used, by whichever worker."""
        for one in self._memory.seen():
            used, free_in_s = one.present(self._clock(), self._wall_clock())
            # Without an amount nobody has asked for it since it was restored; a key that is too long is not there.
            if used and one.amount and one.key:
                yield Fill(one.key, one.amount, used, free_in_s, one.open)
        yield from self._own.look()

    def _loaded(self, buckets: Sequence[Bucket], now_s: float, wall_s: float) -> list[Cell]:
        """Return the cells of buckets, as their records are."""
        known = self._cells
        cells: list[Cell] = []
        for key, limit in buckets:
            one = known.get(key)
            cell = one if one is not None and one.load() else self._located(key, limit, now_s, wall_s)
            if cell.limit is not limit or cell.amount != limit.amount:  # another worker may have another table
                cell.adopt(limit, now_s)
            cells.append(cell)
        return cells

    def _located(self, key: str, limit: Limit, now_s: float, wall_s: float) -> Cell:
        """Return the cell of a bucket whose record is not known, or is another one's by now."""
        memory, digest, kind = self._memory, digest_of(key), _kind(limit)
        record = memory.find(digest)
        if record is None:
            record = memory.add(digest, key, kind, now_s=now_s, wall_s=wall_s)
        if record is None:
            return self._own.cell(key, limit)
        cell = _MADE[kind](limit, memory, record, digest)
        cell.load()
        if len(self._cells) >= MAX_BUCKETS:
            # Those with open reservations of ours know how many.
            self._cells = {key: one for key, one in self._cells.items() if one.is_in_use}
        self._cells[key] = cell
        return cell

    def _settle(self, reservation: str, parts: list[Part], used: Costs) -> None:
        now_s = self._clock() if used else 0.0  # else nobody asks
        for cell, cost, mark in parts:
            by = used.get(cell.unit, cost) - cost
            if not isinstance(cell, _SHARED):
                cell.settle(reservation, mark, by, now_s)
            elif not by:
                cell.end_one()
            elif cell.load():
                cell.settle(reservation, mark, by, now_s)
                cell.save()

    def _catch_up(self) -> None:
        """Settle what is late."""
        self._tell_of_lock(has_lock=True)
        late, self._late = self._late, []
        for reservation, parts, used in late:
            self._settle(reservation, parts, used)

    def _tell_of_lock(self, *, has_lock: bool) -> None:
        if has_lock and not self._has_lock:
            log.info("limits are counted together with the other workers again")
        elif self._has_lock and not has_lock:
            log.warning("a worker that stands still holds the limits: they are counted by each worker for itself")
        self._has_lock = has_lock


def _kind(limit: Limit) -> int:
    if limit.per is None:
        return CONCURRENT
    return SLIDING if limit.per in sliding.WINDOW_S else CALENDAR
