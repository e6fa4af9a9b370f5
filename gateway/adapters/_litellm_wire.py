"""What comes over the wire beneath LiteLLM: looked at where its transport gets it, before LiteLLM can lose it.

LiteLLM and the SDKs under it skip what they do not understand in a stream, take a torn response for a whole one, and
forget the status of an error whose body breaks. Only in a process of our own, because it changes LiteLLM's transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any, Final

import aiohttp

from gateway import sse
from gateway.adapters._litellm_errors import error_inside, error_of
from gateway.errors import UpstreamError, error_object
from gateway.types import Json, Kind

MAX_ERROR_BYTES: Final = 64 * 1024
"""A longer error body is not read: the status alone says what went wrong."""
ERROR_BODY_S: Final = 1.0
"""How long the body of an error may take: the status tells the kind without it."""

_REFUSED: Final = 300
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_BODY_HEADERS: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class Wire:
    """One call's exchange with its upstream."""

    __slots__ = ("broken", "key", "reused", "streaming")

    def __init__(self, *, streaming: bool, key: str | None) -> None:
        self.streaming = streaming
        """A stream was asked for."""
        self.key = key
        """Shows in no error."""
        self.reused = False
        """The connection had served before, and nothing has come back over it yet."""
        self.broken: UpstreamError | None = None
        """What was wrong with the response."""


_wire: Final[ContextVar[Wire | None]] = ContextVar("gateway_litellm_wire", default=None)


@contextlib.contextmanager
def watching(wire: Wire) -> Iterator[None]:
    """Note in `wire` what LiteLLM's transport does in this context."""
    token = _wire.set(wire)
    try:
        yield
    finally:
        _wire.reset(token)


def watch(module: Any) -> None:
    """Make LiteLLM's transport, in its module `aiohttp_transport`, tell what it sees of our calls."""
    transport: Any = getattr(module, "LiteLLMAiohttpTransport", None)
    if not hasattr(transport, "_get_valid_client_session"):
        return
    handle = transport.handle_async_request

    async def handle_watched(self: Any, request: Any) -> Any:
        wire = _wire.get()
        if wire is None:
            return await handle(self, request)
        wire.reused = False
        session = self._get_valid_client_session()
        if _reuse_trace() not in session.trace_configs:
            session.trace_configs.append(_reuse_trace())
        try:
            response = await handle(self, request)
        except Exception as error:
            if wire.reused:
                wire.reused = not _began(error)
                _drop_idle(session, request.url)
            raise
        wire.reused = False
        if response.status_code >= _REFUSED:
            return await _with_its_body(response, request)
        source = aiter(response.stream)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        before = await _past_an_error(source, response.headers, wire) if wire.streaming and kind == _JSON else b""
        events = wire.streaming and kind == _EVENTS and "content-encoding" not in response.headers
        response.stream = _body_class()(source, response.stream, wire, before, events=events)
        return response

    transport.handle_async_request = handle_watched


@functools.cache
def _reuse_trace() -> aiohttp.TraceConfig:
    async def reused(session: object, context: object, params: object) -> None:
        wire = _wire.get()
        if wire is not None:
            wire.reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(reused)
    trace.freeze()
    return trace


def _drop_idle(session: Any, url: Any) -> None:
    """Close the unused connections to a host: where one had gone stale, so have the others."""
    idle = getattr(session.connector, "_conns", {})
    port = url.port or (443 if url.scheme == "https" else 80)
    for place in [key for key in idle if (key.host, key.port) == (url.host, port)]:
        for connection, _ in idle.pop(place):
            connection.close()


def _began(error: Exception) -> bool:
    """Tell whether the head of a response had begun to come when the connection broke, as far as aiohttp says."""
    cause = error.__cause__
    return isinstance(cause, aiohttp.ServerDisconnectedError) and not isinstance(cause.message, str)


async def _with_its_body(response: Any, request: Any) -> Any:
    """Return a refusal with its body read, or without one where that is broken, too slow or too long."""
    httpx = importlib.import_module("httpx")
    raw, body = b"", b""
    with contextlib.suppress(TimeoutError, httpx.RequestError, aiohttp.ClientError):
        async with asyncio.timeout(ERROR_BODY_S):
            async for part in response.stream:
                raw += part
                if len(raw) > MAX_ERROR_BYTES:
                    break
            else:
                body = httpx.Response(200, headers=response.headers, content=raw).content
    with contextlib.suppress(Exception):
        await response.stream.aclose()
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in _BODY_HEADERS]
    return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(body), request=request)


async def _past_an_error(source: AsyncIterator[bytes], headers: Any, wire: Wire) -> bytes:
    """Return the beginning of a JSON body that came where a stream was asked for. Raises the error that it is.

    Events that call themselves JSON are not waited for.
    """
    raw = b""
    async for part in source:
        raw += part
        if len(raw) > MAX_ERROR_BYTES or ("content-encoding" not in headers and raw.lstrip()[:1] not in (b"", b"{")):
            return raw
    httpx = importlib.import_module("httpx")
    with contextlib.suppress(httpx.DecodingError):
        error = error_inside(httpx.Response(200, headers=headers, content=raw), key=wire.key)
        if error is not None:
            raise error
    return raw


@functools.cache
def _body_class() -> type[Any]:
    """Return the class of watched bodies; httpx takes only what is derived from its own."""
    httpx = importlib.import_module("httpx")
    return type("_WatchedBody", (_Body, httpx.AsyncByteStream), {})


class _Body:
    """The body of a good response on its way to LiteLLM. Breaks where the relay would."""

    def __init__(self, source: AsyncIterator[bytes], stream: Any, wire: Wire, before: bytes, *, events: bool) -> None:
        self._source = source
        self._stream = stream
        self._wire = wire
        self._before = before
        self._splitter = sse.Splitter() if events else None
        self._done = False
        """`[DONE]` has come: whatever follows does not count."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._before:
            yield self._before
        try:
            async for part in self._source:
                self._look(part)
                yield part
            self._finish()
        except Exception as error:
            if self._done:
                return
            self._wire.broken = error if isinstance(error, UpstreamError) else _broken()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _look(self, part: bytes) -> None:
        if self._splitter is None or self._done:
            return
        try:
            events = self._splitter.feed(part)
        except sse.EventTooLarge as error:
            raise _broken() from error
        for event in events:
            self._judge(event)
            if self._done:
                return

    def _judge(self, event: bytes) -> None:
        """Raise what LiteLLM would not see: an error by the event's name, and what stands outside of events."""
        try:
            data = sse.event_data(event)
        except sse.StrayText as stray:
            said = error_object(_json(stray.text))
            raise (_broken() if said is None else error_of(said, key=self._wire.key)) from None
        if data and b"error" in event and sse.event_name(event) == b"error":
            value = _json(data)
            said = error_object(value) or (
                value if isinstance(value, dict) else {"message": data.decode(errors="replace")}
            )
            raise error_of(said, key=self._wire.key)
        self._done = data == sse.DONE

    def _finish(self) -> None:
        """Raise what only the end of the response tells."""
        if self._done:
            return
        rest = self._splitter.flush() if self._splitter is not None else None
        if rest:
            self._judge(rest)
        # Releases before 1.110 end a torn body as if it were whole.
        content = getattr(getattr(self._stream, "_aiohttp_response", None), "content", None)
        torn = content.exception() if content is not None else None
        if isinstance(torn, aiohttp.ClientPayloadError | aiohttp.http_exceptions.TransferEncodingError):
            raise _broken() from torn


def _broken() -> UpstreamError:
    return UpstreamError(Kind.BAD_RESPONSE, status=200)


def _json(text: bytes) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
