"""Streams that are kept on their way to the client, and those that are replayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.adapters.base import Operation
from gateway.adapters.events import Event, Stream
from gateway.wire import sse
from gateway.wire.json import decode_json


class KeptStream:
    """A committed stream that is passed on, and kept once it is whole."""

    def __init__(
        self,
        source: Stream,
        headers: Mapping[str, str],
        *,
        max_bytes: int = 0,
        on_whole: Callable[[bytes], object] = lambda content: None,
    ) -> None:
        """`headers` go to the client instead of the source's. `on_whole` gets the events of a whole stream.

        They come without comments and the wire's end. It is not called if they are more than `max_bytes`.
        """
        self.headers = headers
        self._source = source
        self._left_bytes = max_bytes
        self._on_whole = on_whole
        self._pieces: list[bytes] | None = [] if max_bytes else None
        """None once the stream is too long, or nothing is kept of it."""

    async def read(self) -> list[Event]:
        """Return the next events of the source."""
        events = await self._source.read()
        if self._pieces is not None:
            if events:
                self._add(events, self._pieces)
            else:
                pieces, self._pieces = self._pieces, None
                self._on_whole(b"".join(pieces))
        return events

    async def aclose(self) -> None:
        """Close the source."""
        await self._source.aclose()

    def _add(self, events: list[Event], pieces: list[bytes]) -> None:
        for event in events:
            if event.is_end or (event.data is None and not event.is_run):
                continue
            piece = event.raw if event.raw is not None else event.encoded()
            self._left_bytes -= len(piece)
            pieces.append(piece)
        if self._left_bytes < 0:
            self._pieces = None


class ReplayedStream:
    """A kept stream, with all its events at once."""

    def __init__(self, content: bytes, operation: Operation, headers: Mapping[str, str], *, parsed: bool) -> None:
        """`parsed`: post hooks want to see the events one by one."""
        self.headers = headers
        self._events = parsed_events(content) if parsed else []
        end = operation.stream_end if parsed else content + operation.stream_end
        if end:
            self._events.append(Event(None, end, is_end=True))

    async def read(self) -> list[Event]:
        """Return all events, then none."""
        events, self._events = self._events, []
        return events

    async def aclose(self) -> None:
        """Do nothing: no upstream is open."""


def parsed_events(content: bytes) -> list[Event]:
    """Return the events in the bytes of a kept stream, each with its data."""
    splitter = sse.Splitter()
    raws = splitter.split(content)
    if rest := splitter.flush():
        raws.append(rest)
    return [Event(decode_json(sse.event_data(raw) or b"", exact=True), raw, sse.event_name(raw)) for raw in raws]
