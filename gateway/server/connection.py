"""A client's connection: reads requests of the common form, and hands over to aiohttp at the first other request.

aiohttp's server takes as long for a request as the whole call of the upstream. A connection that was handed over stays
aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeAlias, cast

from aiohttp.tcp_helpers import tcp_keepalive

from gateway.server.body import (
    UNCOUNTED_BYTES,
    BodiesInFlight,
    Body,
    LargeBody,
    Parts,
    TooManyBodies,
    parts_of,
    whole,
)
from gateway.server.body_reader import BodyReader
from gateway.server.request import Request
from gateway.server.request_head import Head, Heads
from gateway.wire.json import EMPTY

SWEEP_S: Final = 1.0
"""Seconds between two sweeps for idle connections."""
MAX_WAITING_BYTES: Final = 64 * 1024
"""Data that a client sends ahead of its answer is read up to this size."""
TURN_BYTES: Final = 2 * 1024 * 1024
"""Bytes of long bodies that are read in a turn of the event loop, and one read of each connection more."""
LINGER_S: Final = 10.0
"""Seconds for the rest of a body whose request was answered before the body had arrived."""

Answer: TypeAlias = Callable[[Request], Awaitable[bool]]
"""Answers a request and returns whether its connection can take another one."""


class ClientConnections:
    """All connections of a server that aiohttp does not read."""

    def __init__(
        self,
        answers: Mapping[str, Answer],
        aiohttp_connection: Callable[[], asyncio.Protocol],
        *,
        max_body_bytes: int,
        keepalive_s: float,
        in_flight: BodiesInFlight,
    ) -> None:
        """`answers`: path → function that answers a POST. `aiohttp_connection` makes the protocol that takes over."""
        self.loop = asyncio.get_running_loop()
        self.heads = Heads()
        self.answers = answers
        self.aiohttp_connection = aiohttp_connection
        self.max_body_bytes = max_body_bytes
        self.in_flight = in_flight
        self.now_s = self.loop.time()
        """The event loop's clock, updated once a second."""
        self.open: set[ClientConnection] = set()
        self._keepalive_s = keepalive_s
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._turn_bytes = 0
        """Of long bodies, read in this turn."""
        self._paused: list[asyncio.Transport] = []
        """Not read until the next turn."""

    def opened(self, connection: ClientConnection) -> None:
        """Note a connection."""
        self.open.add(connection)
        if self._sweep_handle is None:
            self.now_s = self.loop.time()  # not updated while there were no connections
            self._sweep_handle = self.loop.call_later(SWEEP_S, self._sweep)

    def closed(self, connection: ClientConnection) -> None:
        """Forget a connection that has ended or was handed over."""
        self.open.discard(connection)
        if self._emptied is not None and not self.open and not self._emptied.done():
            self._emptied.set_result(None)

    def took(self, transport: asyncio.Transport, size_bytes: int) -> None:
        """Count what was read of a long body. Where it is much, the event loop has its turn before more is read.

        The event loop's own bound is 8 MiB for each connection.
        """
        if not self._turn_bytes:
            self.loop.call_soon(self._next_turn)
        self._turn_bytes += size_bytes
        if self._turn_bytes > TURN_BYTES:
            transport.pause_reading()
            self._paused.append(transport)

    def _next_turn(self) -> None:
        self._turn_bytes = 0
        paused, self._paused = self._paused, []
        for transport in paused:
            transport.resume_reading()

    def stop(self) -> None:
        """Close every connection once its request is answered."""
        for connection in tuple(self.open):
            connection.stop()

    def leave(self) -> None:
        """Close each connection with its next answer; those that are silent stay open, so that no request is lost."""
        self.answers = {path: partial(answer_last, answer) for path, answer in self.answers.items()}
        for connection in self.open:
            connection.leave()

    async def stopped(self, within_s: float) -> None:
        """Wait until all connections are closed; abort the rest after `within_s` seconds."""
        self.stop()
        if self.open:
            self._emptied = self.loop.create_future()
            await asyncio.wait([self._emptied], timeout=within_s)
        for connection in tuple(self.open):
            connection.abort()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None

    def _sweep(self) -> None:
        self.now_s = self.loop.time()
        for connection in tuple(self.open):
            connection.close_if_idle(self.now_s, keepalive_s=self._keepalive_s)
        self._sweep_handle = self.loop.call_later(SWEEP_S, self._sweep) if self.open else None


class ClientConnection(asyncio.Protocol):
    """One connection. Its requests are answered one after the other."""

    __slots__ = (
        "_body_waiter", "_connections", "_drained", "_head", "_idle_since_s", "_is_last", "_is_paused",
        "_missing_bytes", "_parts", "_reader", "_request", "_transport", "_waiting", "task",
    )  # fmt: skip

    def __init__(self, connections: ClientConnections) -> None:
        self.task: asyncio.Task[None] | None = None
        """Answers the current request."""
        self._connections = connections
        self._transport: asyncio.Transport
        self._request: Request | None = None
        """The current request."""
        self._head: Head | None = None
        """Of the last request in the common form."""
        self._parts: Parts | None = []
        """Parts of the body that is arriving; None if it is refused unread."""
        self._missing_bytes = 0
        self._reader: BodyReader | None = None
        """Reads a large body for as long as it arrives."""
        self._body_waiter: asyncio.Future[None] | None = None
        self._waiting = b""
        """Data of the next requests, which came early."""
        self._is_paused = False
        self._is_last = False
        """The connection closes after this request."""
        self._idle_since_s = 0.0
        self._drained: asyncio.Future[None] | None = None
        """Set while the client is behind."""

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        self._transport = cast(asyncio.Transport, transport)
        tcp_keepalive(self._transport)
        self._connections.opened(self)
        self._idle_since_s = self._connections.now_s

    def data_received(self, data: bytes) -> None:
        """Start the next request, continue the body of this one, or keep data that comes early."""
        if self._missing_bytes:
            self._feed_body(data)
        elif self.task is None and self._drained is None:
            self._start_request(data)
        else:
            self._waiting += data
            if len(self._waiting) > MAX_WAITING_BYTES and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop answering."""
        self._connections.closed(self)
        if self.task is not None:
            self.task.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError("the client is gone"))
            self._drained.exception()  # marks it as retrieved

    def pause_writing(self) -> None:
        """Note that the client is behind."""
        self._drained = self._connections.loop.create_future()

    def resume_writing(self) -> None:
        """Continue: the client has caught up."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        if self.task is None and not self._missing_bytes:
            self._next_request()

    # Called by what answers

    async def read_body(self) -> Body:
        """Return the body of the current request once it is whole."""
        request = self._request
        assert request is not None, "a body is read before its request is answered"
        while request.body is None:
            if self._parts is None:
                raise TooManyBodies
            self._body_waiter = self._connections.loop.create_future()
            await self._body_waiter
        return request.body

    async def drain(self) -> None:
        """Wait while the client is behind. Raises ConnectionError when it is gone."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if self._drained is not None:
            await self._drained

    # Called by the server

    def stop(self) -> None:
        """Close after the current request."""
        self._is_last = True
        if self._request is not None:
            self._request.keep_alive = False
        if self.task is None:
            self._transport.close()

    def leave(self) -> None:
        """Close after the current request, if there is one."""
        if self._request is not None:
            self._request.keep_alive = False

    def abort(self) -> None:
        """Close now and drop unsent data."""
        if self.task is not None:
            self.task.cancel()
        self._transport.abort()

    def close_if_idle(self, now_s: float, *, keepalive_s: float) -> None:
        """Close when idle for too long; abort when closing has not finished by the next sweep."""
        if self.task is None and now_s - self._idle_since_s > (LINGER_S if self._missing_bytes else keepalive_s):
            self._transport.abort() if self._transport.is_closing() else self._transport.close()

    # One request after the other

    def _start_request(self, data: bytes) -> None:
        """Start the request at the beginning of `data`, here or in aiohttp."""
        connections = self._connections
        found = connections.heads.find(data, self._head)
        answer = None if found is None else connections.answers.get(found[0].path)
        if found is None or answer is None or not 0 < found[2] <= connections.max_body_bytes:
            self._hand_to_aiohttp(data)
            return
        head, size, length = found
        self._head = head
        request = self._request = Request(self, self._transport, "POST", head.path, EMPTY, head.headers)
        end = size + length
        if length > UNCOUNTED_BYTES:
            self._start_counted(request, answer, data, size, length)
            return
        if len(data) >= end:
            request.body = data[size:end]
            self._waiting = data[end:]
        else:
            self._parts = [data[size:]]
            self._missing_bytes = end - len(data)
        # With a name: else each task makes one with a number of its own.
        self.task = asyncio.Task(self._answer(request, answer), loop=connections.loop, name="request")

    def _start_counted(self, request: Request, answer: Answer, data: bytes, size: int, length: int) -> None:
        """Start a request whose body counts as in flight. Without room it is refused: its body is dropped."""
        connections = self._connections
        end = size + length
        is_taken = connections.in_flight.take(length)
        self._parts = parts = parts_of(length) if is_taken else None
        self._missing_bytes = max(0, end - len(data))
        self._waiting = data[end:]
        if parts is not None:
            parts.append(data[size:end])
            if not self._missing_bytes:
                request.body = whole(parts)
                self._parts = []
            elif isinstance(parts, LargeBody):
                self._reader = BodyReader(self, parts.rest())
                self._transport.set_protocol(self._reader)
        self.task = asyncio.Task(self._answer(request, answer), loop=connections.loop, name="request")
        if is_taken:
            # Not in the task: one that is cancelled before it starts runs nothing.
            self.task.add_done_callback(lambda _: connections.in_flight.release(length))

    def _feed_body(self, data: bytes) -> None:
        request = self._request
        missing = self._missing_bytes - len(data)
        if request is not None and self._parts is not None:  # else answered already, or refused: it is dropped
            self._parts.append(data if missing >= 0 else data[:missing])
        if missing > 0:
            self._missing_bytes = missing
            if missing > UNCOUNTED_BYTES:
                self._connections.took(self._transport, len(data))
            return
        self._waiting = data[missing:] if missing else b""
        self._end_body()

    def body_read(self, size_bytes: int) -> None:
        """Note that so many bytes of a large body are in their place. Called by its reader."""
        self._missing_bytes -= size_bytes
        if not self._missing_bytes:
            self._end_reader()
            self._end_body()
        elif self._missing_bytes > UNCOUNTED_BYTES:
            self._connections.took(self._transport, size_bytes)

    def _end_reader(self) -> None:
        """Read by `data_received` again."""
        if self._reader is not None:
            self._reader.leave()
            self._reader = None
            self._transport.set_protocol(self)

    def _end_body(self) -> None:
        """Give the whole body to what waits for it, or go on where nothing does."""
        request = self._request
        self._missing_bytes = 0
        if request is not None and self._parts is not None:
            parts, self._parts = self._parts, []
            request.body = whole(parts)
            if self._body_waiter is not None and not self._body_waiter.done():
                self._body_waiter.set_result(None)
        if self.task is None:
            self._next_request()

    async def _answer(self, request: Request, answer: Answer) -> None:
        keep_alive = False
        try:
            keep_alive = await answer(request)
        finally:
            self.task = self._request = self._body_waiter = None
            self._is_last = not keep_alive
            if self._missing_bytes:
                self._end_reader()
                # If closed at once, the client could lose the answer while it still sends.
                self._parts = []
                self._idle_since_s = self._connections.now_s
            else:
                self._next_request()

    def _next_request(self) -> None:
        """Start the next request if it has arrived and the client is not behind; else wait for it."""
        if self._is_last:
            self._transport.close()
            return
        self._idle_since_s = self._connections.now_s
        if self._drained is not None or self._transport.is_closing():
            return
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        if self._waiting:
            data, self._waiting = self._waiting, b""
            self._start_request(data)

    def _hand_to_aiohttp(self, data: bytes) -> None:
        self._connections.closed(self)
        connection = self._connections.aiohttp_connection()
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        connection.data_received(data)


async def answer_last(answer: Answer, request: Request) -> bool:
    """Answer a request as the last one of its connection."""
    request.keep_alive = False
    return await answer(request)
