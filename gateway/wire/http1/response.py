"""The response of the HTTP/1.1 client: buffers its body for one reader."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from gateway.concurrency.arrival import Arrival
from gateway.wire.http1.decoding import Decoder, Undecodable, decoder_for
from gateway.wire.http1.errors import BodyTooLarge, Http1Error, ProtocolError, ReadError
from gateway.wire.json import EMPTY

_REFUSED: Final = 400


class ResponseSource(Protocol):
    """The connection, as far as its response needs it."""

    def abort(self) -> None:
        """Close at once."""

    def go_on_reading(self) -> None:
        """Resume reading: the reader has taken the data."""

    def give_back(self, headers: Mapping[str, str]) -> None:
        """Take the connection back: the body was decoded to its end."""


class Response:
    """A response whose headers have arrived. Its one reader reads it to the end or closes it.

    The connection is given back when the last byte has arrived, even unread; with a content coding, when the body was
    decoded to its end. A cancelled read closes the connection. A closed response cannot be read.
    """

    __slots__ = (
        "_arrival", "_connection", "_decoder", "_error", "_loop", "_parts", "_waiter", "ended", "headers", "status",
        "waiting_bytes",
    )  # fmt: skip

    def __init__(self, connection: ResponseSource, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = EMPTY
        """Lower-case names; repeated fields are joined by a comma."""
        self.ended = False
        """The last byte of the body has arrived, read or not."""
        self.waiting_bytes = 0
        """Bytes that have arrived and were not read, before decoding."""
        self._arrival: Arrival | None = None
        self._connection: ResponseSource | None = connection
        self._loop = loop
        self._decoder: Decoder | Undecodable | None = None
        self._error: Http1Error | None = None
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None

    async def readany(self) -> bytes:
        """Return the decoded bytes that have arrived, waiting if there are none; empty at the end of the body.

        Raises ProtocolError or ReadError, after all earlier bytes were returned.
        """
        while True:
            decoder = self._decoder
            if self._parts or (decoder is not None and decoder.pending):
                if decoder is not None and decoder.pending:
                    await self._let_others_run()
                data = self._decoded(decoder) if decoder is not None else self._take()
                if data:
                    return data
            elif self._error is not None:
                raise self._error
            elif self.ended:
                if decoder is not None:
                    self._finish(decoder)
                return b""
            else:
                await self._wait()

    async def read_parts(self) -> list[bytes]:
        """Return what `readany` does without joining it; an empty list at the end of the body."""
        while self.must_wait:
            await self._wait()
        if self._decoder is not None or not self._parts:
            data = await self.readany()
            return [data] if data else []
        parts, self._parts = self._parts, []
        self.waiting_bytes = 0
        if self._connection is not None:
            self._connection.go_on_reading()
        return parts

    def take(self) -> bytes:
        """Return the bytes that have arrived, without waiting; empty if there are none or the body must be decoded."""
        parts = self._parts
        if len(parts) != 1 or self._decoder is not None:
            return self._take() if parts and self._decoder is None else b""
        self.waiting_bytes = 0
        if self._connection is not None:
            self._connection.go_on_reading()
        return parts.pop()

    @property
    def arrival(self) -> Arrival:
        """What to await while `must_wait`: the connection resumes it. Cancelling leaves the body open."""
        if self._arrival is None:
            self._arrival = Arrival(self._loop)
        return self._arrival

    @property
    def is_whole(self) -> bool:
        """All of the body was read; the connection has been given back."""
        return self.ended and not self._parts and self._decoder is None

    @property
    def must_wait(self) -> bool:
        """Nothing can be read before more data arrives."""
        return not (self._parts or self.ended or self._error is not None or self._decoder is not None)

    def whole(self, limit: int) -> bytes | None:
        """Return the body if it has arrived whole, needs no decoding and has at most `limit` bytes; else None."""
        if not self.ended or self._decoder is not None or self._error is not None or self.waiting_bytes > limit:
            return None
        return self._take()

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises BodyTooLarge, after closing, when it is longer than `limit` bytes."""
        whole = self.whole(limit)
        if whole is not None:
            return whole
        parts: list[bytes] = []
        size = 0
        while part := await self.readany():
            parts.append(part)
            size += len(part)
            if size > limit:
                self.close()
                raise BodyTooLarge(f"the body is longer than {limit} bytes")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Stop reading; close the connection unless the response has ended. Safe to call twice."""
        self._parts.clear()
        self._decoder = None
        if self._error is None:
            self._error = ReadError("the response was closed")
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.abort()
        self.wake()

    # Called by the client

    async def begun(self) -> Response:
        """Return the response once its headers have arrived. Raises Disconnected or ProtocolError."""
        while not self.status and self._error is None:
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            except asyncio.CancelledError:
                self.close()
                raise
        # The status of a refusal is enough, even if its body is broken.
        if self._error is not None and (
            not self.status or (isinstance(self._error, ProtocolError) and self.status < _REFUSED)
        ):
            self.close()
            raise self._error
        return self

    # Called by the connection

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Set status and headers."""
        self.status = status
        self.headers = headers
        coding = headers.get("content-encoding")
        if coding is not None:
            self._decoder = decoder_for(coding)
            if isinstance(self._decoder, Undecodable):
                self.fail(ProtocolError("the response has a content coding that was not asked for"))

    def be_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Set the whole response at once and detach it from the connection."""
        self.status = status
        self.headers = headers
        self.ended = True
        self.waiting_bytes = len(body)
        self._parts.append(body)
        self._connection = None
        self.wake()

    def feed(self, pieces: list[bytes]) -> None:
        """Add pieces of the body, and empty the list."""
        self._parts += pieces
        self.waiting_bytes += sum(map(len, pieces))
        pieces.clear()

    def fail(self, error: Http1Error, cause: Exception | None = None) -> None:
        """Set the error for the reader; later errors are ignored."""
        if self._error is None and not self.ended:
            error.__cause__ = cause
            self._error = error

    def leave(self, *, ended: bool = False) -> None:
        """Detach the response from the connection. `ended`: it is whole."""
        self._connection = None
        self.ended = self.ended or ended
        self.wake()

    def holds(self, connection: ResponseSource) -> bool:
        """Return whether the ended response keeps its connection until its body is decoded."""
        if self._decoder is None:
            return False
        self._connection = connection
        return True

    def wake(self) -> None:
        """Resume the reader at the event loop's next turn."""
        if self._arrival is not None:
            self._arrival.come_soon()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def wake_now(self) -> None:
        """Resume the reader, within this callback if it awaits `arrival`."""
        if self._waiter is None and self._arrival is not None:
            self._arrival.come()
        else:
            self.wake()

    # Private

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self.close()
            raise

    async def _let_others_run(self) -> None:
        # A few bytes can decode to a lot: let other tasks run meanwhile.
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.close()
            raise

    def _take(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self.waiting_bytes = 0
        if self._connection is not None:
            self._connection.go_on_reading()
        return data

    def _decoded(self, decoder: Decoder | Undecodable) -> bytes:
        try:
            return decoder.decode(b"" if decoder.pending else self._take())
        except ReadError as error:
            self._error = error
            self.close()
            raise

    def _finish(self, decoder: Decoder | Undecodable) -> None:
        try:
            decoder.finish()
        except ReadError as error:
            self._error = error
            self.close()
            raise
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.give_back(self.headers)
