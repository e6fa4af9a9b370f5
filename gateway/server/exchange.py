"""One request on its way through the server: its report, its response, errors in the client's envelope."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Final

import orjson

from gateway.adapters.base import ErrorShape
from gateway.errors import NO_REPEAT, GatewayError, UpstreamRefused
from gateway.operations.errors import ANTHROPIC_ERRORS
from gateway.policy.clients import Client
from gateway.server.keepalive import Keepalive
from gateway.server.lifecycle import Draining
from gateway.server.request import Request
from gateway.server.response import EVENTS_TYPE, JSON_TYPE, ResponseWriter
from gateway.telemetry.ids import request_id
from gateway.telemetry.report import CLIENT_GONE, CallReport
from gateway.telemetry.traces import Unsampled
from gateway.wire.json import EMPTY, Json, Spliced

log = logging.getLogger(__name__)

_STREAM_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Exchange:
    """A request, its response, and the values for log and metrics."""

    __slots__ = (
        "asked", "client", "client_s", "cors", "error", "errors", "keepalive", "operation", "report", "request",
        "response", "started_s", "status", "stream", "unsampled",
    )  # fmt: skip

    def __init__(
        self, request: Request, operation: str, *, errors: ErrorShape, generation: int, client_s: float
    ) -> None:
        """`client_s`: seconds that the client may take to send its body, or to read what waits for it."""
        self.started_s = time.perf_counter()
        self.request = request
        self.operation = operation
        self.errors = errors
        """The shape of errors for this client."""
        self.client_s = client_s
        self.report = CallReport(request_id(request.headers.get("x-request-id")), "", generation)
        self.response = ResponseWriter(request, self.report, client_s=client_s)
        self.client: Client | None = None
        """The client whose key was sent."""
        self.cors: Mapping[str, str] = EMPTY
        """CORS response headers."""
        self.status = CLIENT_GONE
        """Of the response, or of the error that broke it off."""
        self.error: str | None = None
        """The code of the error that was sent."""
        self.stream = False
        self.keepalive: Keepalive | None = None
        """Sends comments while this stream is silent."""
        self.unsampled: Unsampled | None = None
        """What upstreams get of the trace, if one is made here that is not sampled."""
        self.asked: tuple[str, str] | None = None
        """Method and path for the log, where there is no such endpoint."""

    @property
    def client_name(self) -> str | None:
        """The name of the client whose key was sent."""
        return None if self.client is None else self.client.name

    def send(
        self,
        body: bytes | Spliced,
        more: Mapping[str, str] = EMPTY,
        *,
        status: int = 200,
        content_type: str | None = JSON_TYPE,
    ) -> bool:
        """Send a whole response with the header fields `more`; return False if `response.catch_up` has to wait."""
        sent = self.response.send_whole(status, content_type, {**more, **self.cors} if self.cors else more, body)
        self.status = status
        return sent

    def send_json(self, value: Json, more: Mapping[str, str] = EMPTY, *, status: int = 200) -> None:
        """Send `value` as JSON."""
        self.send(orjson.dumps(value, default=dict), more, status=status)

    def begin_stream(self, more: Mapping[str, str]) -> ResponseWriter:
        """Return the writer of a stream, with the header fields `more` unless its head is sent already.

        It is a stream of events unless `more` has another `content-type`.
        """
        if not self.response.begun:
            fields = {**more, **_STREAM_HEADERS, **self.cors}
            self.response.prepare_stream(fields, content_type=fields.pop("content-type", EVENTS_TYPE))
        self.status = 200
        return self.response

    def keep_alive(self, comment: bytes, every_s: float) -> None:
        """Send `comment` whenever the client of this stream has got nothing for `every_s`, from now on.

        The first one brings the head, also if no target has answered yet.
        """
        head = partial(self.response.prepare_stream, {**_STREAM_HEADERS, **self.cors}, is_early=True)
        self.keepalive = Keepalive(self.response, comment, every_s=every_s, begin=head)

    def send_error(self, exc: GatewayError) -> None:
        """Send an error: an upstream's own body for UpstreamRefused, else the envelope.

        If a response has begun already, the connection is aborted instead.
        """
        self.error = exc.code
        if self.response.begun:
            self.status = exc.status
            self.response.close(at_once=True)
            return
        if isinstance(exc, Draining):
            self.request.keep_alive = False
        more = exc.response_headers()
        content_type = more.pop("content-type", JSON_TYPE)
        if isinstance(exc, UpstreamRefused) and exc.body:
            body = self.errors.body(exc.body, exc.status, self.report.request_id)
            self.send(body, more, status=exc.status, content_type=content_type)
        else:
            self.send_json(self.envelope(exc), more, status=exc.status)

    def refuse(self, status: int, code: str, message: str, more: Mapping[str, str] = EMPTY) -> None:
        """Send an error of the HTTP request itself, such as an unknown path: in Anthropic's shape to its clients."""
        self.error = code
        errors = ANTHROPIC_ERRORS if self.request.is_anthropic else self.errors
        error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
        self.send_json(errors.envelope(error, status, self.report.request_id), {**more, **NO_REPEAT}, status=status)

    def envelope(self, exc: GatewayError) -> Json:
        """Return the error in the client's shape, with the attempts of this request."""
        exc.attempts = exc.attempts or tuple(self.report.attempts)
        return self.errors.envelope(exc.envelope(), exc.status, self.report.request_id)

    def unexpected(self, exc: BaseException) -> GatewayError:
        """Log a fault of ours and return the error for the client."""
        log.error("request failed unexpectedly", extra={"request_id": self.report.request_id}, exc_info=exc)
        message = "the gateway failed; its log has more under this request id"
        return GatewayError(message, attempts=self.report.attempts)
