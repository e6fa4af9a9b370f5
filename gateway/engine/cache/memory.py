"""The kept answers of one process: those that were not asked for longest go when a new one does not fit."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.engine.cache.store import MAX_ENTRY_BYTES, Entry, Kept

ENTRY_BYTES: Final = 512
"""What an entry takes beside its content: its key, its place in the dict, and the objects around it."""
SHARE: Final = 8
"""An entry takes this part of the whole at most."""


class _Item(NamedTuple):
    entry: Entry
    put_s: float
    end_s: float


class MemoryAnswers:
    """Keeps answers in this process."""

    def __init__(self, max_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`max_bytes`: of all entries together, what they take beside their contents counted too."""
        self.max_bytes = max_bytes
        self._clock = clock
        self._items: OrderedDict[bytes, _Item] = OrderedDict()
        """By key; what was asked for last is last."""
        self.bytes = 0
        """What all entries take."""
        self.max_entry_bytes = min(MAX_ENTRY_BYTES, max(0, max_bytes // SHARE - ENTRY_BYTES))

    def __len__(self) -> int:
        return len(self._items)

    async def get(self, key: bytes, *, fresh_s: float) -> Kept | None:
        """Return the answer that was put last, if it is still kept. There is one at most, however fresh."""
        item = self._items.get(key)
        if item is None:
            return None
        now_s = self._clock()
        if now_s >= item.end_s:
            self._drop(key)
            return None
        self._items.move_to_end(key)
        return Kept(item.entry, now_s - item.put_s)

    def put(self, key: bytes, entry: Entry, *, keep_s: float) -> None:
        """Keep an answer for so many seconds, or until others need its room."""
        if len(entry.content) > self.max_entry_bytes:
            return
        if key in self._items:
            self._drop(key)
        self.bytes += ENTRY_BYTES + len(entry.content)
        now_s = self._clock()
        self._items[key] = _Item(entry, now_s, now_s + keep_s)
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._items)))

    def _drop(self, key: bytes) -> None:
        self.bytes -= ENTRY_BYTES + len(self._items.pop(key).entry.content)
