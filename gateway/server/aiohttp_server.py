"""aiohttp's server, for requests that are not of the common form: adapts its requests, bodies and runner to ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_parser import RawRequestMessage

from gateway.errors import BadRequest
from gateway.server.body import ExpectationFailed, RequestTooLarge
from gateway.server.connection import ClientConnection, ClientConnections
from gateway.server.front import Front
from gateway.server.request import Request

KEEPALIVE_S: Final = 75.0
FLUSH_S: Final = 0.5
"""Seconds for answers that are complete but not yet sent when the process stops."""


class Runner(web.BaseRunner):
    """Runs aiohttp's server without an aiohttp application: `Front` looks paths up itself."""

    def __init__(
        self, front: Front, jobs: Callable[[], AbstractAsyncContextManager[None]], *, max_body_bytes: int
    ) -> None:
        """`jobs` run as long as the server does."""
        super().__init__(shutdown_timeout=FLUSH_S)
        self._front = front
        self._jobs = jobs
        self._max_body_bytes = max_body_bytes
        self._running = AsyncExitStack()

    async def shutdown(self) -> None:
        """Do nothing: there is no application."""

    async def _make_server(self) -> web.Server:
        await self._running.enter_async_context(self._jobs())
        return _Server(self._front, max_body_bytes=self._max_body_bytes)

    async def _cleanup_server(self) -> None:
        await self._running.aclose()


class _Server(web.Server):
    """Makes connections of our own, which go over to aiohttp at the first request that is not of the common form."""

    def __init__(self, front: Front, *, max_body_bytes: int) -> None:
        super().__init__(self._handle, request_factory=self._make_request, handler_cancellation=True)
        self._front = front
        self._max_body_bytes = max_body_bytes
        self._own_connections = ClientConnections(
            front.answers(),
            lambda: _AiohttpConnection(self, front),
            max_body_bytes=max_body_bytes,
            keepalive_s=KEEPALIVE_S,
        )

    def __call__(self) -> Any:  # annotated as aiohttp's own connections
        return ClientConnection(self._own_connections)

    def pre_shutdown(self) -> None:
        self._own_connections.stop()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:
        await asyncio.gather(self._own_connections.stopped(FLUSH_S), super().shutdown(timeout))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return _Answered(request, keep_alive=await self._front.answer(_convert(request)))

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


class _AiohttpConnection(web.RequestHandler):
    """A connection that aiohttp reads. Malformed HTTP is answered by `Front`."""

    __slots__ = ("_front",)

    def __init__(self, server: web.Server, front: Front) -> None:
        loop = asyncio.get_running_loop()
        no_log: Any = None  # switches its access log off
        super().__init__(server, loop=loop, access_log=no_log, keepalive_timeout=KEEPALIVE_S)
        self._front = front

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if isinstance(exc, BadHttpMessage):
            self._front.refuse_malformed(_convert(request), too_long=isinstance(exc, LineTooLong))
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
    """The Channel of a request that aiohttp reads."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request

    async def read_body(self) -> bytes:
        """Return the body once it is whole. Raises BadRequest, RequestTooLarge beyond the limit."""
        request = self._request
        if not request.content.is_eof():  # else all of it has arrived
            if (request.content_length or 0) > request.client_max_size:
                raise RequestTooLarge(request.client_max_size)
            self._ask_for_body()
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge as exc:
            raise RequestTooLarge(request.client_max_size) from exc
        except web.RequestPayloadError as exc:
            raise BadRequest("the body does not arrive as its headers say") from exc

    async def drain(self) -> None:
        """Wait while the client is behind. Raises ConnectionError when it is gone."""
        await self._request.writer.drain()

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


def _convert(request: web.BaseRequest) -> Request:
    """Return aiohttp's request as one of ours."""
    assert request.transport is not None, "aiohttp handles no request of a lost connection"
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers.setdefault(name.lower(), value)
    if "://" in request.raw_path and not request.raw_path.startswith("/"):
        # A whole URL, as proxies are asked for; its host counts, not the field's (RFC 9112, 3.2.2).
        headers["host"] = request.url.authority
    is_http11 = request.version >= HttpVersion11
    return Request(
        _AiohttpChannel(request),
        request.transport,
        request.method,
        request.path,
        {name: request.query.getall(name) for name in request.query},
        headers,
        has_body=request.body_exists,
        is_http11=is_http11,
        keep_alive=is_http11 and request.keep_alive,
    )
