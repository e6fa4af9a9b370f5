"""Buckets in memory that several processes map: where each one lies, who may change it, and whose reservations count.

A file without a name, which its maker hands to the others. In it:

1. A head: how many processes have left, how many records were ever used, how often counts of days and months changed,
   and for each seat the serial of its process. A process that serves has a seat.
2. An index: the hashes of the keys of all buckets. A key lies in one of WINDOW places from the one that its hash gives.
3. A record for each place, in the order in which places were first used, so that memory grows with what is used.

Whoever reads or writes a record to change it holds the lock. The kernel takes it from a process that ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

from gateway.engine.limits import sliding, windows
from gateway.engine.limits.kept import Count, Counts

MAX_BUCKETS: Final = 65_536
WINDOW: Final = 32
"""Places in which a key may lie."""
SEATS: Final = 4
"""Seats for each worker: its successors are there before it has gone."""
LOWS: Final = 48
"""Entries of a bucket's `sliding.Lows`."""
LOCK_S: Final = 0.05
"""Seconds that the lock is waited for: only a process that was stopped holds it for longer."""
PAUSE_S: Final = 1.0
"""Seconds until it is tried again then."""
MAX_KEY_BYTES: Final = 158

SLIDING: Final = 1
CALENDAR: Final = 2
CONCURRENT: Final = 3

DIGEST_BYTES: Final = 16
FIELDS: Final = Struct("<16s9d")
"""Of a record: the hash of its key, `used`, two times of its kind or a time and a rate, the amount; the newest serial,
the number and the top of `Lows`; the open reservations, and how many processes had left when they were counted."""
OPENED: Final = 72
"""Where a record has the number of its open reservations, and after it LEFT as of then."""
_KIND: Final = FIELDS.size
_KEY: Final = Struct(f"<BB{MAX_KEY_BYTES}s")
OPEN: Final = FIELDS.size + _KEY.size
"""Where a record has its open reservations by seat."""
_PER_SERIAL: Final = 1 << 20
"""A seat's open reservations are kept as serial * this + number, so that those of a former process do not count."""

_TAKE: Final = LOCK_EX | LOCK_NB
_VERSION: Final = 2
_HEAD_BYTES: Final = 4096
_HEAD_VERSION, _HEAD_SEATS, LEFT, _HEAD_RECORDS, CHANGES, _HEAD_SERIAL, _HEAD_SEAT = range(7)
"""Numbers of the head. LEFT: how many processes have left. CHANGES: of counts of days and months."""
_PLACES: Final = MAX_BUCKETS + WINDOW
_INDEX: Final = _HEAD_BYTES
_NUMBERS: Final = (_INDEX + _PLACES * DIGEST_BYTES) // 8
_RECORDS: Final = _NUMBERS * 8 + _PLACES * 8
_FREE: Final = bytes(DIGEST_BYTES)


class Seat(NamedTuple):
    """A process' place among those that count together."""

    number: int
    serial: int


class Seen(NamedTuple):
    """A record, for those who look."""

    kind: int
    key: str
    used: float
    at_s: float
    """The time of `used`, or the begin of its window."""
    rate: float
    """What drains in a second, or the end of its window."""
    amount: float
    open: int

    def present(self, now_s: float, wall_s: float) -> tuple[float, float | None]:
        """Return what is used, and in how many seconds nothing is; None for requests at once."""
        if self.kind == SLIDING:
            used = sliding.used(self.used, self.at_s, self.rate, now_s)
            return used, used / self.rate if used else 0.0
        if self.kind == CALENDAR:
            is_current = self.used and self.at_s - windows.BACK_S <= wall_s < self.rate
            return (self.used, self.rate - wall_s) if is_current else (0.0, 0.0)
        return float(self.open), None


class NotSharedError(Exception):
    """The memory cannot be made, or is another version's."""


class SharedMemory:
    """The mapping of one process. For one thread, but for `counts`."""

    def __init__(self, descriptor: int, seat: Seat | None = None) -> None:
        """Map what `make` has made. Raises NotSharedError."""
        self.descriptor = descriptor
        self.seat = seat
        try:
            self.map = mmap.mmap(descriptor, 0)
        except (OSError, ValueError) as exc:
            raise NotSharedError(str(exc)) from None
        self.numbers = memoryview(self.map).cast("d")
        """The same, as numbers."""
        if self.numbers[_HEAD_VERSION] != _VERSION:
            raise NotSharedError("it is of another version of the gateway")
        self._seats = int(self.numbers[_HEAD_SEATS])
        self.lows = OPEN + 8 * self._seats
        """Where a record has its lows: LOWS serials, then as many rises."""
        self.record_bytes = _record_bytes(self._seats)
        self._again_s = 0.0

    @classmethod
    def make(cls, workers: int) -> SharedMemory:
        """Make memory for so many workers. Raises NotSharedError. It is kept while a process has it."""
        seats = SEATS * workers
        try:
            descriptor = _new_file()
            os.ftruncate(descriptor, _RECORDS + _PLACES * _record_bytes(seats))
            os.pwrite(descriptor, Struct("<2d").pack(_VERSION, seats), 0)
        except OSError as exc:
            raise NotSharedError(str(exc)) from None
        return cls(descriptor)

    # Of the maker alone.

    def take_seat(self) -> Seat | None:
        """Return a seat for a process that is about to start; None if all are taken."""
        numbers = self.numbers
        for number in range(self._seats):
            if not numbers[_HEAD_SEAT + number]:
                serial = numbers[_HEAD_SERIAL] = numbers[_HEAD_SERIAL] + 1.0
                numbers[_HEAD_SEAT + number] = serial
                return Seat(number, int(serial))
        return None

    def leave(self, seat: Seat) -> None:
        """Free the seat of a process that has ended: what it had reserved at once is free, the rest stays taken."""
        self.numbers[_HEAD_SEAT + seat.number] = 0.0
        self.numbers[LEFT] += 1.0  # last: whoever sees it counts anew

    # Under the lock.

    def lock(self) -> bool:
        """Take the lock; return False if it cannot be had."""
        try:
            lockf(self.descriptor, _TAKE, 1)
        except OSError:
            return self._wait_for_lock()
        return True

    def unlock(self) -> None:
        lockf(self.descriptor, LOCK_UN, 1)

    def place_of_open(self, record: int) -> tuple[int, int]:
        """Return where in `numbers` a record has our own open reservations, and on top of what they are kept."""
        assert self.seat is not None, "whoever reserves has a seat"
        return (record + OPEN) // 8 + self.seat.number, self.seat.serial * _PER_SERIAL

    def count_open(self, record: int) -> int:
        """Return the open reservations of the processes that have not left."""
        at, found = (record + OPEN) // 8, 0
        for number in range(self._seats):
            serial, count = divmod(self.numbers[at + number], _PER_SERIAL)
            if count and serial == self.numbers[_HEAD_SEAT + number]:
                found += int(count)
        return found

    def find(self, digest: bytes) -> int | None:
        """Return the record of a key; None if there is none."""
        home = _home(digest)
        begin = _INDEX + home * DIGEST_BYTES
        window = self.map[begin : begin + WINDOW * DIGEST_BYTES]
        at = window.find(digest)
        while at >= 0 and at % DIGEST_BYTES:
            at = window.find(digest, at + 1)
        return None if at < 0 else self._record(home + at // DIGEST_BYTES)

    def add(self, digest: bytes, key: str, kind: int, *, now_s: float, wall_s: float) -> int | None:
        """Make a record, in the place of one in which nothing is used if need be; return None if there is none."""
        home = _home(digest)
        places = range(home, home + WINDOW)
        for place in places:
            if self._digest(place) == _FREE:
                return self._begin(place, digest, key, kind)
        for place in places:
            if self._is_idle(self._record(place), now_s, wall_s):
                return self._begin(place, digest, key, kind)
        return None

    def put(self, record: int, digest: bytes, *, used: float, at_s: float, rate: float, amount: float) -> None:
        """Write the fields of a record that has no open reservations."""
        FIELDS.pack_into(self.map, record, digest, used, at_s, rate, amount, 0.0, 0.0, 0.0, 0.0, self.numbers[LEFT])

    # For those who look, without the lock.

    def seen(self) -> Iterator[Seen]:
        """Return what is in all records."""
        for number in range(int(self.numbers[_HEAD_RECORDS])):
            yield self._look(_RECORDS + number * self.record_bytes)

    def restore(self, counts: Counts) -> int:
        """Begin with counts of days and months, before others map this; return how many had no place."""
        lost = 0
        for count in counts:
            digest, per = digest_of(count.key), count.per
            record = self.add(digest, count.key, CALENDAR, now_s=0.0, wall_s=0.0)
            if record is None or per is None:
                lost += 1
            else:
                _, end_s = windows.window(per, count.begin_s)
                self.put(record, digest, used=count.used, at_s=count.begin_s, rate=end_s, amount=0.0)
        return lost

    def _look(self, record: int) -> Seen:
        size = FIELDS.size + _KEY.size
        data = self.map[record : record + size]
        while data != (data := self.map[record : record + size]):
            pass  # somebody is writing it
        _, used, at_s, rate, amount, _, _, _, opened, left = FIELDS.unpack_from(data)
        kind, length, text = _KEY.unpack_from(data, FIELDS.size)
        if left != self.numbers[LEFT]:
            opened = self.count_open(record)
        return Seen(kind, text[:length].decode("utf-8", "replace"), used, at_s, rate, amount, int(opened))

    def _is_idle(self, record: int, now_s: float, wall_s: float) -> bool:
        seen = self._look(record)
        return not seen.open and not seen.present(now_s, wall_s)[0]

    def _record(self, place: int) -> int:
        """Return where the record of a place is, which it gets when it is first asked for."""
        number = self.numbers[_NUMBERS + place]
        if not number:
            number = self.numbers[_HEAD_RECORDS] = self.numbers[_HEAD_RECORDS] + 1.0
            self.numbers[_NUMBERS + place] = number
        return _RECORDS + (int(number) - 1) * self.record_bytes

    def _digest(self, place: int) -> bytes:
        at = _INDEX + place * DIGEST_BYTES
        return self.map[at : at + DIGEST_BYTES]

    def _begin(self, place: int, digest: bytes, key: str, kind: int) -> int:
        record, text = self._record(place), key.encode()
        if len(text) > MAX_KEY_BYTES:
            text = b""
        at = _INDEX + place * DIGEST_BYTES
        self.map[at : at + DIGEST_BYTES] = _FREE  # until it is done
        self.map[record : record + self.lows] = bytes(self.lows)
        _KEY.pack_into(self.map, record + _KIND, kind, len(text), text)
        self.put(record, digest, used=0.0, at_s=0.0, rate=0.0, amount=0.0)
        self.map[at : at + DIGEST_BYTES] = digest
        return record

    def _wait_for_lock(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._again_s:
            return False
        until_s = now_s + LOCK_S
        while time.monotonic() < until_s:
            time.sleep(0.00002)  # another one has it for some microseconds
            with suppress(OSError):
                lockf(self.descriptor, _TAKE, 1)
                return True
        self._again_s = time.monotonic() + PAUSE_S
        return False


class SharedCounts:
    """The counts of days and months in shared memory, for its maker, which keeps them."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._told = memory.numbers[CHANGES]

    def changes(self) -> Callable[[], Counts] | None:
        """Return what reads all counts if one has changed, as `CountSource` says."""
        changes = self._memory.numbers[CHANGES]
        if changes == self._told:
            return None
        self._told = changes
        return self._counts

    def _counts(self) -> Counts:
        for one in self._memory.seen():
            if one.kind == CALENDAR and one.key:
                yield Count(one.key, one.at_s, one.used)


def digest_of(key: str) -> bytes:
    """Return the hash of a bucket's key."""
    return blake2b(key.encode(), digest_size=DIGEST_BYTES).digest()


def _home(digest: bytes) -> int:
    return int.from_bytes(digest[:4]) % MAX_BUCKETS


def _record_bytes(seats: int) -> int:
    return OPEN + 8 * seats + 16 * LOWS


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gateway-limits")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
