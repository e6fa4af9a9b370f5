"""What a home of kept answers has to do: give them back with their age, and keep within its bounds.

What a store elsewhere has to know: keys are 32 bytes of a hash that no client can choose, and tell nothing of the
request. One round trip gets an answer, one puts it; nothing waits for `put`. A store that cannot be asked in time has
nothing: a miss. Time is the store's own.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

MAX_ENTRY_BYTES: Final = 1024 * 1024
"""A larger answer is not kept."""


class Entry(NamedTuple):
    """An answer as it was before post hooks."""

    step: int
    """The position, in the file's order of the route's steps, of the one that answered."""
    content: bytes
    """The body of a plain answer; of a stream its events, without the wire's end."""


class Kept(NamedTuple):
    """An answer that a store has."""

    entry: Entry
    age_s: float
    """Seconds since it was put; not below 0."""


class CacheStore(Protocol):
    """Where answers are kept."""

    @property
    def max_entry_bytes(self) -> int:
        """The largest `content` that it takes; at most MAX_ENTRY_BYTES. 0: it keeps nothing."""

    async def get(self, key: bytes, *, fresh_s: float) -> Kept | None:
        """Return the answer that was put last, if it is still kept.

        One of at most `fresh_s` is as good as a younger one; a store that has several asks no further then.
        """

    def put(self, key: bytes, entry: Entry, *, keep_s: float) -> None:
        """Keep an answer for so many seconds, or for less time where the store is full."""
