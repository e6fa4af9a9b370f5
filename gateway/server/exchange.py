"""What every request goes through: its id, the guards, errors in OpenAI's envelope, one log line, the counters."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final, TypeAlias

import orjson
from aiohttp import web

from gateway.errors import GatewayError, UpstreamRefused
from gateway.server.connection import FastRequest
from gateway.server.response import JSON_TYPE, PlainAnswer, StreamAnswer
from gateway.telemetry.ids import request_id
from gateway.telemetry.report import CallReport
from gateway.wire.json import EMPTY, Json

log = logging.getLogger(__name__)

AnyRequest: TypeAlias = web.BaseRequest | FastRequest

CLIENT_GONE: Final = 499
"""In log and metrics only: the client left before its answer was whole."""


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
