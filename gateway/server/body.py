"""Reading a request's body within its bounds."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import HttpVersion11, web

from gateway.concurrency.deadlines import until
from gateway.errors import BadRequest
from gateway.server.connection import FastRequest
from gateway.server.exchange import AnyRequest
from gateway.wire.json import JsonObject, decode_json


class SlowBody(BadRequest):
    """The client did not send its body in time."""

    status = 408
    code = "body_timeout"


class BodyTooLarge(BadRequest):
    """The body is larger than the server's limit."""

    status = 413
    code = "body_too_large"

    def __init__(self) -> None:
        super().__init__("the body is larger than this gateway takes")


class ExpectationFailed(BadRequest):
    """The client wants something of the server that it does not know."""

    status = 417
    code = "expectation_failed"


def _object(data: bytes) -> JsonObject:
    """Return the JSON object that a body holds. Raises BadRequest."""
    if not data:
        raise BadRequest("the body is empty; it must be a JSON object")
    try:
        body = decode_json(data, finite=True, exact=True)
    except orjson.JSONDecodeError as exc:
        raise BadRequest(f"the body is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


async def _read(request: AnyRequest, within_s: float) -> bytes:
    """Return the body once it is whole. Raises BadRequest, and BodyTooLarge beyond the limit."""
    try:
        if isinstance(request, FastRequest):
            with until(asyncio.get_running_loop().time() + within_s):
                return await request.read()
        content = request.content
        if content.is_eof():
            data = content.read_nowait()  # all of it is here
            if len(data) > request.client_max_size:
                raise BodyTooLarge
            return data
        if (request.content_length or 0) > request.client_max_size:
            raise BodyTooLarge
        _ask_for_body(request)
        with until(asyncio.get_running_loop().time() + within_s):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as exc:
        raise BodyTooLarge from exc
    except TimeoutError as exc:
        raise SlowBody("the body did not arrive in time") from exc
    except web.RequestPayloadError as exc:
        raise BadRequest("the body does not arrive as its headers say") from exc


def _ask_for_body(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body (RFC 9110, 10.1.1). Raises ExpectationFailed."""
    expects = request.headers.get("Expect")
    if expects is None or request.version < HttpVersion11:
        return
    if expects.lower() != "100-continue":
        raise ExpectationFailed(f"the expectation {expects[:40]!r} is not known; 100-continue is")
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
