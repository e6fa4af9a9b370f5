"""Calls upstreams in the wires that they speak themselves, over HTTP, and hands on the bytes they sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping
from typing import Final

from yarl import URL

from gateway._version import __version__
from gateway.adapters.anthropic.thinking import may_have_ours, without_our_thinking
from gateway.adapters.base import (
    MAX_ERROR_BYTES,
    MAX_REPLY_BYTES,
    Call,
    NotSupported,
    PathMissing,
    Reply,
    plain_answer,
    whole,
)
from gateway.adapters.content_types import EVENTS, JSON, JSON_TYPES, SAYS_NOTHING, content_type, is_plain
from gateway.adapters.events import Event, GeneratedStream, Stream
from gateway.adapters.gemini.errors import openai_error
from gateway.adapters.gemini.signatures import may_be_signed, without_signatures
from gateway.adapters.hosts import place_of, refuse_other_hosts
from gateway.adapters.relay.byte_stream import ByteStream
from gateway.adapters.relay.events import RelayedStream
from gateway.adapters.relay.plain_answer import read_answer
from gateway.adapters.relay.vendors import ANTHROPIC_VERSION, is_sure_to_have, key_header, overrides_for, own_path
from gateway.adapters.routes import Clients, route_to
from gateway.adapters.upstream_response import (
    beginning,
    error_body,
    headers_back,
    is_good,
    no_response,
    plain_refusal,
    read_body,
    refused,
)
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.failures.missing_path import is_missing_in, is_missing_path
from gateway.policy.keys import Secret
from gateway.policy.params import merged
from gateway.policy.target import FRAMING_HEADERS, Endpoint
from gateway.wire.http1 import client as http1
from gateway.wire.json import Json, Spliced, encode_body, encode_json, json_in
from gateway.wire.multipart import NotForm

END_GRACE_S: Final = 0.1
"""Seconds after `[DONE]` within which the response must end, else its connection is closed."""

_USER_AGENT: Final = f"routes-gateway/{__version__}"
_MAX_HEADS: Final = 256
_BYTES: Final = "application/octet-stream"
_KEPT: Final = frozenset({"stream"})
"""A form's field that is sent as it came. JSON's is written anew."""
_MAY_BE_JSON: Final = JSON_TYPES | {"", "text/plain"}


class RelayAdapter:
    """Calls upstreams in the client's own wire, without redirects, cookies or credentials from the environment."""

    def __init__(self, *, max_reply_bytes: int = MAX_REPLY_BYTES, end_grace_s: float = END_GRACE_S) -> None:
        self._max_reply_bytes = max_reply_bytes
        self._end_grace_s = end_grace_s
        self._clients = Clients()
        self._client = self._clients.current
        self._heads: dict[tuple[int, bool, str, str], _Head] = {}

    async def prepare(self) -> None:
        """Do nothing."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer: any JSON object with a good status. `raw` has its bytes."""
        try:
            response = await self._send(call, stream=False)
        except http1.Http1Error as error:
            raise no_response(error) from error
        if not is_good(response.status):
            raise await _refusal(response, call)
        if call.operation.byte_types:
            return await self._by_content_type(response, call)
        raw = response.whole(self._max_reply_bytes)
        if raw is None:
            return self._reply(*await read_answer(response, call, limit=self._max_reply_bytes), response, call)
        return self._reply(json_in(raw), raw, response, call)

    def _reply(self, data: Json, raw: bytes | Spliced, response: http1.Response, call: Call) -> Reply:
        """Return a body as a plain answer. Raises UpstreamError unless it is a JSON object, or PathMissing."""
        if not isinstance(data, dict):
            raise UpstreamError(Kind.BAD_RESPONSE, status=response.status)
        if "error" in data and is_missing_in(data) and _may_lack(call):
            raise PathMissing(response.status)
        return Reply(data, raw, headers_back(response.headers))

    async def _by_content_type(self, response: http1.Response, call: Call) -> Reply:
        """Return the answer to a request whose answers may be bytes or events too."""
        said = response.headers.get("content-type", "")
        kind = content_type(said)
        begun = b""
        is_whole = False
        if kind in _MAY_BE_JSON:
            try:
                begun = await response.readany()
            except http1.Http1Error as error:
                raise UpstreamError(Kind.BAD_RESPONSE, status=response.status) from error
        if kind in JSON_TYPES or begun.startswith(b"{"):
            data, raw = await read_answer(response, call, limit=self._max_reply_bytes, begun=begun)
            is_whole = True
            if kind in JSON_TYPES or isinstance(data, dict):
                return self._reply(data, raw, response, call)
            begun = bytes(raw)
        if kind == EVENTS:
            return Reply({}, body=self._events(response, call))
        if kind and not kind.startswith(call.operation.byte_types):
            response.close()
            raise UpstreamError(Kind.BAD_RESPONSE, status=response.status)
        return Reply({}, body=_bytes(response, said or _BYTES, call, begun, is_whole=is_whole))

    async def stream(self, call: Call) -> Stream:
        """Return the stream once its response headers are there."""
        try:
            response = await self._send(call, stream=True)
        except http1.Http1Error as error:
            raise no_response(error) from error
        if not is_good(response.status):
            raise await _refusal(response, call)
        begun = b""
        said = response.headers.get("content-type", "")
        kind = content_type(said)
        if kind in SAYS_NOTHING:
            begun = await beginning(response)
            if not begun or is_plain(begun):
                return await self._plain(response, begun, call)
        elif call.operation.byte_types and kind.startswith(call.operation.byte_types):
            return _bytes(response, said, call)
        return self._events(response, call, begun=begun)

    def _events(self, response: http1.Response, call: Call, *, begun: bytes = b"") -> Stream:
        headers = headers_back(response.headers)
        echoes = call.target.endpoint.echoes
        return RelayedStream(response, headers, call.operation, echoes, end_grace_s=self._end_grace_s, begun=begun)

    async def close(self) -> None:
        """Close all connections."""
        await self._clients.close()

    async def _plain(self, response: http1.Response, begun: bytes, call: Call) -> Stream:
        """Return a plain answer as a stream. Raises UpstreamError for the error in it, else `bad_response`."""
        raw = begun + await read_body(response, limit=self._max_reply_bytes)
        value = json_in(raw)
        if _may_lack(call) and is_missing_in(value):
            raise PathMissing(response.status)
        answer = plain_answer(value, call.operation)
        if answer is None:
            raw = raw[: MAX_ERROR_BYTES + 1]
            raise plain_refusal(response, raw, json_in(raw))
        return GeneratedStream(_each(answer), headers_back(response.headers))

    def _send(self, call: Call, *, stream: bool) -> Awaitable[http1.Response]:
        """Send the request; return an awaitable of its response, body unread."""
        body = _request_body(call, stream=stream) if call.operation.has_body else b""
        head = self._head(call, stream=stream)
        headers = call.headers if call.form is None else {**call.headers, "content-type": call.form.content_type}
        lines = head.with_headers(headers)
        return self._client(call.loop).request(head.origin, lines, body, connect_s=call.limits.connect_s)

    def _head(self, call: Call, *, stream: bool) -> _Head:
        """Return the cached head of requests to the endpoint; made anew when its key has changed."""
        endpoint = call.target.endpoint
        key = endpoint.api_key.read()
        if key is None and endpoint.key_required:
            raise UpstreamError(Kind.AUTH)
        operation = call.operation
        path = operation.path
        if endpoint.has_own_paths:
            path = own_path(endpoint, operation, call.target.model, stream=stream)
        name = (id(endpoint), stream, path, call.query)
        head = self._heads.get(name) if operation.has_body else None
        if head is None or head.endpoint is not endpoint or head.key is not key:
            try:
                accept = EVENTS if stream else "*/*" if operation.byte_types else JSON
                if call.query:
                    path = f"{path}{'&' if '?' in path else '?'}{call.query}"
                head = _Head(endpoint, key, path, accept=accept, method=operation.method)
            except http1.Http1Error as error:
                raise no_response(error) from error
            if operation.has_body:  # else its path is asked for once
                if len(self._heads) >= _MAX_HEADS:
                    self._heads.clear()
                self._heads[name] = head
        return head


class _Head:
    """The request line and headers that all requests of one operation to an endpoint share."""

    __slots__ = ("_fields", "_line", "_method", "_wire", "endpoint", "key", "origin")

    def __init__(self, endpoint: Endpoint, key: Secret | None, path: str, *, accept: str, method: str) -> None:
        base_url = endpoint.relay_url or endpoint.base_url
        if base_url is None:
            raise TypeError(f"{endpoint!r} is relayed and has no base URL")
        route = route_to(base_url)
        self.endpoint = endpoint
        self.key = key
        self.origin = route.origin
        refuse_other_hosts(endpoint, place_of(URL(f"{route.url}{path}")))
        self._method = method
        self._line = route.target(path)
        self._fields = {**route.headers, **_request_headers(endpoint, key, accept=accept)}
        self._wire = http1.request_head(method, self._line, self._fields)

    def with_headers(self, headers: Mapping[str, str]) -> bytes:
        """Return the head of one request with its own `headers`, which override the endpoint's."""
        if not headers:
            return self._wire
        if self._fields.keys().isdisjoint(headers):
            return self._wire + http1.header_lines(headers)
        return http1.request_head(self._method, self._line, {**self._fields, **headers})


def _request_headers(endpoint: Endpoint, key: Secret | None, *, accept: str) -> dict[str, str]:
    """Return the headers, lower case. The file's override ours, including the key, but not framing headers."""
    headers = {
        "accept": accept,
        "user-agent": _USER_AGENT,
        "accept-encoding": "gzip, deflate",
        "content-type": "application/json",
    }
    if key is not None:
        name, value = key_header(endpoint, key.reveal())
        headers[name] = value
    if endpoint.kind == "anthropic":
        headers["anthropic-version"] = ANTHROPIC_VERSION
    for name, value in endpoint.headers.items():
        if (lower := name.lower()) not in FRAMING_HEADERS:
            headers[lower] = value
    return headers


def _request_body(call: Call, *, stream: bool) -> bytes | Spliced:
    """Return the body. Raises TypeError for values that JSON cannot hold; NaN and infinity become null.

    What other targets wrote in the same conversation is left out where it is refused: thinking that is not its own by
    Claude, Gemini's signatures in the ids of tool calls by vendors that limit the length of an id.
    """
    overrides = call.overrides.sent
    if overrides:
        overrides = overrides_for(call.target.endpoint, call.operation, call.headers, overrides)
    body = merged(call.params, overrides, call.target.model)
    if call.form is not None:
        try:
            return call.form.encoded(body, kept=_KEPT)
        except NotForm as error:
            raise NotSupported(f"cannot be asked: {error}") from None
    if stream:
        body.update(call.operation.stream_fields)
    operation = call.operation
    if operation.model_is_in_path:
        del body["model"]
        return encode_body(body)
    encoded = encode_body(body)
    if operation.wire == "messages" and may_have_ours(encoded):
        encoded = encode_json(without_our_thinking({**whole(body)}))
    if call.target.endpoint.wants_plain_ids and may_be_signed(encoded):
        if isinstance(encoded, Spliced):
            encoded = encode_json({**whole(body)})
        return without_signatures(encoded)
    return encoded


async def _refusal(response: http1.Response, call: Call) -> UpstreamError | PathMissing:
    """Return the failure for a response with an error status, and close it."""
    status = response.status
    if status < 400:
        response.close()
        return UpstreamError(Kind.BAD_RESPONSE, status=status)
    raw = await error_body(response)
    if raw is not None and _may_lack(call):
        operation = call.operation
        if is_missing_path(status, raw, path=operation.path, model=call.target.model):
            return PathMissing(status)
    return refused(response, raw, reworded=openai_error if call.operation.wire == "gemini" else None)


def _may_lack(call: Call) -> bool:
    """Tell whether the endpoint may have no path for a call: not the one that every endpoint of its kind has.

    A request without a body is about something that the endpoint made, so the path is there.
    """
    endpoint, operation = call.target.endpoint, call.operation
    return operation.has_body and not endpoint.wires_written and not is_sure_to_have(endpoint, operation)


def _bytes(
    response: http1.Response, content_type: str, call: Call, begun: bytes = b"", *, is_whole: bool = False
) -> Stream:
    echoes = call.target.endpoint.echoes
    headers = headers_back(response.headers)
    return ByteStream(response, headers, echoes.mask(content_type), echoes, begun=begun, is_whole=is_whole)


async def _each(events: list[Event]) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event
