"""Reads and decodes a request's body."""

from __future__ import annotations

import asyncio

import orjson

from gateway.concurrency.deadlines import until
from gateway.errors import BadRequest
from gateway.server.request import Request
from gateway.wire.json import JsonObject, decode_json
from gateway.words import shown_size


class SlowBody(BadRequest):
    """The client did not send its body in time."""

    status = 408
    code = "body_timeout"


class RequestTooLarge(BadRequest):
    """The body is larger than the server's limit."""

    status = 413
    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is larger than {shown_size(limit_bytes)}, this gateway's --max-body")


class ExpectationFailed(BadRequest):
    """The request has an `Expect` header other than `100-continue`."""

    status = 417
    code = "expectation_failed"


async def read_body(request: Request, within_s: float) -> bytes:
    """Return the whole body. Raises BadRequest, and SlowBody after `within_s` seconds."""
    try:
        with until(asyncio.get_running_loop().time() + within_s):
            return await request.channel.read_body()
    except TimeoutError as exc:
        raise SlowBody("the body did not arrive in time") from exc


def json_object(data: bytes) -> JsonObject:
    """Return the body as a JSON object. Raises BadRequest."""
    if not data:
        raise BadRequest("the body is empty; it must be a JSON object")
    try:
        body = decode_json(data, finite=True, exact=True)
    except orjson.JSONDecodeError as exc:
        raise BadRequest(f"the body is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body
