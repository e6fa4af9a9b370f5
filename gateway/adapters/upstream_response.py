"""What the head and the body of an upstream's response tell, for every adapter that uses our own HTTP client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Final

from gateway.adapters.base import ERROR_BODY_S, MAX_ERROR_BYTES, passed_back
from gateway.policy.failures import (
    PAUSING,
    Kind,
    UpstreamError,
    classify,
    client_code,
    envelope,
    error_code,
    error_object,
    refusal,
    retry_after_s,
    told_headers,
)
from gateway.wire import sse
from gateway.wire.http1 import client as http1
from gateway.wire.json import EMPTY, Json, JsonObject, encode_json, json_in
from gateway.wire.local_faults import is_exhaustion

_PROXY_REFUSED: Final = 407
_GOOD: Final = frozenset(range(200, 300)) - {204, 205}
"""Statuses of an answer: these two have no body."""


def no_response(error: http1.Http1Error) -> UpstreamError:
    """Return the failure of a call that got no response headers."""
    match error:
        case http1.ConnectTimeout():
            return UpstreamError(Kind.TIMEOUT, limit="connect_s")
        case http1.ProtocolError():
            return UpstreamError(Kind.BAD_RESPONSE)
        case http1.Disconnected():
            return UpstreamError(Kind.CONNECTION, reused_connection=error.reused)
        case _:
            return UpstreamError(Kind.CONNECTION, counts=not is_exhaustion(error))


def is_good(status: int) -> bool:
    return status in _GOOD


async def beginning(response: http1.Response) -> bytes:
    """Return the beginning of a body, from its first byte that is no blank; empty for a body of blanks.

    Raises UpstreamError for more than MAX_SILENT_BYTES of them.
    """
    begun = b""
    size = 0
    complete = False
    try:
        while not begun and (part := await response.readany()):
            begun = part.removeprefix(sse.BOM).lstrip()
            size += len(part)
            if not begun and size > sse.MAX_SILENT_BYTES:
                raise UpstreamError(Kind.BAD_RESPONSE, status=response.status)
        complete = True
    except http1.Http1Error as error:
        raise UpstreamError(Kind.BAD_RESPONSE, status=response.status) from error
    finally:
        if not complete:
            response.close()
    return begun


def plain_refusal(response: http1.Response, raw: bytes, body: Json) -> UpstreamError:
    """Return the failure for a plain body instead of a stream: the error in it, else `bad_response`."""
    error = error_object(body)
    if error is None:
        return UpstreamError(Kind.BAD_RESPONSE, status=response.status)
    kind = classify(None, body)
    return _told(response, kind, error, _passed_body(body, raw, error, kind))


def _told(response: http1.Response, kind: Kind, error: JsonObject, body: bytes | None) -> UpstreamError:
    """Return the failure that an upstream told by its error object. `body` is for the client."""
    now = time.time()
    wait_s = retry_after_s(response.headers, now=now, status=response.status, error=error)
    return UpstreamError(
        kind,
        status=response.status,
        code=error_code(error),
        retry_after_s=wait_s,
        body=body,
        headers=told_headers(headers_back(response.headers), wait_s if kind in PAUSING else None, now=now),
    )


def _passed_body(body: Json, raw: bytes, error: JsonObject, kind: Kind) -> bytes:
    """Return what the client gets of an error body: the same bytes if they are OpenAI's envelope with OpenAI's code."""
    if isinstance(body, list) and len(body) == 1:
        # Google's OpenAI-wire endpoint wraps its errors in a list.
        body = body[0]
        raw = encode_json(body)
    said = body.get("error") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(said, dict) or not isinstance(said.get("message"), str):
        return envelope(error, kind)
    code = client_code(kind, error)
    return raw if said.get("code") == code else encode_json({**body, "error": {**said, "code": code}})


async def read_body(response: http1.Response, *, limit: int) -> bytes:
    """Return the whole body. Raises UpstreamError when it breaks off or has more than `limit` bytes."""
    try:
        return await response.read(limit)
    except http1.Http1Error as error:
        raise UpstreamError(Kind.BAD_RESPONSE, status=response.status) from error
    finally:
        response.close()


def headers_back(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the response headers that may go back to the client."""
    names = _passing_back(tuple(headers))
    return {name: headers[name] for name in names} if names else EMPTY


@lru_cache(maxsize=128)
def _passing_back(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(filter(passed_back, names))


async def error_body(response: http1.Response) -> bytes | None:
    """Return the body of an error response, and close it; None for one that is broken, too slow or too long."""
    with suppress(UpstreamError, TimeoutError):
        async with asyncio.timeout(ERROR_BODY_S):
            return await read_body(response, limit=MAX_ERROR_BYTES)
    return None


def refused(
    response: http1.Response, raw: bytes | None, *, reworded: Callable[[JsonObject], JsonObject] | None = None
) -> UpstreamError:
    """Return the failure for a response with an error status and this body.

    `reworded` puts an error object into words for OpenAI's envelope, which the client then gets instead of the body.
    """
    status, body = response.status, json_in(raw)
    error = refusal(body, (raw or b"").decode("utf-8", "replace"), status)
    kind = Kind.CONNECTION if status == _PROXY_REFUSED else classify(status, {"error": error})
    if reworded is not None:
        error = reworded(error)
        return _told(response, kind, error, envelope(error, kind))
    return _told(response, kind, error, None if raw is None else _passed_body(body, raw, error, kind))
