"""A client's connection. Model requests as SDKs send them are read and answered here; anything else is aiohttp's.

aiohttp's way through its server takes as long as ours to the upstream and back. The first request that is not of the
common form takes its connection with it: from then on that is aiohttp's, as if it had been so from the beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias, cast

from aiohttp import HttpVersion11, web
from aiohttp.tcp_helpers import tcp_keepalive

from gateway.server.request_head import Heads
from gateway.server.response import PlainAnswer, StreamAnswer, whole_answer

SWEEP_S: Final = 1.0
"""Between two looks for connections that have been idle for too long."""
MAX_WAITING_BYTES: Final = 64 * 1024
"""Of what a client sends before it has its answer, more is not read."""
LINGER_S: Final = 10.0
"""How long the rest of a body may take that was answered before it had come."""

Answering: TypeAlias = Callable[["FastRequest"], Awaitable[web.StreamResponse]]


class FastRequest:
    """A request with a JSON body; where it has a name of aiohttp's request, it means the same."""

    __slots__ = ("_arrived", "body", "headers", "path", "transport", "writer")

    method: Final = "POST"
    version: Final = HttpVersion11
    keep_alive: Final = True
    body_exists: Final = True

    def __init__(
        self, connection: Connection, transport: asyncio.Transport, path: str, headers: Mapping[str, str]
    ) -> None:
        self.path = path
        self.headers = headers
        """Lower-case names."""
        self.transport = transport
        self.writer = connection
        """Who to wait for while the client is behind."""
        self.body: bytes | None = None
        """None until all of it has come."""
        self._arrived: asyncio.Future[None] | None = None

    @property
    def content_type(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """Return the body once it is whole."""
        while self.body is None:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        return self.body

    def complete(self, body: bytes) -> None:
        """The body has come."""
        self.body = body
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class FastPath:
    """What the connections of a server have in common."""

    def __init__(
        self,
        answering: Mapping[str, Answering],
        aiohttp_connection: Callable[[], web.RequestHandler],
        *,
        max_body_bytes: int,
        keepalive_s: float,
    ) -> None:
        """`answering` is what answers a POST, by path; `aiohttp_connection` makes who takes over a connection."""
        self.loop = asyncio.get_running_loop()
        self.heads = Heads()
        self.answering = answering
        self.aiohttp_connection = aiohttp_connection
        self.max_body_bytes = max_body_bytes
        self.now_s = self.loop.time()
        """On the event loop's clock, to the second."""
        self.connections: set[Connection] = set()
        self._keepalive_s = keepalive_s
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    def opened(self, connection: Connection) -> None:
        """Note a connection."""
        self.connections.add(connection)
        if self._sweep_handle is None:
            self.now_s = self.loop.time()  # nobody has looked at the clock while there were no connections
            self._sweep_handle = self.loop.call_later(SWEEP_S, self._sweep)

    def closed(self, connection: Connection) -> None:
        """Note that a connection has ended, or is aiohttp's."""
        self.connections.discard(connection)
        if self._emptied is not None and not self.connections and not self._emptied.done():
            self._emptied.set_result(None)

    def stop(self) -> None:
        """Close every connection once it has nothing more to answer."""
        for connection in tuple(self.connections):
            connection.stop()

    async def stopped(self, within_s: float) -> None:
        """Wait until all are answered and closed; cut off those that are not by then."""
        self.stop()
        if self.connections:
            self._emptied = self.loop.create_future()
            await asyncio.wait([self._emptied], timeout=within_s)
        for connection in tuple(self.connections):
            connection.abort()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None

    def _sweep(self) -> None:
        self.now_s = self.loop.time()
        for connection in tuple(self.connections):
            connection.close_if_idle(self.now_s, keepalive_s=self._keepalive_s)
        self._sweep_handle = self.loop.call_later(SWEEP_S, self._sweep) if self.connections else None


class Connection(asyncio.Protocol):
    """One connection. Its requests are answered one after the other."""

    __slots__ = (
        "_drained",
        "_idle_since_s",
        "_is_last",
        "_is_paused",
        "_missing_bytes",
        "_parts",
        "_path",
        "_request",
        "_transport",
        "_waiting",
        "task",
    )

    def __init__(self, path: FastPath) -> None:
        self.task: asyncio.Task[None] | None = None
        """What answers the request that is under way."""
        self._path = path
        self._transport: asyncio.Transport
        self._request: FastRequest | None = None
        self._parts: list[bytes] = []
        self._missing_bytes = 0
        """Of the body that is arriving."""
        self._waiting = b""
        self._is_paused = False
        self._is_last = False
        self._idle_since_s = 0.0
        self._drained: asyncio.Future[None] | None = None
        """While the transport has enough to send."""

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        self._transport = cast(asyncio.Transport, transport)
        tcp_keepalive(self._transport)
        self._path.opened(self)
        self._idle_since_s = self._path.now_s

    def data_received(self, data: bytes) -> None:
        """Begin the next request, go on with the body of this one, or keep what comes too early."""
        if self._missing_bytes:
            self._take_body(data)
        elif self.task is None and self._drained is None:
            self._begin(data)
        else:
            self._waiting += data
            if len(self._waiting) > MAX_WAITING_BYTES and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there to be answered."""
        self._path.closed(self)
        if self.task is not None:
            self.task.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError("the client is gone"))
            self._drained.exception()  # told to whoever waits, if anybody does

    def pause_writing(self) -> None:
        """The client is behind."""
        self._drained = self._path.loop.create_future()

    def resume_writing(self) -> None:
        """The client has caught up."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        if self.task is None and not self._missing_bytes:
            self._go_on()

    # What answers call

    async def drain(self) -> None:
        """Wait while the client is behind. Raises ConnectionError when it is gone."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if self._drained is not None:
            await self._drained

    # What the server calls

    def stop(self) -> None:
        """Close once nothing is left to answer."""
        self._is_last = True
        if self.task is None:
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is still to be sent."""
        if self.task is not None:
            self.task.cancel()
        self._transport.abort()

    def close_if_idle(self, now_s: float, *, keepalive_s: float) -> None:
        """Close when no request came for too long, and a second time at once: the client does not take its answer."""
        if self.task is None and now_s - self._idle_since_s > (LINGER_S if self._missing_bytes else keepalive_s):
            self._transport.abort() if self._transport.is_closing() else self._transport.close()

    # What follows

    def _begin(self, data: bytes) -> None:
        """Have the request that `data` begins with answered, here or by aiohttp."""
        path = self._path
        found = path.heads.find(data)
        answer = None if found is None else path.answering.get(found[0].path)
        if found is None or answer is None or not 0 < found[2] <= path.max_body_bytes:
            self._hand_over(data)
            return
        head, size, length = found
        request = FastRequest(self, self._transport, head.path, head.headers)
        end = size + length
        if len(data) >= end:
            request.body = data[size:end]
            self._waiting = data[end:]
        else:
            self._request = request
            self._parts = [data[size:]]
            self._missing_bytes = end - len(data)
        self.task = path.loop.create_task(self._answer(request, answer))

    def _take_body(self, data: bytes) -> None:
        missing = self._missing_bytes - len(data)
        if self._request is not None:  # else it is answered already, and nobody reads it
            self._parts.append(data if missing >= 0 else data[:missing])
        if missing > 0:
            self._missing_bytes = missing
            return
        self._missing_bytes = 0
        self._waiting = data[missing:] if missing else b""
        request, self._request = self._request, None
        parts, self._parts = self._parts, []
        if request is not None:
            request.complete(b"".join(parts))
        if self.task is None:
            self._go_on()

    async def _answer(self, request: FastRequest, answer: Answering) -> None:
        keep = False
        try:
            response = await answer(request)
            if type(response) is PlainAnswer or type(response) is StreamAnswer:
                keep = not (self._is_last or response.is_broken)  # it is sent already
            else:
                assert type(response) is web.Response, "the model endpoints have no other"
                last = self._is_last or response.headers.get("connection") == "close"
                if not self._transport.is_closing():
                    self._transport.write(whole_answer(response, keep_alive=not last))
                keep = not last
        finally:
            self.task = None
            self._is_last = not keep
            if self._missing_bytes:
                # Closed at once, the client might lose the answer while it sends what nobody reads.
                self._request = None
                self._parts = []
                self._idle_since_s = self._path.now_s
            else:
                self._go_on()

    def _go_on(self) -> None:
        """Wait for the next request, or begin it when it is there and the client takes the answers."""
        if self._is_last:
            self._transport.close()
            return
        self._idle_since_s = self._path.now_s
        if self._drained is not None or self._transport.is_closing():
            return
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        if self._waiting:
            data, self._waiting = self._waiting, b""
            self._begin(data)

    def _hand_over(self, data: bytes) -> None:
        self._path.closed(self)
        connection = self._path.aiohttp_connection()
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        connection.data_received(data)
