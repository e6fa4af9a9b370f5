"""What every request goes through: its id, the guards, errors in OpenAI's envelope, one log line, the counters."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import orjson
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from gateway.errors import BadRequest, GatewayError, UpstreamRefused
from gateway.policy.table import Tables
from gateway.server.access import Guards, is_preflight
from gateway.server.connection import Answering, FastRequest
from gateway.server.response import JSON_TYPE, ClientGone, PlainAnswer, StreamAnswer
from gateway.telemetry.logs import Metrics, log_request, request_id
from gateway.types import EMPTY, CallReport, Json

log = logging.getLogger(__name__)

AnyRequest: TypeAlias = web.BaseRequest | FastRequest

CLIENT_GONE: Final = 499
"""In log and metrics only: the client left before its answer was whole."""


class Draining(GatewayError):
    """The gateway is shutting down and begins nothing new."""

    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down")
        self.headers = {"retry-after": "1", "connection": "close"}


class Lifecycle:
    """How many model requests are being answered, and whether new ones may begin."""

    def __init__(self, metrics: Metrics) -> None:
        self._calls: set[asyncio.Task[object]] = set()
        metrics.in_flight.set_function(lambda: len(self._calls))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._emptied: asyncio.Future[None] | None = None
        self.draining = False
        """Set once, when the process was asked to stop."""
        self.cut_off = False
        """Set once, when the drain has taken too long."""

    def begin(self) -> asyncio.Task[object]:
        """Hold the process up until this task's model request has its `end`. Raises Draining when none may begin."""
        if self.draining:
            raise Draining
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "a request is answered in a task of its own"
        self._calls.add(task)
        return task

    def end(self, task: asyncio.Task[object]) -> None:
        """The request is answered, or nobody waits for its answer."""
        self._calls.discard(task)
        if self._emptied is not None and not self._calls and not self._emptied.done():
            self._emptied.set_result(None)

    def cut(self) -> None:
        """End every model request now. Each client is told that it was the gateway that ended it."""
        self.cut_off = True
        for task in tuple(self._calls):
            task.cancel()

    async def drained(self) -> None:
        """Return once no model request is being answered."""
        while self._calls:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied


class Exchange:
    """One request and what is to be told about its answer."""

    __slots__ = ("client", "cors", "error", "operation", "report", "started_s", "status", "stream")

    def __init__(self, request: AnyRequest, operation: str) -> None:
        self.started_s = time.perf_counter()
        self.report = CallReport(request_id=request_id(request.headers.get("x-request-id")))
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
            headers["x-gateway-target"] = report.target.header
        return headers

    def reply(self, request: AnyRequest, body: bytes, more: Mapping[str, str], *, client_s: float) -> PlainAnswer:
        """Return a model's plain answer to be sent; `more` and `client_s` as below."""
        return PlainAnswer(request, self.report, body, self._with_cors(more), client_s=client_s)

    def stream_answer(self, request: AnyRequest, more: Mapping[str, str], *, client_s: float) -> StreamAnswer:
        """Return a model's answer as a stream to be sent.

        `more` are the headers that came with it; `client_s` is how long the client may be behind.
        """
        return StreamAnswer(request, self.report, self._with_cors(more), client_s=client_s)

    def _with_cors(self, more: Mapping[str, str]) -> Mapping[str, str]:
        return {**more, **self.cors} if self.cors else more

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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers at a path."""

    operation: str
    """For log and metrics."""
    methods: Mapping[str, Callable[[web.BaseRequest, Exchange], Awaitable[web.StreamResponse]]]
    """By name; HEAD goes where GET goes."""
    fast: Callable[[AnyRequest, Exchange], Awaitable[web.StreamResponse]] | None = None
    """What answers a POST that takes the fast path; None where that is not for this path."""


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
        self._ended: list[tuple[Exchange, int, float, float]] = []
        """With the status, the seconds it took, and when that was."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Guard, answer, log and count a request that aiohttp has read."""
        return await self._answer(request, self._find(request.path))

    def fast(self) -> dict[str, Answering]:
        """Return what does the same with a POST that takes the fast path, by path."""
        return {path: partial(self._answer, endpoint=at) for path, at in self._paths.items() if at.fast is not None}

    async def _answer(self, request: AnyRequest, endpoint: Endpoint | None) -> web.StreamResponse:
        exchange = Exchange(request, "other" if endpoint is None else endpoint.operation)
        exchange.report.generation = self._tables.current.generation
        status = CLIENT_GONE  # whatever leaves without a response is a cancellation or a lost connection
        try:
            try:
                if type(request) is FastRequest:
                    assert endpoint is not None, "else aiohttp has it"
                    assert endpoint.fast is not None, "else aiohttp has it"
                    exchange.client = self._guards.check(request)
                    response = await endpoint.fast(request, exchange)
                else:
                    assert not isinstance(request, FastRequest), "that is exact"
                    response = await self._guarded(request, endpoint, exchange)
            except GatewayError as exc:
                response = exchange.failure(exc)
            except ClientGone:
                # Raised on, aiohttp would log it as a fault of ours. Nobody gets to see this one.
                response = web.Response(status=CLIENT_GONE)
            except RecursionError:
                response = exchange.failure(BadRequest("the body is nested too deeply"))
            except Exception as exc:  # noqa: BLE001 - whatever it is, the client gets an envelope
                response = exchange.failure(unexpected(exc, exchange))
            status = exchange.status or response.status
            return response
        finally:
            self._end(exchange, status)

    def refuse_malformed(self, request: web.BaseRequest, error: BadHttpMessage) -> web.Response:
        """Answer, log and count what could not be read as a request; `request` is a stand-in. The connection ends.

        What came is not repeated: it may hold a key.
        """
        exchange = Exchange(request, "other")
        exchange.report.generation = self._tables.current.generation
        what = "a line or a header of it is too long" if isinstance(error, LineTooLong) else "it is malformed"
        response = exchange.refuse(400, "malformed_request", f"this is no HTTP request that can be read: {what}")
        response.force_close()
        self._end(exchange, response.status)
        return response

    def _find(self, path: str) -> Endpoint | None:
        found = self._paths.get(path)
        if found is not None:
            return found
        return next((at for start, at in self._below.items() if path.startswith(start) and path != start), None)

    async def _guarded(
        self, request: web.BaseRequest, endpoint: Endpoint | None, exchange: Exchange
    ) -> web.StreamResponse:
        if "origin" in request.headers:
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

    def _end(self, exchange: Exchange, status: int) -> None:
        """Have a finished request told at the end of this turn of the event loop."""
        self._ended.append((exchange, status, time.perf_counter() - exchange.started_s, time.time()))
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        """Count and log what has ended in this turn of the event loop: one after the other it takes half the time."""
        ended, self._ended = self._ended, []
        for exchange, status, seconds, ended_at in ended:
            report = exchange.report
            self._metrics.count_request(report, operation=exchange.operation, status=status, seconds=seconds)
            log_request(
                report,
                operation=exchange.operation,
                status=status,
                ended_at=ended_at,
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
