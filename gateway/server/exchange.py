"""What every request goes through: its id, the guards, errors in OpenAI's envelope, one log line, the counters."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from types import TracebackType
from typing import Final
from urllib.parse import quote

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from gateway.errors import BadRequest, GatewayError, UpstreamRefused
from gateway.server.guards import Guards, is_preflight
from gateway.table import Tables
from gateway.telemetry import Metrics, log_request, request_id
from gateway.types import EMPTY, CallReport, Json

log = logging.getLogger(__name__)

JSON_TYPE: Final = "application/json"
CLIENT_GONE: Final = 499
"""In log and metrics only: the client left before its answer was whole."""

_HEADER_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
_UNSAFE: Final = re.compile(r"[\r\n\0]")
_AT_ONCE_BYTES: Final = 64 * 1024
"""A body up to this size is joined to its head, so that both leave together."""


class Draining(GatewayError):
    """The gateway is shutting down and begins nothing new."""

    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down")
        self.headers = {"retry-after": "1", "connection": "close"}


class ClientGone(ConnectionError):
    """The client left, or stopped reading. Nobody is there to be answered."""


class Lifecycle:
    """How many model requests are being answered, and whether new ones may begin."""

    def __init__(self, metrics: Metrics) -> None:
        self._calls: set[asyncio.Task[object]] = set()
        metrics.in_flight.set_function(lambda: len(self._calls))
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False
        """Set once, when the process was asked to stop."""
        self.cut_off = False
        """Set once, when the drain has taken too long."""

    def call(self) -> _Held:
        """Return what holds the process up while one model request is answered. Raises Draining when none may begin."""
        if self.draining:
            raise Draining
        return _Held(self, self._calls, self._idle)

    def cut(self) -> None:
        """End every model request now. Each client is told that it was the gateway that ended it."""
        self.cut_off = True
        for task in tuple(self._calls):
            task.cancel()

    async def drained(self) -> None:
        """Return once no model request is being answered."""
        await self._idle.wait()


class _Held:
    """One model request while it is answered."""

    __slots__ = ("_calls", "_idle", "_lifecycle", "_task")

    def __init__(self, lifecycle: Lifecycle, calls: set[asyncio.Task[object]], idle: asyncio.Event) -> None:
        self._lifecycle = lifecycle
        self._calls = calls
        self._idle = idle

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a request is answered in a task of its own"
        self._task = task
        self._calls.add(task)
        self._idle.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._calls.discard(self._task)
        if not self._calls:
            self._idle.set()
        if kind is asyncio.CancelledError and self._lifecycle.cut_off:
            raise Draining from None


class Exchange:
    """One request and what is to be told about its answer."""

    __slots__ = ("client", "cors", "error", "operation", "report", "started_s", "status", "stream")

    def __init__(self, request: web.BaseRequest, operation: str) -> None:
        self.started_s = time.perf_counter()
        self.report = CallReport(request_id=request_id(request.headers.get("X-Request-Id")))
        self.operation = operation
        self.client: str | None = None
        """The name of the client whose key it was."""
        self.cors: Mapping[str, str] = EMPTY
        self.status: int | None = None
        """For the log and the metrics, where it is not the response's."""
        self.error: str | None = None
        """The code of the error that was answered."""
        self.stream = False

    def headers(self, more: Mapping[str, str] = EMPTY, *, content_type: str | None = JSON_TYPE) -> dict[str, str]:
        """Return the response headers: `more` first, so that ours win; a content type of None keeps that of `more`."""
        report = self.report
        headers = {**more, **self.cors, "server": "gateway", "x-request-id": report.request_id}
        if content_type is not None:
            headers["content-type"] = content_type
        if report.generation:
            headers["x-gateway-generation"] = str(report.generation)
            headers["x-gateway-attempts"] = str(report.calls)
        if report.target is not None:
            headers["x-gateway-target"] = _target_value(report.target.name)
        return headers

    def reply(self, request: web.BaseRequest, body: bytes, more: Mapping[str, str]) -> web.StreamResponse:
        """Return a model's plain answer as a response; `more` are the headers that came with it.

        Its head is laid out here: aiohttp's way to the same bytes takes as long as our whole way to the upstream.
        """
        if request.version != HttpVersion11 or not request.keep_alive:
            return web.Response(body=body, headers=self.headers(more))
        report = self.report
        assert report.target is not None, "what was answered was answered by a target"
        lines = _answer_lines(report.generation, report.target.name)
        for name, value in {**more, **self.cors}.items() if more or self.cors else ():
            if _UNSAFE.search(value):
                raise ValueError(f"the value of the header field {name!r} has control characters")
            lines += f"{name}: {value}\r\n"
        head = (
            f"{lines}x-request-id: {report.request_id}\r\nx-gateway-attempts: {report.calls}\r\n"
            f"Content-Length: {len(body)}\r\nDate: {_http_date(int(time.time()))}\r\n\r\n"
        )
        return _Laid(head.encode(), body)

    def answer(self, value: Json, *, status: int = 200) -> web.Response:
        """Return `value` as a JSON response."""
        return web.Response(status=status, body=orjson.dumps(value, default=dict), headers=self.headers())

    def failure(self, exc: GatewayError) -> web.Response:
        """Return the response to an error: the upstream's own body where it passes through, else the envelope."""
        self.error = exc.code
        exc.attempts = exc.attempts or tuple(self.report.attempts)
        if isinstance(exc, UpstreamRefused) and exc.body:
            content_type = None if "content-type" in exc.headers else JSON_TYPE
            headers = self.headers(exc.headers, content_type=content_type)
            return web.Response(status=exc.status, body=exc.body, headers=headers)
        body = orjson.dumps(exc.envelope())
        return web.Response(status=exc.status, body=body, headers=self.headers(exc.headers))

    def refuse(self, status: int, code: str, message: str, more: Mapping[str, str] = EMPTY) -> web.Response:
        """Return the envelope for what is asked of the server itself: a path, a method, a size."""
        self.error = code
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        return web.Response(status=status, body=orjson.dumps({"error": error}), headers=self.headers(more))


class _Laid(web.StreamResponse):
    """A whole response of status 200 on a connection that stays open, its bytes laid out already."""

    def __init__(self, head: bytes, body: bytes) -> None:
        # Not super().__init__(): what it sets up is what is saved.
        self._first = head
        self._rest = body

    @property
    def status(self) -> int:
        return 200

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Send all of it. Raises ConnectionError when the client is gone."""
        writer = request.writer
        if len(self._rest) <= _AT_ONCE_BYTES:
            await writer.write(self._first + self._rest)
        else:
            await writer.write(self._first)
            await writer.write(self._rest)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nothing left to send."""


@lru_cache(maxsize=1024)
def _answer_lines(generation: int, target: str) -> str:
    """Return the status line and those header lines of a model's answer that many answers share."""
    return (
        "HTTP/1.1 200 OK\r\n"
        "server: gateway\r\n"
        f"content-type: {JSON_TYPE}\r\n"
        f"x-gateway-generation: {generation}\r\n"
        f"x-gateway-target: {_target_value(target)}\r\n"
    )


@lru_cache(maxsize=1024)
def _target_value(target: str) -> str:
    return quote(target, safe=_HEADER_SAFE)


@lru_cache(maxsize=2)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers at a path."""

    operation: str
    """For log and metrics."""
    methods: Mapping[str, Callable[[web.BaseRequest, Exchange], Awaitable[web.StreamResponse]]]
    """By name; HEAD goes where GET goes."""


class Front:
    """What every request meets first."""

    def __init__(
        self,
        *,
        guards: Guards,
        metrics: Metrics,
        tables: Tables,
        paths: Mapping[str, Endpoint],
        below: Mapping[str, Endpoint],
    ) -> None:
        """`paths` are whole paths; `below` takes a path's rest that is not empty, and begins and ends with a slash."""
        self._guards = guards
        self._metrics = metrics
        self._tables = tables
        self._paths = paths
        self._below = below

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Guard, answer, log and count one request."""
        endpoint = self._find(request.path)
        exchange = Exchange(request, "other" if endpoint is None else endpoint.operation)
        exchange.report.generation = self._tables.current.generation
        status = CLIENT_GONE  # whatever leaves without a response is a cancellation or a lost connection
        try:
            response = await self._answer(request, endpoint, exchange)
            status = exchange.status or response.status
            return response
        finally:
            self._tell(exchange, status)

    def _find(self, path: str) -> Endpoint | None:
        found = self._paths.get(path)
        if found is not None:
            return found
        return next((at for start, at in self._below.items() if path.startswith(start) and path != start), None)

    async def _answer(
        self, request: web.BaseRequest, endpoint: Endpoint | None, exchange: Exchange
    ) -> web.StreamResponse:
        try:
            if "Origin" in request.headers:
                exchange.cors = self._guards.cors(request)
                if is_preflight(request):
                    return web.Response(status=204, headers=exchange.headers(content_type=None))
            if endpoint is None:
                return exchange.refuse(404, "not_found", "there is nothing at this path")
            method = "GET" if request.method == "HEAD" else request.method
            handler = endpoint.methods.get(method)
            if handler is None:
                allowed = sorted({*endpoint.methods, *(("HEAD",) if "GET" in endpoint.methods else ())})
                message = "this path does not take this method"
                return exchange.refuse(405, "method_not_allowed", message, {"allow": ",".join(allowed)})
            exchange.client = self._guards.check(request)
            return await handler(request, exchange)
        except GatewayError as exc:
            return exchange.failure(exc)
        except ClientGone:
            raise
        except RecursionError:
            return exchange.failure(BadRequest("the body is nested too deeply"))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the client gets an envelope
            return exchange.failure(unexpected(exc, exchange))

    def _tell(self, exchange: Exchange, status: int) -> None:
        seconds = time.perf_counter() - exchange.started_s
        report = exchange.report
        self._metrics.count_request(report, operation=exchange.operation, status=status, seconds=seconds)
        log_request(
            report,
            operation=exchange.operation,
            status=status,
            ms=seconds * 1000,
            stream=exchange.stream,
            client=exchange.client,
            error=exchange.error,
        )


def unexpected(exc: Exception, exchange: Exchange) -> GatewayError:
    """Log a fault of ours and return what the client may know of it."""
    log.error("request failed unexpectedly", extra={"request_id": exchange.report.request_id}, exc_info=exc)
    message = "the gateway failed; its log has more under this request id"
    return GatewayError(message, attempts=exchange.report.attempts)
