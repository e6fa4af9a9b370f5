"""Handles every request: guards, path lookup, errors; tells the observer of its end."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Final

from gateway.errors import BadRequest, GatewayError
from gateway.policy.overlay import Tables
from gateway.policy.secrets import mask_upstream_text
from gateway.server.access import Guards, is_preflight
from gateway.server.connection import Answer
from gateway.server.exchange import Exchange
from gateway.server.paths import AZURE, NO_ENDPOINT, Handler, PathHandlers, Paths, wrong_method
from gateway.server.request import Request
from gateway.server.response import ClientGone
from gateway.server.tracing import note_trace
from gateway.telemetry.observer import OWN, EndedRow, Observer
from gateway.telemetry.report import CLIENT_GONE
from gateway.words import cut

log = logging.getLogger(__name__)

_HTTP_ONLY: Final = {"upgrade": "HTTP/1.1", "connection": "upgrade"}
"""Header fields of a 426: the protocol that would do (RFC 9110, 15.5.22 and 7.8)."""
_LONGEST_LOGGED: Final = 256
"""Characters of an unknown path, or of its method, in the log."""


class TooManyConnections(GatewayError):
    """As many connections are open as the server may have."""

    status = 503
    code = "too_many_connections"

    def __init__(self) -> None:
        super().__init__("too many connections are open: this gateway's --max-connections is reached")
        self.retry_after_s = 1.0


class Front:
    """Admits and answers every request, and tells of its end."""

    def __init__(
        self,
        *,
        guards: Guards,
        observer: Observer,
        tables: Tables,
        paths: Paths,
        client_s: float,
    ) -> None:
        """`client_s`: seconds that a client may take to send its body, or to read what waits for it."""
        self._guards = guards
        self._keys = guards.keys
        self._observer = observer
        self._tables = tables
        self._paths = paths
        self._client_s = client_s
        self._ended: list[EndedRow] = []
        """Requests that ended in this turn of the event loop."""
        self._ended_own: list[EndedRow] = []
        """Those of OWN operations."""

    def answers(self) -> dict[str, Answer]:
        """Return path → function that answers a POST."""
        return {path: partial(self._answer, at) for path, at in self._paths.answering_posts()}

    async def answer(self, request: Request) -> bool:
        """Answer, log and count a request; return whether its connection can take another one."""
        # What follows, the access rules too, sees the path that was found.
        if request.path.startswith(AZURE):
            request.path, request.deployment = self._paths.of_azure(request.path)
        request.path, endpoint = self._paths.find(request.path)
        return await self._answer(endpoint, request)

    async def _answer(self, endpoint: PathHandlers | None, request: Request) -> bool:
        exchange = self._exchange(request, NO_ENDPOINT if endpoint is None else endpoint)
        try:
            if self._keys is not None and self._keys.changed():
                await self._keys.refresh()
            handler = self._admit(endpoint, exchange)
            if handler is not None:
                await handler(exchange)
        except GatewayError as exc:
            exchange.send_error(exc)
        except ClientGone:
            request.keep_alive = False
            if exchange.error is None:  # else an error has ended it
                exchange.status = CLIENT_GONE
        except RecursionError:
            exchange.send_error(BadRequest("the body is nested too deeply"))
        except asyncio.CancelledError as exc:
            if _is_cancelled():
                exchange.status = CLIENT_GONE
                raise
            exchange.send_error(exchange.unexpected(exc))
        except Exception as exc:  # noqa: BLE001 - the client gets an envelope for any fault
            exchange.send_error(exchange.unexpected(exc))
        finally:
            self._end(exchange)
        return request.keep_alive

    async def answer_surplus(self, request: Request) -> bool:
        """Answer a request that came on a connection beyond the limit, and have that closed.

        Probes and operators are answered as ever: they have to see what is going on.
        """
        request.keep_alive = False
        _, endpoint = self._paths.find(request.path)
        if endpoint is not None and endpoint.operation in OWN:
            return await self.answer(request)
        exchange = self._exchange(request, endpoint or NO_ENDPOINT)
        exchange.send_error(TooManyConnections())
        self._end(exchange)
        return False

    def refuse_malformed(self, request: Request, *, too_long: bool) -> None:
        """Answer, log and count data that is no valid request; `request` is aiohttp's placeholder. Ends the connection.

        The message does not repeat the data, which may contain a key.
        """
        exchange = self._exchange(request, NO_ENDPOINT)
        if (trace := exchange.report.trace) is not None:
            trace.path, trace.route = "", None  # those of the placeholder
        request.keep_alive = False
        what = "a line or a header of it is too long" if too_long else "it is malformed"
        exchange.refuse(400, "malformed_request", f"this is no HTTP request that can be read: {what}")
        self._end(exchange)

    def _exchange(self, request: Request, endpoint: PathHandlers) -> Exchange:
        exchange = Exchange(
            request,
            endpoint.operation,
            errors=endpoint.errors_for(request) if endpoint.of_both else endpoint.errors,
            generation=self._tables.current.generation,
            client_s=self._client_s,
        )
        if self._observer.begin_trace is not None and endpoint.operation not in OWN:
            note_trace(exchange, self._paths, self._observer.begin_trace)
        return exchange

    def _admit(self, endpoint: PathHandlers | None, exchange: Exchange) -> Handler | None:
        """Return the request's handler; None if it is answered already. Raises GatewayError to refuse it."""
        request = exchange.request
        if "origin" in request.headers:
            exchange.cors = self._guards.cors(request)
            if is_preflight(request):
                exchange.send(b"", status=204, content_type=None)
                return None
        if endpoint is None:
            _note_asked(exchange)
            exchange.refuse(404, "not_found", self._paths.unknown(request.method, request.path))
            return None
        handler = endpoint.methods.get(request.method)
        if handler is None and request.method == "HEAD":
            handler = endpoint.methods.get("GET")
        if handler is None:
            allow = {"allow": endpoint.allowed}
            if request.method == "OPTIONS":
                exchange.send(b"", allow, status=204, content_type=None)
                return None
            _note_asked(exchange)
            if request.headers.get("upgrade", "").lower() == "websocket":
                # Codex CLI asks for one first, tries again after any other status, and falls back at once after this.
                request.keep_alive = False  # what follows on the connection need not be HTTP
                message = f"there are no WebSockets here; {request.path} takes {' and '.join(endpoint.methods)}"
                exchange.refuse(426, "upgrade_required", message, {**allow, **_HTTP_ONLY})
                return None
            message = wrong_method(request.method, request.path, endpoint)
            exchange.refuse(405, "method_not_allowed", message, allow)
            return None
        exchange.client = self._guards.check(request, endpoint.media_types)
        return handler

    def _end(self, exchange: Exchange) -> None:
        """Have the observer told of a finished exchange at the end of this turn of the event loop.

        Told in a batch, log and metrics take half the time.
        """
        ended = self._ended_own if exchange.operation in OWN else self._ended
        ended.append(
            (
                exchange.report,
                exchange.operation,
                exchange.status,
                exchange.stream,
                None if exchange.client is None else exchange.client.name,
                exchange.error,
                exchange.asked,
                time.perf_counter() - exchange.started_s,
                time.time(),
            )
        )
        if len(ended) == 1:
            asyncio.get_running_loop().call_soon(self._tell, ended)

    def _tell(self, waiting: list[EndedRow]) -> None:
        ended = waiting.copy()
        waiting.clear()
        for listener in self._observer.of_own if waiting is self._ended_own else self._observer.listeners:
            try:
                listener(ended)
            except Exception:
                log.exception("a listener failed")


def _is_cancelled() -> bool:
    """Tell whether this request's task was cancelled, or a CancelledError comes from something that it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _note_asked(exchange: Exchange) -> None:
    """Keep what was asked for the log: without query, bounded, and with anything like a key masked."""
    method, path = (
        mask_upstream_text(cut(text, _LONGEST_LOGGED)) for text in (exchange.request.method, exchange.request.path)
    )
    exchange.asked = method, path
