"""Carries the requests of LiteLLM's call functions over our own HTTP client, and checks the responses.

LiteLLM and the SDKs below it skip events that they do not understand, accept truncated responses, and lose the status
of an error whose body breaks off. So in a process of our own the one method of LiteLLM's transport that sends is
replaced: what `carrying` does for LiteLLM's classes is done for our calls beneath its functions, which embeddings need,
and chat of providers without such classes.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import re
from collections.abc import AsyncIterator
from typing import Any, Final

from gateway.adapters.base import MAX_REPLY_BYTES
from gateway.adapters.content_types import EVENTS, JSON, SAYS_NOTHING, content_type, is_plain
from gateway.adapters.events import Event
from gateway.adapters.hosts import place_of, refuse_other_hosts
from gateway.adapters.litellm.call import OurCall, our_call
from gateway.adapters.litellm.carrying import SET_BY_US, UNTRUE, refusal_of
from gateway.adapters.litellm.judging import answer_as_events, check_answer, plain_events
from gateway.adapters.litellm.sending import refuse_if_carried
from gateway.adapters.litellm.sources import FRAMES
from gateway.adapters.routes import Clients, route_to
from gateway.adapters.upstream_response import beginning, error_body, is_good, no_response, read_body
from gateway.policy.failures import UpstreamError, answer_error, choice_error, error_object, failed_by, no_answer
from gateway.wire import sse
from gateway.wire.http1 import client as http1
from gateway.wire.json import json_in

EVENTS_AT_ONCE: Final = 64
"""After so many events of one part other tasks run. LiteLLM takes up to 0.2 ms for each."""

_REFUSED: Final = 400
_DONE: Final = sse.encode(sse.DONE)
_STREAM_ASKED: Final = re.compile(rb'(?<!\\)"stream"\s*:\s*true')
_STOP_REASON: Final = re.compile(rb'(?<!\\)"stopReason"\s{0,4}:\s{0,4}"(\w{1,64})"')
"""In a frame of Bedrock's, whose payload is JSON. Texts in it have their quotes escaped."""
_STOP_REASON_BYTES: Final = 96


def carry(module: Any) -> None:
    """Make LiteLLM's transport, in `module`, send our calls by our own HTTP client and note what it sees in OurCall."""
    transport: Any = getattr(module, "LiteLLMAiohttpTransport", None)
    if transport is None:
        return
    handle = transport.handle_async_request

    async def handle_carried(self: Any, request: Any) -> Any:
        ours = our_call()
        if ours is None or ours.clients is None or not ours.asking:
            return await handle(self, request)
        refuse_if_carried(ours)
        return await _carried(request, ours, ours.clients)

    transport.handle_async_request = handle_carried


async def _carried(request: Any, ours: OurCall, clients: Clients) -> Any:
    """Send one of httpx's requests; return its response. Raises UpstreamError for one that is no answer."""
    body: bytes = await request.aread()
    response = await _sent(request, body, ours, clients)
    is_answer = request.method == "POST"
    if not is_good(response.status):
        if is_answer or response.status < _REFUSED:
            raise await refusal_of(response)
        return _whole(response, await error_body(response) or b"")
    kind = content_type(response.headers.get("content-type", ""))
    # LiteLLM may ask for a plain answer and make a stream of it.
    asked = ours.streaming and _STREAM_ASKED.search(body) is not None
    events = ours.streaming and kind == EVENTS
    begun = b""
    if asked and kind in SAYS_NOTHING:
        events = True
        begun = await beginning(response)
        if not begun or is_plain(begun):
            raw = begun + await read_body(response, limit=MAX_REPLY_BYTES)
            begun = _encoded(answer_as_events(raw, ours)) + _DONE
    elif kind == JSON or (not ours.streaming and kind != EVENTS):
        raw = await read_body(response, limit=MAX_REPLY_BYTES)
        check_answer(raw, ours, response.headers, is_answer=is_answer)
        return _whole(response, raw)
    stream = _body_class()(response, ours, begun, events=events, frames=kind == FRAMES)
    return _httpx().Response(response.status, headers=_headers(response, events=events), stream=stream)


async def _sent(request: Any, body: bytes, ours: OurCall, clients: Clients) -> http1.Response:
    """Send the request; return the response, body unread."""
    route = route_to(str(request.url), exact=True)
    if ours.endpoint is not None:
        refuse_other_hosts(ours.endpoint, place_of(route.url), method=request.method)
    left_out = SET_BY_US | ours.unsent
    own = {name: value for name, value in request.headers.items() if name not in left_out}
    fields = {"accept-encoding": "gzip, deflate", **route.headers, **own}
    head = http1.request_head(request.method, route.target(""), fields)
    try:
        return await clients.current().request(route.origin, head, body, connect_s=ours.connect_s)
    except http1.Http1Error as error:
        raise no_response(error) from error


def _whole(response: http1.Response, raw: bytes) -> Any:
    return _httpx().Response(response.status, headers=_headers(response), stream=_httpx().ByteStream(raw))


def _headers(response: http1.Response, *, events: bool = False) -> dict[str, str]:
    """Return the headers that describe the decoded body."""
    kept = {name: value for name, value in response.headers.items() if name not in UNTRUE and name != "location"}
    return {**kept, "content-type": EVENTS} if events else kept


@functools.cache
def _httpx() -> Any:
    return importlib.import_module("httpx")


def _encoded(events: list[Event]) -> bytes:
    return b"".join(event.encoded() for event in events)


@functools.cache
def _body_class() -> type[Any]:
    """Return the class of checked bodies; httpx accepts only subclasses of its own."""
    return type("_CheckedBody", (_Body, _httpx().AsyncByteStream), {})


class _Body:
    """The body of a good response on its way to LiteLLM. Raises for the same faults as the relay."""

    def __init__(self, response: http1.Response, ours: OurCall, begun: bytes, *, events: bool, frames: bool) -> None:
        """`begun` was read of it already; if that is all there is, the response is closed."""
        self._response = response
        self._call = ours
        self._before = begun
        self._splitter = sse.Splitter() if events else None
        self._silent_events = 0
        """Number of events without data since the last one with data."""
        self._silent_bytes = 0
        self._tail = b"" if frames else None
        """The end of the last part of Bedrock's frames; None for other bodies."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            first = self._splitter is not None
            async for part in self._parts():
                if self._splitter is not None:
                    self._splitter.feed(part)
                is_more = True
                while is_more:
                    sound, error, is_more = self._look(part)
                    # LiteLLM loses an event that follows a byte order mark.
                    yield sound.removeprefix(sse.BOM) if first else sound
                    if error is not None:
                        raise error  # noqa: TRY301 - handled below like any other
                    first = first and not sound
                    if is_more:
                        await asyncio.sleep(0)
            yield self._finish()
        except Exception as error:
            if self._call.done:
                return
            self._call.broken = error if isinstance(error, UpstreamError) else no_answer()
            raise

    async def aclose(self) -> None:
        """Close the response, read to its end or not."""
        self._response.close()

    async def _parts(self) -> AsyncIterator[bytes]:
        if self._before:
            yield self._before
            if self._before.endswith(_DONE):
                return  # a plain answer, which was read whole
        try:
            while part := await self._response.readany():
                yield part
        except http1.Http1Error as error:
            raise no_answer() from error

    def _look(self, part: bytes) -> tuple[bytes, UpstreamError | None, bool]:
        """Return the valid events that `part` completes, the fault of the next one if any, and whether more come.

        `part` is fed to the splitter already. Events without data are left out: the SDKs below LiteLLM would parse it
        as JSON.
        """
        if self._tail is not None:
            said = _STOP_REASON.search(self._tail + part)
            self._tail = part[-_STOP_REASON_BYTES:]
            failed = choice_error({"stopReason": said[1].decode()}) if said else None
            return (part, None, False) if failed is None else (b"", failed_by(failed), False)
        if self._splitter is None:
            return part, None, False
        sound = bytearray()
        try:
            count = 0
            while (event := self._splitter.cut()) is not None:
                sound += event if self._call.done else self._judged(event)
                count += 1
                if count >= EVENTS_AT_ONCE:
                    return bytes(sound), None, True
        except UpstreamError as error:
            return bytes(sound), error, False
        except sse.EventTooLarge:
            return bytes(sound), no_answer(), False
        return bytes(sound), None, False

    def _judged(self, event: bytes) -> bytes:
        """Return an event, or nothing if it has no data. Raises UpstreamError for errors that LiteLLM would miss."""
        try:
            data = sse.event_data(event)
        except sse.StrayText as stray:
            data = stray.text
            value = json_in(data)
            answer = None if self._call.begun else plain_events(value, self._call)
            if answer is not None:
                return self._judged(_encoded(answer))
            if not sse.is_done(data):
                said = error_object(value)
                raise (no_answer() if said is None else failed_by(said)) from None
        if not data:
            self._silent_bytes = (self._silent_bytes if self._silent_events else 0) + len(event)
            self._silent_events += 1
            if self._silent_events > sse.MAX_SILENT_EVENTS or self._silent_bytes > sse.MAX_SILENT_BYTES:
                raise no_answer()
            return b""
        self._silent_events = 0
        if sse.is_done(data):
            self._call.done = True
            return _DONE
        value = json_in(data)
        if b"error" in event and sse.event_name(event) == b"error":
            said = error_object(value) or value
            words = data.decode(errors="replace")
            raise failed_by(said if isinstance(said, dict) else {"message": words})
        if not isinstance(value, dict):
            raise no_answer()
        failed = answer_error(value)
        if failed is not None:
            raise failed_by(error_object(value) or failed)
        self._call.note(value)
        return event

    def _finish(self) -> bytes:
        """Return the last event if it had no blank line. Raises UpstreamError when the response is truncated."""
        if self._call.done:
            return b""
        rest = self._splitter.flush() if self._splitter is not None else None
        return self._judged(rest + b"\n\n") if rest else b""
