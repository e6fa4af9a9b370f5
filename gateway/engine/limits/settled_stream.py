"""A stream of a request that takes from limits: it is settled when the stream is closed, whole or not."""

from __future__ import annotations

from gateway.adapters.base import Operation
from gateway.adapters.events import Event, Stream
from gateway.engine.limits.admission import Admission
from gateway.engine.limits.uses import TextCount


class SettledStream:
    """A committed stream, or an answer in bytes, whose end settles the request."""

    def __init__(self, source: Stream, admission: Admission, operation: Operation) -> None:
        self.headers = source.headers
        self._source = source
        self._admission = admission
        is_text = admission.counts_tokens and "content-type" not in source.headers
        self._text = TextCount(operation) if is_text else None
        self._is_whole = False

    async def read(self) -> list[Event]:
        """Return the next events of the source."""
        events = await self._source.read()
        if not events:
            self._is_whole = True
        elif self._text is not None:
            self._text.add(events)
        return events

    async def aclose(self) -> None:
        """Close the source, and settle the request."""
        try:
            await self._source.aclose()
        finally:
            text_bytes = 0 if self._text is None else self._text.bytes
            self._admission.close(answered=True, whole=self._is_whole, text_bytes=text_bytes)
