"""The home of kept answers that replicas share: an answer that one of them got serves the others.

A key is a hash, a value the answer as its cache keeps it. Redis forgets it by itself, and its age is by Redis' clock.
"""

from __future__ import annotations

import struct
from typing import Final

from gateway.engine.cache.store import CacheStore, Entry, Kept
from gateway.state.link import Command, Link, Refusal, Unreachable, unawaited

MAX_SHARED_BYTES: Final = 256 * 1024
"""Of one answer: on its way it holds up what else is asked for by the same connection."""
_HEAD: Final = struct.Struct("<Id")
"""What stands before the content: the step's position, and the seconds for which the answer is kept."""


class SharedCache:
    """A `CacheStore` over a link. What this process has put itself, and an outage, cost no round trip."""

    def __init__(self, link: Link, here: CacheStore, *, max_bytes: int) -> None:
        """`here` is asked first. `max_bytes`: of what this process has Redis keep; beyond, it drops its oldest."""
        self._link = link
        self._here = here
        self._max_bytes = max_bytes
        self._sizes: dict[str, int] = {}
        """Key in Redis → bytes of what this process put there, the oldest first."""
        self._bytes = 0

    @property
    def max_entry_bytes(self) -> int:
        """As `here` says. Redis gets no more than MAX_SHARED_BYTES."""
        return self._here.max_entry_bytes

    async def get(self, key: bytes) -> Kept | None:
        """Return the answer that was put last here, else in Redis; None too if that does not give it in time."""
        known = await self._here.get(key)
        if known is not None:
            return known
        name = self._name(key)
        found, left = self._link.ask(("GET", name)), self._link.ask(("PTTL", name))
        left.add_done_callback(unawaited)  # it is not awaited if the first one fails
        try:
            value, left_ms = await found, await left
        except (Unreachable, Refusal):
            return None
        if value is None or len(value) < _HEAD.size:
            return None
        step, keep_s = _HEAD.unpack_from(value)
        return Kept(Entry(step, value[_HEAD.size :]), max(0.0, keep_s - left_ms / 1000))

    def put(self, key: bytes, entry: Entry, *, keep_s: float) -> None:
        """Keep an answer here, and without waiting for that in Redis."""
        self._here.put(key, entry, keep_s=keep_s)
        if len(entry.content) > min(MAX_SHARED_BYTES, self.max_entry_bytes) or not self._link.is_up:
            return
        name, value = self._name(key), _HEAD.pack(entry.step, keep_s) + entry.content
        self._send(("SET", name, value, "PX", max(1, round(keep_s * 1000))))
        self._bytes += len(value) - self._sizes.pop(name, 0)
        self._sizes[name] = len(value)
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._sizes))
            self._bytes -= self._sizes.pop(oldest)
            self._send(("UNLINK", oldest))

    def _send(self, command: Command) -> None:
        self._link.ask(command).add_done_callback(unawaited)

    def _name(self, key: bytes) -> str:
        return f"{self._link.prefix}:kept:{key.hex()}"
