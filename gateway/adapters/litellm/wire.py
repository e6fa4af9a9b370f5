"""Checks responses in LiteLLM's HTTP transport, before LiteLLM loses what is wrong with them.

LiteLLM and the SDKs below it skip events that they do not understand, accept truncated responses, and lose the status
of an error whose body breaks off. Used in a process of our own only, because it changes LiteLLM's transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from gateway.adapters.base import ERROR_BODY_S, MAX_ERROR_BYTES, MAX_REPLY_BYTES, Event
from gateway.adapters.content_types import EVENTS, JSON, SAYS_NOTHING, content_type, is_plain
from gateway.adapters.litellm.call import OurCall, our_call
from gateway.adapters.litellm.judging import answer_as_events, check_answer, plain_events
from gateway.policy.failures import (
    Kind,
    UpstreamError,
    answer_error,
    choice_error,
    classify,
    error_object,
    failed_by,
)
from gateway.wire import sse
from gateway.wire.http1.decoding import Decoder, Undecodable, decoder_for
from gateway.wire.http1.errors import ReadError
from gateway.wire.json import json_in

EVENTS_AT_ONCE: Final = 64
"""After so many events of one part other tasks run. LiteLLM takes up to 0.2 ms for each."""

_REFUSED: Final = 300
_NO_STATUS: Final = 600
_FRAMES: Final = "application/vnd.amazon.eventstream"
_DONE: Final = sse.encode(sse.DONE)
_STREAM_ASKED: Final = re.compile(rb'(?<!\\)"stream"\s*:\s*true')
_STOP_REASON: Final = re.compile(rb'(?<!\\)"stopReason"\s{0,4}:\s{0,4}"(\w{1,64})"')
"""In a frame of Bedrock's, whose payload is JSON. Texts in it have their quotes escaped."""
_STOP_REASON_BYTES: Final = 96
_BODY_HEADERS: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def watch(module: Any) -> None:
    """Make LiteLLM's transport, in `module`, check the responses to our calls and note what it sees in OurCall."""
    transport: Any = getattr(module, "LiteLLMAiohttpTransport", None)
    if not hasattr(transport, "_get_valid_client_session"):
        return
    handle = transport.handle_async_request

    async def handle_watched(self: Any, request: Any) -> Any:
        ours = our_call()
        if ours is None or not ours.asking:
            return await handle(self, request)
        ours.reused = False
        session = self._get_valid_client_session()
        if _reuse_trace() not in session.trace_configs:
            session.trace_configs.append(_reuse_trace())
        try:
            response = await handle(self, request)
        except Exception as error:
            if ours.reused:
                ours.reused = not _began(error)
                _drop_idle(session, request.url)
            raise
        ours.reused = False
        if not 200 <= response.status_code < _REFUSED:
            return await _with_its_body(response, request)
        coding = decoder_for(response.headers.get("content-encoding", ""))
        if isinstance(coding, Undecodable):
            return response
        for name in _BODY_HEADERS:
            response.headers.pop(name, None)
        source = _decoded(response.stream, coding)
        kind = content_type(response.headers.get("content-type", ""))
        before = b""
        # LiteLLM may ask for a plain answer and make a stream of it.
        asked = ours.streaming and _STREAM_ASKED.search(request.content) is not None
        events = ours.streaming and kind == EVENTS
        is_answer = request.method == "POST"
        if asked and kind in SAYS_NOTHING:
            before = await _judged(source, ours, response.headers, stream=True, is_answer=is_answer)
            events = True
            response.headers["content-type"] = EVENTS
        elif kind == JSON or (not ours.streaming and kind != EVENTS):
            before = await _judged(source, ours, response.headers, stream=False, is_answer=is_answer)
        frames = kind == _FRAMES
        response.stream = _body_class()(source, response.stream, ours, before, events=events, frames=frames)
        return response

    transport.handle_async_request = handle_watched


@functools.cache
def _reuse_trace() -> aiohttp.TraceConfig:
    async def reused(session: object, context: object, params: object) -> None:
        ours = our_call()
        if ours is not None and ours.asking:
            ours.reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(reused)
    trace.freeze()
    return trace


def _drop_idle(session: Any, url: Any) -> None:
    """Close the unused connections to a host, now or once they are free: when one is stale, the others are too."""
    for protocol in getattr(session.connector, "_acquired", ()):
        if isinstance(protocol, ResponseHandler):  # not one that is being set up
            protocol.force_close()
    idle = getattr(session.connector, "_conns", {})
    port = url.port or (443 if url.scheme == "https" else 80)
    for place in [key for key in idle if (key.host, key.port) == (url.host, port)]:
        for connection, _ in idle.pop(place):
            connection.close()


def _began(error: Exception) -> bool:
    """Tell whether part of a response head had arrived when the connection broke, as far as aiohttp says."""
    cause = error.__cause__
    return isinstance(cause, aiohttp.ServerDisconnectedError) and not isinstance(cause.message, str)


async def _with_its_body(response: Any, request: Any) -> Any:
    """Return an error response with its body read; the body is empty if it is broken, too slow or too long."""
    status: int = response.status_code
    if not 400 <= status < _NO_STATUS:  # LiteLLM would report a redirect as a fault of ours
        await response.stream.aclose()
        raise UpstreamError(classify(status) if status >= 400 else Kind.BAD_RESPONSE, status=status)
    httpx = importlib.import_module("httpx")
    raw = b""
    source = _decoded(response.stream, decoder_for(response.headers.get("content-encoding", "")))
    try:
        async with asyncio.timeout(ERROR_BODY_S):
            async for part in source:
                raw += part
                if len(raw) > MAX_ERROR_BYTES:
                    raw = b""
                    break
    except (TimeoutError, UpstreamError, httpx.RequestError, aiohttp.ClientError):
        raw = b""
    with contextlib.suppress(Exception):
        await response.stream.aclose()
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in _BODY_HEADERS]
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(raw), request=request)


async def _decoded(stream: Any, decoder: Decoder | Undecodable | None) -> AsyncIterator[bytes]:
    """Yield a decoded body. Raises UpstreamError when the content coding is broken or ends too early."""
    try:
        async for part in stream:
            if decoder is None:
                yield part
                continue
            yield decoder.decode(part)
            while decoder.pending:
                # A few bytes can decode to a lot: let other tasks run meanwhile.
                await asyncio.sleep(0)
                yield decoder.decode(b"")
        if decoder is not None:
            decoder.finish()
    except ReadError as error:
        raise _broken() from error


async def _judged(
    source: AsyncIterator[bytes], ours: OurCall, headers: Mapping[str, str], *, stream: bool, is_answer: bool
) -> bytes:
    """Return a plain body, or its beginning. Raises UpstreamError when it is no answer.

    `stream`: a stream was requested, so a plain answer is returned as one; events with another content type are passed
    on without waiting for the end. `is_answer`: it answers the call itself, not a download that LiteLLM makes for it.
    An answer that does not say how it ended is refused because LiteLLM would invent that.
    """
    buffer = bytearray()
    has_begun = False
    async for part in source:
        buffer += part
        if stream and not has_begun:
            begun = buffer.removeprefix(sse.BOM).lstrip()
            if begun and not is_plain(begun):
                return bytes(buffer)
            if not begun and len(buffer) > sse.MAX_SILENT_BYTES:
                raise _broken()
            has_begun = bool(begun)
        if len(buffer) > MAX_REPLY_BYTES:
            raise _broken()
    raw = bytes(buffer)
    if stream:
        return _encoded(answer_as_events(raw, ours)) + _DONE
    check_answer(raw, ours, headers, is_answer=is_answer)
    return raw


def _encoded(events: list[Event]) -> bytes:
    return b"".join(event.encoded() for event in events)


@functools.cache
def _body_class() -> type[Any]:
    """Return the class of checked bodies; httpx accepts only subclasses of its own."""
    httpx = importlib.import_module("httpx")
    return type("_WatchedBody", (_Body, httpx.AsyncByteStream), {})


class _Body:
    """The body of a good response on its way to LiteLLM. Raises for the same faults as the relay."""

    def __init__(
        self, source: AsyncIterator[bytes], stream: Any, ours: OurCall, before: bytes, *, events: bool, frames: bool
    ) -> None:
        self._source = source
        self._stream = stream
        self._call = ours
        self._before = before
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
            self._call.broken = error if isinstance(error, UpstreamError) else _broken()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _parts(self) -> AsyncIterator[bytes]:
        if self._before:
            yield self._before
        async for part in self._source:
            yield part

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
            return bytes(sound), _broken(), False
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
                raise (_broken() if said is None else failed_by(said)) from None
        if not data:
            self._silent_bytes = (self._silent_bytes if self._silent_events else 0) + len(event)
            self._silent_events += 1
            if self._silent_events > sse.MAX_SILENT_EVENTS or self._silent_bytes > sse.MAX_SILENT_BYTES:
                raise _broken()
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
            raise _broken()
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
        last = self._judged(rest + b"\n\n") if rest else b""
        # Releases before 1.110 end a truncated body as if it were whole.
        content = getattr(getattr(self._stream, "_aiohttp_response", None), "content", None)
        torn = content.exception() if content is not None else None
        if isinstance(torn, aiohttp.ClientPayloadError | aiohttp.http_exceptions.TransferEncodingError):
            raise _broken() from torn
        return last


def _broken() -> UpstreamError:
    return UpstreamError(Kind.BAD_RESPONSE, status=200)
