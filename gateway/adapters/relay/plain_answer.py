"""Reads a plain answer whose body has not arrived whole: a long one is neither joined nor decoded whole."""

from __future__ import annotations

from typing import Final

from gateway.adapters.base import Call
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.abridge import Abridged
from gateway.wire.http1 import client as http1
from gateway.wire.json import Json, Spliced, json_in

LONG_BYTES: Final = 1024 * 1024
"""A longer answer is shortened and searched for echoes part by part, as it arrives."""


async def read_answer(
    response: http1.Response, call: Call, *, limit: int, begun: bytes = b""
) -> tuple[Json, bytes | Spliced]:
    """Return the answer, decoded, and its bytes; `begun` was read before. `data` is None if it is not JSON.

    Bytes in parts have been searched for echoes, and `data` lacks what is long in them. An answer that may name what
    later requests are bound by is decoded whole. Raises UpstreamError when it breaks off or has over `limit` bytes.
    """
    parts = [begun] if begun else []
    size = len(begun)
    echoes = call.target.endpoint.echoes.search()
    abridged = Abridged()
    taken = 0
    is_kept_whole = call.operation.can_bind
    try:
        while more := await response.read_parts():
            parts += more
            size += sum(map(len, more))
            if size > limit:
                raise UpstreamError(Kind.BAD_RESPONSE, status=response.status)
            if size > LONG_BYTES and not is_kept_whole:
                for arrived in parts[taken:]:
                    is_kept_whole = is_kept_whole or echoes.are_in(arrived)
                    abridged.feed(arrived)
                taken = len(parts)
    except http1.Http1Error as error:
        raise UpstreamError(Kind.BAD_RESPONSE, status=response.status) from error
    finally:
        response.close()
    if taken and not is_kept_whole:
        data = abridged.value()
        if isinstance(data, dict):
            return data, Spliced(parts)
    raw = parts[0] if len(parts) == 1 else b"".join(parts)
    return json_in(raw), raw
