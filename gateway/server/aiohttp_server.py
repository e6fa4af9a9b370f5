"""aiohttp's server, for requests that are not of the common form: adapts its requests, bodies and runner to ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any, Final

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_parser import RawRequestMessage

from gateway.errors import BadRequest
from gateway.server.body import (
    UNCOUNTED_BYTES,
    BodiesInFlight,
    Body,
    ExpectationFailed,
    RequestTooLarge,
    TooManyBodies,
    UnknownCoding,
    joined,
    parts_of,
)
from gateway.server.connection import ClientConnection, ClientConnections, answer_last
from gateway.server.front import Front
from gateway.server.request import LISTS, Request
from gateway.wire.http1.decoding import Decoder, Undecodable, decoder_for
from gateway.wire.http1.errors import ReadError

KEEPALIVE_S: Final = 75.0
FLUSH_S: Final = 0.5
"""Seconds for answers that are complete but not yet sent when the process stops."""
MAX_SURPLUS: Final = 64
"""Connections beyond the limit that may be open at once: for probes and operators, and to tell the others."""
SURPLUS_S: Final = 5.0
"""Seconds that a connection beyond the limit may be silent."""


class Runner(web.BaseRunner):
    """Runs aiohttp's server without an aiohttp application: `Front` looks paths up itself."""

    def __init__(
        self,
        front: Front,
        jobs: Callable[[], AbstractAsyncContextManager[None]],
        *,
        max_body_bytes: int,
        in_flight: BodiesInFlight,
        max_connections: int | None = None,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """`jobs` run as long as the server does. `on_closed`: a connection beyond all limits was closed at once."""
        super().__init__(shutdown_timeout=FLUSH_S)
        self._front = front
        self._jobs = jobs
        self._max_body_bytes = max_body_bytes
        self._in_flight = in_flight
        self._max_connections = max_connections
        self._on_closed = on_closed
        self._running = AsyncExitStack()

    async def shutdown(self) -> None:
        """Do nothing: there is no application."""

    def leave(self) -> None:
        """Close each connection with its next answer; those that are silent stay open."""
        assert isinstance(self.server, _Server), "the runner makes it"
        self.server.leave()

    @property
    def open_connections(self) -> int:
        """Number of clients' connections."""
        return self.server.open_connections if isinstance(self.server, _Server) else 0

    async def _make_server(self) -> web.Server:
        await self._running.enter_async_context(self._jobs())
        front, max_body_bytes, in_flight = self._front, self._max_body_bytes, self._in_flight
        if self._max_connections is None:
            return _Server(front, max_body_bytes=max_body_bytes, in_flight=in_flight)
        return _BoundedServer(
            front,
            max_body_bytes=max_body_bytes,
            in_flight=in_flight,
            max_connections=self._max_connections,
            on_closed=self._on_closed,
        )

    async def _cleanup_server(self) -> None:
        await self._running.aclose()


class _Server(web.Server):
    """Makes connections of our own, which go over to aiohttp at the first request that is not of the common form."""

    def __init__(self, front: Front, *, max_body_bytes: int, in_flight: BodiesInFlight) -> None:
        super().__init__(self._handle, request_factory=self._make_request, handler_cancellation=True)
        self._answer = front.answer
        self._front = front
        self._max_body_bytes = max_body_bytes
        self._in_flight = in_flight
        self._own_connections = ClientConnections(
            front.answers(),
            lambda: _AiohttpConnection(self, front, in_flight),
            max_body_bytes=max_body_bytes,
            keepalive_s=KEEPALIVE_S,
            in_flight=in_flight,
        )

    def __call__(self) -> Any:  # annotated as aiohttp's own connections
        return ClientConnection(self._own_connections)

    def pre_shutdown(self) -> None:
        self._own_connections.stop()
        super().pre_shutdown()

    def leave(self) -> None:
        """Close each connection with its next answer."""
        self._own_connections.leave()
        self._answer = partial(answer_last, self._answer)

    @property
    def open_connections(self) -> int:
        """Number of clients' connections."""
        return len(self._own_connections.open) + len(self._connections)

    async def shutdown(self, timeout: float | None = None) -> None:
        await asyncio.gather(self._own_connections.stopped(FLUSH_S), super().shutdown(timeout))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        channel = _AiohttpChannel(request, self._in_flight)
        try:
            return _Answered(request, keep_alive=await self._answer(_convert(request, channel)))
        finally:
            self._in_flight.release(channel.held_bytes)

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._max_body_bytes)


class _BoundedServer(_Server):
    """Takes a number of connections. What comes on further ones is refused, but for probes and operators."""

    def __init__(
        self,
        front: Front,
        *,
        max_body_bytes: int,
        in_flight: BodiesInFlight,
        max_connections: int,
        on_closed: Callable[[], None],
    ) -> None:
        super().__init__(front, max_body_bytes=max_body_bytes, in_flight=in_flight)
        self._max_connections = max_connections
        self._on_closed = on_closed
        self._surplus = _Server(front, max_body_bytes=max_body_bytes, in_flight=in_flight)
        self._surplus._answer = front.answer_surplus

    def __call__(self) -> Any:  # annotated as aiohttp's own connections
        return _BoundedConnection(self._own_connections, self.surplus)

    def surplus(self) -> asyncio.Protocol | None:
        """Return the protocol of a new connection that is one too many; None if it is not."""
        if self.open_connections < self._max_connections:
            return None
        if len(self._surplus._connections) >= MAX_SURPLUS:
            self._on_closed()
            return _Closed()
        return _AiohttpConnection(self._surplus, self._front, self._in_flight, keepalive_s=SURPLUS_S)

    def pre_shutdown(self) -> None:
        self._surplus.pre_shutdown()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:
        await asyncio.gather(self._surplus.shutdown(timeout), super().shutdown(timeout))


class _BoundedConnection(ClientConnection):
    """A connection that may be one too many."""

    def __init__(self, connections: ClientConnections, surplus: Callable[[], asyncio.Protocol | None]) -> None:
        super().__init__(connections)
        self._surplus = surplus

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not when the protocol is made: the event loop accepts many connections before it makes one known.
        other = self._surplus()
        if other is None:
            super().connection_made(transport)
            return
        transport.set_protocol(other)
        other.connection_made(transport)


class _Closed(asyncio.Protocol):
    """A connection that is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _AiohttpConnection(web.RequestHandler):
    """A connection that aiohttp reads. Malformed HTTP is answered by `Front`."""

    __slots__ = ("_front", "_in_flight")

    def __init__(
        self, server: web.Server, front: Front, in_flight: BodiesInFlight, *, keepalive_s: float = KEEPALIVE_S
    ) -> None:
        loop = asyncio.get_running_loop()
        no_log: Any = None  # switches its access log off
        # `auto_decompress` unpacks without end what nobody may want.
        super().__init__(server, loop=loop, access_log=no_log, keepalive_timeout=keepalive_s, auto_decompress=False)
        self._front = front
        self._in_flight = in_flight

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if isinstance(exc, BadHttpMessage):
            channel = _AiohttpChannel(request, self._in_flight)
            self._front.refuse_malformed(_convert(request, channel), too_long=isinstance(exc, LineTooLong))
            return _Answered(request, keep_alive=False)
        return super().handle_error(request, status, exc, message)


class _Answered(web.StreamResponse):
    """Tells aiohttp that a request is answered: our ResponseWriter wrote the response to the transport."""

    def __init__(self, request: web.BaseRequest, *, keep_alive: bool) -> None:
        super().__init__()
        self._writer = request.writer
        self._can_keep_alive = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._can_keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: the head is sent."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Wait until the client has caught up, before the next request is read."""
        await self._writer.drain()


class _AiohttpChannel:
    """The Channel of a request that aiohttp reads. Its bytes in flight are released by whoever makes it."""

    def __init__(self, request: web.BaseRequest, in_flight: BodiesInFlight) -> None:
        self._request = request
        self._in_flight = in_flight
        self.held_bytes = 0
        """Bytes of the body that are counted as in flight."""

    async def read_body(self) -> Body:
        """Return the body once it is whole, without its content coding.

        Raises BadRequest; RequestTooLarge beyond the limit, before the body is read where its length says so, and
        TooManyBodies likewise.
        """
        request, limit = self._request, self._request.client_max_size
        decoder = decoder_for(request.headers.get("Content-Encoding", ""))
        if isinstance(decoder, Undecodable):
            raise UnknownCoding
        length = request.content_length or 0
        if length > limit:
            raise RequestTooLarge(limit)
        self._hold(length)
        if not request.content.is_eof():  # else all of it has arrived
            self._ask_for_body()
        parts = parts_of(length if decoder is None else 0)
        size = 0
        try:
            while arrived := await request.content.readany():
                async for part in _decoded(arrived, decoder):
                    size += len(part)
                    if size > limit:
                        raise RequestTooLarge(limit)
                    self._hold(size)
                    parts.append(part)
            if decoder is not None:
                decoder.finish()
        except (web.RequestPayloadError, ReadError) as exc:
            raise BadRequest("the body does not arrive as its headers say") from exc
        return await joined(parts)

    async def drain(self) -> None:
        """Wait while the client is behind. Raises ConnectionError when it is gone."""
        await self._request.writer.drain()

    def _hold(self, size: int) -> None:
        """Count a body of at least `size` bytes as in flight. Raises TooManyBodies."""
        more = size - self.held_bytes
        if size <= UNCOUNTED_BYTES or more <= 0:
            return
        if not self._in_flight.take(more, of_bytes=size):
            raise TooManyBodies
        self.held_bytes = size

    def _ask_for_body(self) -> None:
        """Answer `Expect: 100-continue` (RFC 9110, 10.1.1). Raises ExpectationFailed for any other expectation."""
        request = self._request
        expects = request.headers.get("Expect")
        if expects is None or request.version < HttpVersion11:
            return
        if expects.lower() != "100-continue":
            raise ExpectationFailed(f"the expectation {expects[:40]!r} is not known; 100-continue is")
        if request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _decoded(data: bytes, decoder: Decoder | None) -> AsyncIterator[bytes]:
    """Yield `data` without its content coding, in steps that let the event loop run. Raises ReadError."""
    if decoder is None:
        yield data
        return
    yield decoder.decode(data)
    while decoder.pending:
        await asyncio.sleep(0)
        yield decoder.decode(b"")


def _convert(request: web.BaseRequest, channel: _AiohttpChannel) -> Request:
    """Return aiohttp's request as one of ours."""
    assert request.transport is not None, "aiohttp handles no request of a lost connection"
    headers: dict[str, str] = {}
    for given, value in request.headers.items():
        name = given.lower()
        if name in headers and name in LISTS:
            headers[name] += f", {value}"
        else:
            headers.setdefault(name, value)
    if "://" in request.raw_path and not request.raw_path.startswith("/"):
        # A whole URL, as proxies are asked for; its host counts, not the field's (RFC 9112, 3.2.2).
        headers["host"] = request.url.authority
    is_http11 = request.version >= HttpVersion11
    return Request(
        channel,
        request.transport,
        request.method,
        request.path,
        {name: request.query.getall(name) for name in request.query},
        headers,
        has_body=request.body_exists,
        is_http11=is_http11,
        keep_alive=is_http11 and request.keep_alive,
    )
