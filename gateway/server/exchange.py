"""What every request goes through: its id, the guards, errors in OpenAI's envelope, one log line, the counters."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

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

_OPERATIONS: Final[Mapping[str, str]] = {
    "/v1/chat/completions": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/models": "models",
    "/v1/models/{name}": "models",
    "/healthz": "probe",
    "/readyz": "probe",
    "/metrics": "probe",
    "/-/config": "admin",
    "/-/targets": "admin",
    "/-/reload": "admin",
}

_WORDS_OF_STATUS: Final[Mapping[int, tuple[str, str]]] = {
    404: ("not_found", "there is nothing at this path"),
    405: ("method_not_allowed", "this path does not take this method"),
    413: ("body_too_large", "the body is larger than this gateway takes"),
}


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

    @contextmanager
    def call(self) -> Iterator[None]:
        """Hold the process up while one model request is answered. Raises Draining when none may begin."""
        if self.draining:
            raise Draining
        task = asyncio.current_task()
        assert task is not None, "a request is answered in a task of its own"
        self._calls.add(task)
        self._idle.clear()
        try:
            yield
        except asyncio.CancelledError:
            if not self.cut_off:
                raise
            raise Draining from None
        finally:
            self._calls.discard(task)
            if not self._calls:
                self._idle.set()

    def cut(self) -> None:
        """End every model request now. Each client is told that it was the gateway that ended it."""
        self.cut_off = True
        for task in tuple(self._calls):
            task.cancel()

    async def drained(self) -> None:
        """Return once no model request is being answered."""
        await self._idle.wait()


class Exchange:
    """One request and what is to be told about its answer."""

    __slots__ = ("client", "cors", "error", "operation", "report", "started_s", "status", "stream")

    def __init__(self, request: web.Request) -> None:
        self.started_s = time.perf_counter()
        self.report = CallReport(request_id=request_id(request.headers.get("X-Request-Id")))
        resource = request.match_info.route.resource
        self.operation = _OPERATIONS.get(resource.canonical, "other") if resource is not None else "other"
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
            headers["x-gateway-target"] = quote(report.target.name, safe=_HEADER_SAFE)
        return headers

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

    def http_failure(self, exc: web.HTTPException) -> web.Response:
        """Return the envelope for an error of the HTTP layer."""
        code, message = _WORDS_OF_STATUS.get(exc.status, ("http_error", exc.reason.lower()))
        self.error = code
        more = {"allow": exc.headers["Allow"]} if "Allow" in exc.headers else EMPTY
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        return web.Response(status=exc.status, body=orjson.dumps({"error": error}), headers=self.headers(more))


EXCHANGE: Final = web.RequestKey("exchange", Exchange)


class Front:
    """The one middleware."""

    def __init__(self, *, guards: Guards, metrics: Metrics, tables: Tables) -> None:
        self._guards = guards
        self._metrics = metrics
        self._tables = tables

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Guard, answer, log and count one request."""
        exchange = request[EXCHANGE] = Exchange(request)
        exchange.report.generation = self._tables.current.generation
        status = CLIENT_GONE  # whatever leaves without a response is a cancellation or a lost connection
        try:
            response = await self._answer(request, handler, exchange)
            status = exchange.status or response.status
            return response
        finally:
            self._tell(exchange, status)

    async def _answer(self, request: web.Request, handler: Handler, exchange: Exchange) -> web.StreamResponse:
        try:
            exchange.cors = self._guards.cors(request)
            if exchange.cors and is_preflight(request):
                return web.Response(status=204, headers=exchange.headers(content_type=None))
            if request.match_info.http_exception is None:
                exchange.client = self._guards.check(request)
            return await handler(request)
        except GatewayError as exc:
            return exchange.failure(exc)
        except web.HTTPException as exc:
            return exchange.http_failure(exc)
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
