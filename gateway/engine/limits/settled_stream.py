"""A stream whose request or call takes from limits: that is settled when the stream is closed, whole or not."""

from __future__ import annotations

from typing import Protocol

from gateway.adapters.base import Operation
from gateway.adapters.events import Event, Stream
from gateway.engine.limits.uses import TextCount


class Reserved(Protocol):
    """What was reserved."""

    @property
    def counts_tokens(self) -> bool:
        """It is settled by tokens."""

    def close(self, *, answered: bool, whole: bool = True, text_bytes: int = 0) -> None:
        """Settle it, once. The arguments are those of `tokens_used`."""


class SettledStream:
    """A committed stream, or an answer in bytes, whose end settles what was reserved for it."""

    def __init__(self, source: Stream, reserved: Reserved, operation: Operation) -> None:
        self.headers = source.headers
        self.source = source
        self._reserved = reserved
        is_text = reserved.counts_tokens and "content-type" not in source.headers
        self._text = TextCount(operation) if is_text else None
        self._is_whole = False

    async def read(self) -> list[Event]:
        """Return the next events of the source."""
        events = await self.source.read()
        if not events:
            self._is_whole = True
        elif self._text is not None:
            self._text.add(events)
        return events

    async def aclose(self) -> None:
        """Close the source, and settle."""
        try:
            await self.source.aclose()
        finally:
            text_bytes = 0 if self._text is None else self._text.bytes
            self._reserved.close(answered=True, whole=self._is_whole, text_bytes=text_bytes)
