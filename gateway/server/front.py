"""What every request meets first: guards, its endpoint, errors, one log line, the counters."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from gateway.errors import BadRequest, GatewayError
from gateway.policy.overlay import Tables
from gateway.server.access import Guards, is_preflight
from gateway.server.connection import Answering, FastRequest
from gateway.server.exchange import CLIENT_GONE, AnyRequest, Exchange
from gateway.server.response import ClientGone
from gateway.telemetry.logs import log_request
from gateway.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


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
