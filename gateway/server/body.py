"""Reads and decodes request bodies, and bounds how many bytes of them are held."""

from __future__ import annotations

import asyncio
import mmap
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Final, TypeAlias, TypeVar

import orjson

from gateway.concurrency.deadlines import until
from gateway.engine.pipeline import name_too_long
from gateway.errors import BadRequest, BodyTooLarge, GatewayError
from gateway.policy.params import FORBIDDEN_PARAMS
from gateway.server.request import Request
from gateway.wire.json import JsonObject, RawJson, decode_json
from gateway.wire.multipart import Form, NotForm, read_form
from gateway.wire.top_level import NotJson, read_top_level
from gateway.words import shown_size

_T = TypeVar("_T")

UNCOUNTED_BYTES: Final = 64 * 1024
"""Bodies up to this size are not counted as in flight and never refused: a connection may hold as much anyway."""
LARGE_BYTES: Final = 1024 * 1024
"""A larger body is read by its top level, and may not use the last quarter of the bytes in flight."""
SLICE_S: Final = 0.001
"""Seconds that reading a large body keeps the event loop at a time, for all large bodies together."""
Body: TypeAlias = bytes | mmap.mmap

MAX_IN_FLIGHT_BYTES: Final = 256 * 1024 * 1024
MAX_PARSED_BYTES: Final = 4 * 1024 * 1024

_SWITCH: Final = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
_NO_FILES: Final = FORBIDDEN_PARAMS | {"model", "stream"}
"""Parts of a form that some upstream might read although they are files."""


class SlowBody(BadRequest):
    """The client did not send its body in time."""

    status = 408
    code = "body_timeout"


class RequestTooLarge(BodyTooLarge):
    """The body is larger than --max-body."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is larger than {shown_size(limit_bytes)}, this gateway's --max-body")


class TooManyBodies(GatewayError):
    """The bodies of the requests in flight have more bytes than the server may hold."""

    status = 503
    code = "too_many_bodies"

    def __init__(self) -> None:
        super().__init__("too many bytes of requests are in flight: this gateway's --max-body-in-flight is reached")
        self.retry_after_s = 1.0


class UnknownCoding(BadRequest):
    """The body has a content coding that is not decoded."""

    status = 415
    code = "unsupported_content_encoding"

    def __init__(self) -> None:
        super().__init__("the body's content-encoding is not known: send it as it is, or with gzip or deflate")
        self.headers = {"accept-encoding": "gzip, deflate"}  # RFC 9110, 15.5.16


class ExpectationFailed(BadRequest):
    """The request has an `Expect` header other than `100-continue`."""

    status = 417
    code = "expectation_failed"


class BodiesInFlight:
    """Counts the bytes of request bodies that are held, from before they are read until their answer ends."""

    def __init__(self, max_bytes: int = MAX_IN_FLIGHT_BYTES) -> None:
        self._max_bytes = max_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int, *, of_bytes: int | None = None) -> bool:
        """Count `size_bytes` of a body of `of_bytes` (else: all of it) and return True; False if there is no room.

        A body that is the only one is always taken, so that each within --max-body is served.
        """
        others_bytes = self.held_bytes - (0 if of_bytes is None else of_bytes - size_bytes)
        is_large = (size_bytes if of_bytes is None else of_bytes) > LARGE_BYTES
        room_bytes = self._max_bytes - self._max_bytes // 4 if is_large else self._max_bytes
        if others_bytes and self.held_bytes + size_bytes > room_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Count these bytes no more."""
        self.held_bytes -= size_bytes


class LargeBody:
    """Takes a body over LARGE_BYTES as it arrives. Joining its parts at the end would stop the event loop."""

    __slots__ = ("_end", "data")

    def __init__(self, size_bytes: int) -> None:
        # Not a bytearray, which is written to when it is made: here, memory is taken as it is filled.
        if sys.platform == "win32":
            self.data = mmap.mmap(-1, size_bytes)
        else:
            self.data = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux; filling 10 MB of small pages takes longer than reading the body
            with suppress(OSError):  # a kernel without them
                self.data.madvise(mmap.MADV_HUGEPAGE)
        self._end = 0

    def append(self, part: bytes) -> None:
        """Add the next bytes."""
        start, self._end = self._end, self._end + len(part)
        self.data[start : self._end] = part

    def rest(self) -> memoryview:
        """Return the place of the bytes that are missing."""
        return memoryview(self.data)[self._end :]


Parts: TypeAlias = list[bytes] | LargeBody
"""What has arrived of a body."""


def parts_of(size_bytes: int) -> Parts:
    """Return the place for the parts of a body of this size."""
    return LargeBody(size_bytes) if size_bytes > LARGE_BYTES else []


def whole(parts: Parts) -> Body:
    """Return a body all of whose parts have arrived."""
    return parts.data if isinstance(parts, LargeBody) else b"".join(parts)


async def joined(parts: Parts) -> Body:
    """Return a body whose size may not have been known, in steps that let the event loop run. Empties `parts`."""
    if isinstance(parts, LargeBody):
        return parts.data
    place = parts_of(sum(map(len, parts)))
    if not isinstance(place, LargeBody):
        return b"".join(parts)
    parts.reverse()
    while parts:
        place.append(parts.pop())
        await asyncio.sleep(0)
    return place.data


class LargeBodies:
    """Reads bodies over LARGE_BYTES by their top level, one slice after the other, whichever body it is of."""

    def __init__(self, max_parsed_bytes: int = MAX_PARSED_BYTES) -> None:
        """`max_parsed_bytes` bounds what hooks and translations may have decoded of a body."""
        self._max_parsed_bytes = max_parsed_bytes
        self._turn = asyncio.Lock()

    async def json_object(self, data: Body) -> JsonObject:
        """Return the body as a JSON object whose long values are RawJson. Raises BadRequest and UnknownModel."""
        try:
            body = await self._read(read_top_level(data, max_parsed_bytes=self._max_parsed_bytes))
        except NotJson as exc:
            raise BadRequest(str(exc)) from None
        model = body.get("model")
        if type(model) is RawJson and model.is_text:
            raise name_too_long()
        return body

    async def form(self, data: Body, content_type: str) -> tuple[Form, JsonObject]:
        """Return the body as a multipart form, and its texts as the fields of a request. Raises BadRequest."""
        try:
            form = await self._read(read_form(data, content_type))
        except NotForm as exc:
            raise BadRequest(str(exc)) from None
        if found := sorted(form.file_names & _NO_FILES):
            raise BadRequest(f"the form's part {found[0]} must be a text, and it is a file", param=found[0])
        body = dict(form.fields)
        if isinstance(body.get("model"), list):
            raise BadRequest("the form's field model must come once", param="model")
        if "stream" in body:
            is_on = _SWITCH.get(body["stream"]) if isinstance(body["stream"], str) else None
            if is_on is None:
                raise BadRequest("the form's field stream must be true or false, and come once", param="stream")
            body["stream"] = is_on
        return form, body

    async def _read(self, steps: Generator[None, None, _T]) -> _T:
        """Return what the steps end with."""
        while True:
            async with self._turn:  # fair: the next slice is of the body that waits longest
                end_s = time.perf_counter() + SLICE_S
                try:
                    while time.perf_counter() < end_s:
                        next(steps)
                except StopIteration as end:
                    found: _T = end.value
                    return found
                await asyncio.sleep(0)


async def read_body(request: Request, within_s: float) -> Body:
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
