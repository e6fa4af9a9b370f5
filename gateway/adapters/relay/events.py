"""The events of a relayed stream: cut out of its bytes, judged, and handed on as they came."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from gateway.adapters.base import Chunk, Push
from gateway.adapters.relay.text_runs import Shape, shape_of
from gateway.concurrency.deadlines import until
from gateway.policy.failures import Kind, UpstreamError, error_object
from gateway.wire import sse
from gateway.wire.http1 import client as http1
from gateway.wire.json import Json, decode_json

_END: Final = sse.encode(sse.DONE)


class Events:
    """The chunks of one response. Closes the connection when left early; gives it back when the stream has ended."""

    __slots__ = ("_end_grace_s", "_error", "_next", "_over", "_response", "_shape", "_splitter")

    def __init__(self, response: http1.Response, *, end_grace_s: float) -> None:
        self._response = response
        self._end_grace_s = end_grace_s
        self._splitter = sse.Splitter()
        self._next: bytes | None = None
        """The next event, where it has been looked at already."""
        self._shape: Shape | None = None
        self._error: sse.EventTooLarge | None = None
        self._over = False

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Chunk:
        while (event := self._look()) is None:
            if self._over:
                raise StopAsyncIteration
            await self._receive()
        self._next = None
        try:
            data = sse.event_data(event)
        except sse.StrayText as stray:
            return self._outside_events(stray.text)
        if not data:
            return Chunk(None, event)
        if data == sse.DONE:
            await self._end()
            raise StopAsyncIteration
        chunk = _chunk(data, event)
        if chunk is None:
            self._close()
            raise UpstreamError(Kind.BAD_RESPONSE, status=self._response.status)
        if self._shape is None and chunk.data is not None:
            self._shape = shape_of(event, chunk.data)
        return chunk

    def take(self) -> list[Chunk]:
        """Return the events that have come, up to one that ends or breaks the stream.

        Events that differ in their text only come as one chunk, whose data is empty.
        """
        chunks: list[Chunk] = []
        if data := self._response.take():
            self._splitter.take_in(data)
        while True:
            if self._shape is not None and self._next is None and (run := self._splitter.cut_run(self._shape.measure)):
                chunks.append(Chunk({}, run))
            event = self._look()
            chunk = None if event is None else self._sound(event)
            if chunk is None:
                return chunks
            chunks.append(chunk)
            self._next = None

    def ended(self) -> bool:
        """Tell whether `[DONE]` is next and the response has ended; gives it up then."""
        if self._next != _END or not self._response.is_whole:
            return False
        self._close()
        return True

    async def flow(self, push: Push) -> None:
        """Hand on what comes, until `push` has enough, or an event ends or breaks the stream."""

        def hear(data: bytes) -> bool:
            self._splitter.take_in(data)
            if data.endswith(_END):
                return False  # what comes with the end is asked for with it
            chunks = self.take()
            return (not chunks or push(chunks)) and self._next is None and self._error is None

        if not self._over and self._look() is None and self._error is None:
            await self._response.listen(hear)

    async def aclose(self) -> None:
        """Close the response, read to its end or not."""
        self._close()

    def _look(self) -> bytes | None:
        """Return the next event, if it has come whole."""
        if self._next is None:
            try:
                self._next = self._splitter.cut()
            except sse.EventTooLarge as error:
                self._error = error
        return self._next

    def _sound(self, event: bytes) -> Chunk | None:
        """Return an event as a chunk; None when it ends or breaks the stream."""
        try:
            data = sse.event_data(event)
        except sse.StrayText:
            return None
        if not data:
            return Chunk(None, event)
        chunk = None if data == sse.DONE else _chunk(data, event)
        if chunk is not None and chunk.data is not None:
            self._shape = shape_of(event, chunk.data) or self._shape
        return chunk

    async def _receive(self) -> None:
        """Take in what has come; at the end of the response the last event too, with a blank line if it had none."""
        received = False
        try:
            if self._error is not None:
                raise self._error
            data = await self._response.readany()
            if data:
                self._splitter.take_in(data)
            else:
                self._over = True
                rest = self._splitter.flush()
                if rest is not None:
                    self._next = rest + b"\n\n"
            received = True
        except (http1.Http1Error, sse.EventTooLarge) as error:
            raise UpstreamError(Kind.BAD_RESPONSE, status=self._response.status) from error
        finally:
            if not received:
                self._close()

    async def _end(self) -> None:
        """After `[DONE]`: the response's own end gives the connection back, if it comes soon."""
        try:
            with suppress(TimeoutError, http1.Http1Error):
                if self._response.ended:
                    await self._response.readany()
                else:
                    with until(asyncio.get_running_loop().time() + self._end_grace_s):
                        while await self._response.readany():
                            pass
        finally:
            self._close()

    def _outside_events(self, text: bytes) -> Chunk:
        """Return the error that a server wrote between its events; anything else there is a malformed event."""
        value = json_in(text)
        if error_object(value) is None:
            self._close()
            raise UpstreamError(Kind.BAD_RESPONSE, status=self._response.status)
        return Chunk(value)

    def _close(self) -> None:
        self._over = True
        self._next = None
        self._splitter.flush()
        self._response.close()


def _chunk(data: bytes, event: bytes) -> Chunk | None:
    """Return an event as a chunk, or None when its data is no JSON object."""
    value = json_in(data)
    if b"error" in event and sse.event_name(event) == b"error" and error_object(value) is None:
        error = value if isinstance(value, dict) else {"message": data.decode(errors="replace")}
        return Chunk({"error": error})
    return Chunk(value, event) if isinstance(value, dict) else None


def json_in(raw: bytes | None) -> Json:
    """Return the JSON value; None for what is none."""
    try:
        return decode_json(raw) if raw else None
    except ValueError:
        return None
