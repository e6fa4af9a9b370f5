"""The home of kept answers that replicas share: an answer that one of them got serves the others.

A key is a hash, a value the answer as its cache keeps it. Redis forgets it by itself, and its age is by Redis' clock.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final

from gateway.engine.cache.store import Entry, Kept
from gateway.state.link import Link, Refusal, Unreachable

MAX_SHARED_BYTES: Final = 256 * 1024
"""Of one answer: on its way it holds up what else is asked for by the same connection."""
_HEAD: Final = struct.Struct("<Id")
"""What stands before the content: the step's position, and the seconds for which the answer is kept."""


class SharedCache:
    """A `CacheStore` over a link. While Redis is out of reach it has nothing, and keeps nothing."""

    max_entry_bytes: Final = MAX_SHARED_BYTES

    def __init__(self, link: Link) -> None:
        self._link = link

    async def get(self, key: bytes) -> Kept | None:
        """Return the answer that was put last; None too if Redis does not give it in time."""
        name = self._name(key)
        found, left = self._link.ask(("GET", name)), self._link.ask(("PTTL", name))
        left.add_done_callback(_taken)  # it is not awaited if the first one fails
        try:
            value, left_ms = await found, await left
        except (Unreachable, Refusal):
            return None
        if value is None or len(value) < _HEAD.size:
            return None
        step, keep_s = _HEAD.unpack_from(value)
        return Kept(Entry(step, value[_HEAD.size :]), max(0.0, keep_s - left_ms / 1000))

    def put(self, key: bytes, entry: Entry, *, keep_s: float) -> None:
        """Keep an answer, without waiting until Redis has it."""
        if len(entry.content) > MAX_SHARED_BYTES:
            return
        value = _HEAD.pack(entry.step, keep_s) + entry.content
        sent = self._link.ask(("SET", self._name(key), value, "PX", max(1, round(keep_s * 1000))))
        sent.add_done_callback(_taken)

    def _name(self, key: bytes) -> str:
        return f"{self._link.prefix}:kept:{key.hex()}"


def _taken(answer: asyncio.Future[Any]) -> None:
    """Take an answer that nobody waits for: what was not kept is asked for again."""
    if not answer.cancelled():
        answer.exception()
