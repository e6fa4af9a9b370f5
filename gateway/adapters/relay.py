"""Calls upstreams that speak the OpenAI wire, over HTTP, and hands on the bytes they sent."""

from __future__ import annotations

import asyncio
import base64
import io
import ipaddress
import math
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from gateway import __version__, sse
from gateway.encoding import decode_json, encode_json
from gateway.errors import UpstreamError, classify, error_code, error_object, retry_after_s
from gateway.types import Call, Chunk, ChunkStream, Json, JsonObject, Kind, Operation, Reply, Secret

MAX_REPLY_BYTES: Final = 256 * 1024 * 1024
"""A plain answer that is longer is a `bad_response`."""
MAX_ERROR_BYTES: Final = 64 * 1024
ERROR_BODY_S: Final = 1.0
"""How long the body of an error may take: the status tells the kind without it."""
"""A longer error body is not read: the status alone says what went wrong."""
END_GRACE_S: Final = 0.1
"""How long after `[DONE]` the response may take to end; one that takes longer costs its connection."""

_PATHS: Final[Mapping[Operation, str]] = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_LARGE_BODY_BYTES: Final = 1024 * 1024
_IDLE_CONNECTION_S: Final = 30.0
_MAX_HEADER_BYTES: Final = 32 * 1024
_USER_AGENT: Final = f"routes-gateway/{__version__}"
_FRAMING_HEADERS: Final = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"}
)
"""What the file's `headers` cannot set: they say how this very body is sent."""
_NOT_STREAMS: Final = frozenset({"application/json", "application/problem+json", "text/html"})
_PROXY_REFUSED: Final = 407
_NO_BODY: Final = frozenset({204, 205})


class RelayAdapter:
    """Reaches OpenAI-wire upstreams. Redirects, cookies and the environment's credentials have no part in it."""

    def __init__(self, *, max_reply_bytes: int = MAX_REPLY_BYTES, end_grace_s: float = END_GRACE_S) -> None:
        self._max_reply_bytes = max_reply_bytes
        self._end_grace_s = end_grace_s
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}

    async def prepare(self) -> None:
        """There is nothing to make ready."""

    async def complete(self, call: Call, *, deadline: float) -> Reply:
        """Return the plain answer: any JSON object that came with a good status, in its own bytes too."""
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._open(call, stream=False)
                try:
                    raw = await _read(response, limit=self._max_reply_bytes)
                finally:
                    response.close()
        except TimeoutError:
            raise UpstreamError(Kind.TIMEOUT) from None
        data = _parse(raw)
        if not isinstance(data, dict):
            raise UpstreamError(Kind.BAD_RESPONSE, status=response.status)
        return Reply(data=data, raw=raw, headers=_passed_back(response.headers))

    async def stream(self, call: Call, *, deadline: float) -> ChunkStream:
        """Return the stream once its response headers are there. `deadline` ends here; the caller times the chunks."""
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._open(call, stream=True)
                if response.content_type in _NOT_STREAMS:
                    await _refuse_plain(response)
        except TimeoutError:
            raise UpstreamError(Kind.TIMEOUT) from None
        return ChunkStream(
            chunks=_Events(response, end_grace_s=self._end_grace_s), headers=_passed_back(response.headers)
        )

    async def close(self) -> None:
        """Close all connections."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    async def _open(self, call: Call, *, stream: bool) -> aiohttp.ClientResponse:
        """Send the request; return the response, its body unread, when its status is good."""
        endpoint = call.target.endpoint
        if endpoint.base_url is None:
            raise TypeError(f"{endpoint!r} is relayed and has no base URL")
        route = _route(endpoint.base_url)
        headers = {**route.headers, **_request_headers(call, stream=stream)}
        body = _request_body(call, stream=stream)
        session = await self._session()
        connection = _Connection()
        try:
            response = await session.post(
                route.base_url + _PATHS[call.operation],
                # aiohttp warns about large bytes; a file of them it sends piece by piece.
                data=io.BytesIO(body) if len(body) > _LARGE_BODY_BYTES else body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(connect=call.limits.connect_s, ceil_threshold=math.inf),
                proxy=route.proxy,
                proxy_headers=route.proxy_headers,
                trace_request_ctx=connection,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _no_response(error, connection) from error
        if 200 <= response.status < 300 and response.status not in _NO_BODY:
            return response
        try:
            raise await _refusal(response, endpoint.api_key.read())
        finally:
            response.close()

    async def _session(self) -> aiohttp.ClientSession:
        """Return the running loop's session. A program may run one loop after the other."""
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            for dead in [known for known in self._sessions if known.is_closed()]:
                await self._sessions.pop(dead).close()
            session = self._sessions[loop] = _new_session()
        return session


class _Connection:
    """What is known of the connection that one request went over."""

    reused = False


async def _note_reuse(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = True


def _new_session() -> aiohttp.ClientSession:
    # Without trust_env: it would add credentials of ~/.netrc, and two thread hops, to each call.
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        trace_configs=[trace],
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )


@dataclass(frozen=True, slots=True)
class _Route:
    """How to get to a base URL."""

    base_url: str
    """Without user information."""
    headers: Mapping[str, str]
    """Credentials, from the URL's user information and, in plain HTTP, for the proxy."""
    proxy: URL | None
    proxy_headers: Mapping[str, str] | None
    """Sent with a CONNECT alone."""


@lru_cache(maxsize=1024)
def _route(base_url: str) -> _Route:
    """Read HTTPS_PROXY, HTTP_PROXY and NO_PROXY for a URL, once. Nothing on the loopback goes through a proxy."""
    url = URL(base_url)
    headers = _credentials("authorization", url)
    host = url.host or ""
    named = getproxies().get(url.scheme)
    if named is None or _is_loopback(host) or proxy_bypass(host):
        return _Route(str(url.with_user(None)), headers, None, None)
    proxy = URL(named)
    proxy_headers = _credentials("proxy-authorization", proxy)
    if url.scheme == "http":
        headers |= proxy_headers
    return _Route(str(url.with_user(None)), headers, proxy.with_user(None), proxy_headers)


def _credentials(name: str, url: URL) -> dict[str, str]:
    if url.user is None:
        return {}
    pair = f"{url.user}:{url.password or ''}"
    return {name: f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _request_headers(call: Call, *, stream: bool) -> dict[str, str]:
    """Return the headers, lower case. The file's own win over ours, the key's included, except for the framing."""
    endpoint = call.target.endpoint
    key = endpoint.api_key.read()
    if key is None and endpoint.key_required:
        raise UpstreamError(Kind.AUTH)
    headers = {
        "accept": "text/event-stream" if stream else "application/json",
        "user-agent": _USER_AGENT,
        "accept-encoding": "gzip, deflate",
        "content-type": "application/json",
    }
    if key is not None:
        headers["authorization"] = f"Bearer {key.reveal()}"
    for name, value in endpoint.headers.items():
        if (lower := name.lower()) not in _FRAMING_HEADERS:
            headers[lower] = value
    headers.update(call.headers)
    return headers


def _request_body(call: Call, *, stream: bool) -> bytes:
    """Encode the request. Raises TypeError for what JSON cannot hold; a number that is not finite becomes null."""
    body: JsonObject = {"model": "", **call.params, **call.overrides}
    for name, value in call.overrides.items():
        if value is None:
            del body[name]
    body["model"] = call.target.model
    if stream:
        body["stream"] = True
    return encode_json(body)


def _no_response(error: Exception, connection: _Connection) -> UpstreamError:
    """Name the failure of a call that got no response headers."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamError(Kind.TIMEOUT)
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        return UpstreamError(Kind.BAD_RESPONSE)
    return UpstreamError(Kind.CONNECTION, reused_connection=connection.reused)


async def _refusal(response: aiohttp.ClientResponse, key: Secret | None) -> UpstreamError:
    """Return the failure that a response of no good status stands for. Its body shows no `key`."""
    status = response.status
    if status < 400:
        return UpstreamError(Kind.BAD_RESPONSE, status=status)
    raw: bytes | None = None
    with suppress(UpstreamError, TimeoutError):
        async with asyncio.timeout(ERROR_BODY_S):
            raw = await _read(response, limit=MAX_ERROR_BYTES)
    if raw is not None and key is not None:
        raw = raw.replace(key.reveal().encode(), b"***")
    body = _parse(raw)
    if isinstance(body, list) and len(body) == 1:
        # Google's OpenAI-wire endpoint wraps its errors in a list.
        body = body[0]
        raw = encode_json(body)
    error = error_object(body)
    return UpstreamError(
        Kind.CONNECTION if status == _PROXY_REFUSED else classify(status, body),
        status=status,
        code=error_code(error),
        retry_after_s=retry_after_s(response.headers, now=time.time()),
        body=raw if error is not None else None,
        headers=_passed_back(response.headers),
    )


async def _refuse_plain(response: aiohttp.ClientResponse) -> None:
    """Raise what a plain body means where a stream was asked for: the error it holds, or no answer at all."""
    try:
        raw = await _read(response, limit=MAX_ERROR_BYTES)
    finally:
        response.close()
    body = _parse(raw)
    error = error_object(body)
    if error is None:
        raise UpstreamError(Kind.BAD_RESPONSE, status=response.status)
    raise UpstreamError(
        classify(None, body),
        status=response.status,
        code=error_code(error),
        retry_after_s=retry_after_s(response.headers, now=time.time()),
        body=raw,
        headers=_passed_back(response.headers),
    )


async def _read(response: aiohttp.ClientResponse, *, limit: int) -> bytes:
    """Return a whole body. Raises UpstreamError when it breaks off or is longer than `limit`."""
    parts: list[bytes] = []
    size = 0
    try:
        while part := await response.content.readany():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise UpstreamError(Kind.BAD_RESPONSE, status=response.status)
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamError(Kind.BAD_RESPONSE, status=response.status) from error
    return b"".join(parts)


def _parse(raw: bytes | None) -> Json:
    """Return the JSON value; None for what is none."""
    try:
        return decode_json(raw) if raw else None
    except ValueError:
        return None


def _passed_back(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the response headers that may go back to the client, lower case."""
    lower = ((name.lower(), value) for name, value in headers.items())
    return {
        name: value for name, value in lower if name == "retry-after" or name.startswith(("x-ratelimit-", "openai-"))
    }


class _Events:
    """The chunks of one response. Closes the connection when left early; gives it back when the stream has ended."""

    __slots__ = ("_end_grace_s", "_events", "_over", "_response", "_splitter")

    def __init__(self, response: aiohttp.ClientResponse, *, end_grace_s: float) -> None:
        self._response = response
        self._end_grace_s = end_grace_s
        self._splitter = sse.Splitter()
        self._events: deque[bytes] = deque()
        self._over = False

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Chunk:
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            await self._receive()
        event = self._events.popleft()
        data = sse.event_data(event)
        if not data:
            return Chunk(None, event)
        if data == sse.DONE:
            await self._end()
            raise StopAsyncIteration
        return self._chunk(data, event)

    async def aclose(self) -> None:
        """Close the response, read to its end or not."""
        self._close()

    async def _receive(self) -> None:
        """Take in what has come; at the end of the response the last event too, with a blank line if it had none."""
        received = False
        try:
            data = await self._response.content.readany()
            if data:
                self._events.extend(self._splitter.feed(data))
            else:
                self._over = True
                rest = self._splitter.flush()
                if rest is not None:
                    self._events.append(rest + b"\n\n")
            received = True
        except (aiohttp.ClientError, OSError, sse.EventTooLarge) as error:
            raise UpstreamError(Kind.BAD_RESPONSE, status=self._response.status) from error
        finally:
            if not received:
                self._close()

    async def _end(self) -> None:
        """After `[DONE]`: the response's own end gives the connection back, if it comes soon."""
        try:
            with suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(self._end_grace_s):
                    while await self._response.content.readany():
                        pass
        finally:
            self._close()

    def _chunk(self, data: bytes, event: bytes) -> Chunk:
        value = _parse(data)
        if b"event" in event and sse.event_name(event) == b"error" and error_object(value) is None:
            error = value if isinstance(value, dict) else {"message": data.decode(errors="replace")}
            return Chunk({"error": error})
        if not isinstance(value, dict):
            self._close()
            raise UpstreamError(Kind.BAD_RESPONSE, status=self._response.status)
        return Chunk(value, event)

    def _close(self) -> None:
        self._over = True
        self._events.clear()
        self._response.close()
