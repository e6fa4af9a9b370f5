"""aiohttp's server, for every request that is not of the common form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import RawRequestMessage

from gateway.server.connection import Connection, FastPath
from gateway.server.front import Front

KEEPALIVE_S: Final = 75.0


FLUSH_S: Final = 0.5
"""Given to answers that are complete but not yet written when the process stops."""


class _Runner(web.BaseRunner):
    """aiohttp's server without its application: there are a handful of paths, and one look finds each."""

    def __init__(
        self, front: Front, jobs: Callable[[], AbstractAsyncContextManager[None]], *, max_body_bytes: int
    ) -> None:
        super().__init__(shutdown_timeout=FLUSH_S)
        self._front = front
        self._jobs = jobs
        self._max_body_bytes = max_body_bytes
        self._running = AsyncExitStack()

    async def shutdown(self) -> None:
        """There is nobody to tell."""

    async def _make_server(self) -> web.Server:
        await self._running.enter_async_context(self._jobs())
        return _Server(self._front, request_factory=self._make_request, max_body_bytes=self._max_body_bytes)

    async def _cleanup_server(self) -> None:
        await self._running.aclose()

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


class _Server(web.Server):
    """aiohttp's server, for what does not take the fast path."""

    def __init__(self, front: Front, *, request_factory: Callable[..., web.BaseRequest], max_body_bytes: int) -> None:
        super().__init__(front.handle, request_factory=request_factory, handler_cancellation=True)
        self._front = front
        self._fast = FastPath(
            front.fast(),
            lambda: _Connection(self, front),
            max_body_bytes=max_body_bytes,
            keepalive_s=KEEPALIVE_S,
        )

    def __call__(self) -> Any:  # aiohttp's server promises connections of its own
        return Connection(self._fast)

    def pre_shutdown(self) -> None:
        self._fast.stop()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:
        await asyncio.gather(self._fast.stopped(FLUSH_S), super().shutdown(timeout))


class _Connection(web.RequestHandler):
    """One client's connection. What is no HTTP is answered as everything else is."""

    __slots__ = ("_front",)

    def __init__(self, server: web.Server, front: Front) -> None:
        loop = asyncio.get_running_loop()
        no_log: Any = None  # as web.Server passes it on when asked for none
        super().__init__(server, loop=loop, access_log=no_log, keepalive_timeout=KEEPALIVE_S)
        self._front = front

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, BadHttpMessage):
            return self._front.refuse_malformed(request, exc)
        return super().handle_error(request, status, exc, message)
