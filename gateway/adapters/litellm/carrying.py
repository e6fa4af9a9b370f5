"""Carries the requests that LiteLLM writes over our own HTTP client, and judges what comes back.

LiteLLM's handlers take a `client` and call its `post`. Ours sends nothing but what they wrote, to no other host than
the table means, follows no redirect and repeats nothing. A stream's body stays with us: its events are split and judged
here, and LiteLLM's classes only read them.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from gateway._version import __version__
from gateway.adapters.base import MAX_REPLY_BYTES
from gateway.adapters.content_types import EVENTS, JSON, SAYS_NOTHING, content_type, is_plain
from gateway.adapters.events import Event, GeneratedStream, Stream
from gateway.adapters.hosts import place_of, refuse_other_hosts
from gateway.adapters.litellm.call import OurCall
from gateway.adapters.litellm.judging import answer_as_events, check_answer
from gateway.adapters.litellm.parts import part
from gateway.adapters.litellm.sources import FRAMES, LINES, CutStream, FrameCutter, LineCutter
from gateway.adapters.relay.adapter import END_GRACE_S
from gateway.adapters.relay.events import RelayedStream
from gateway.adapters.routes import Clients, route_to
from gateway.adapters.upstream_response import (
    beginning,
    error_body,
    headers_back,
    is_good,
    no_response,
    read_body,
    refused,
)
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.target import FRAMING_HEADERS
from gateway.wire.http1 import client as http1
from gateway.wire.json import EMPTY, JsonObject, encode_json

_USER_AGENT: Final = f"routes-gateway/{__version__}"
_SET_BY_US: Final = FRAMING_HEADERS - {"content-type"}
"""LiteLLM's classes choose the content type; the rest of the framing is the client's."""
UNTRUE: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Response headers that do not describe the decoded body."""
_REFUSED: Final = 400


class NotCarried(Exception):
    """LiteLLM asks for what this client does not carry, such as a form. Nothing was sent."""


class Probed(Exception):
    """Raised instead of sending in a dry run: LiteLLM's classes use our client."""


class Exchange:
    """One request of a call, and its response."""

    def __init__(
        self, ours: OurCall, clients: Clients, *, headers: Mapping[str, str] = EMPTY, probe: bool = False
    ) -> None:
        """`headers` are the request's own, which LiteLLM did not get.

        `probe`: send nothing; a stream's response is empty, and a plain request ends in Probed.
        """
        self.failure: UpstreamError | None = None
        """What was wrong with the response. LiteLLM's handlers wrap exceptions."""
        self.is_sent = False
        self.headers: Mapping[str, str] = EMPTY
        """The response's headers that may go back to the client."""
        self._ours = ours
        self._clients = clients
        self._own_headers = headers
        self._is_probe = probe
        self._open: http1.Response | None = None
        self._begun = b""
        self._answer: list[Event] | None = None

    def client(self) -> Any:
        """Return a client for LiteLLM's handlers."""
        return _client_class()(self)

    async def post(self, url: str, body: bytes, headers: Mapping[str, Any], *, stream: bool) -> Any:
        """Send a request; return what LiteLLM reads. Raises UpstreamError, which stays in `failure` too."""
        if self._is_probe:
            if not stream:
                raise Probed
            return _response(200, EMPTY, b"")
        try:
            return await self._post(url, body, headers, stream=stream)
        except UpstreamError as error:
            self.failure = error
            raise

    @property
    def is_open(self) -> bool:
        """Whether a stream's response is waiting for its reader."""
        return self._open is not None or self._answer is not None

    def events(self, kind: type[RelayedStream] = RelayedStream) -> Stream:
        """Return the events of the open response in the provider's own words. The caller closes it."""
        response, ours = self._open, self._ours
        self._open = None
        if self._answer is not None:
            return GeneratedStream(_each(self._answer), self.headers)
        if response is None or ours.endpoint is None or ours.operation is None:
            raise TypeError("no stream is open")
        form = content_type(response.headers.get("content-type", ""))
        if form == FRAMES or form in LINES:
            return CutStream(response, self.headers, FrameCutter() if form == FRAMES else LineCutter())
        echoes = ours.endpoint.echoes
        return kind(response, self.headers, ours.operation, echoes, end_grace_s=END_GRACE_S, begun=self._begun)

    def close(self) -> None:
        """Close a response that nobody reads."""
        if self._open is not None:
            self._open.close()
            self._open = None

    async def send(self, method: str, url: str, body: bytes, headers: Mapping[str, Any]) -> http1.Response:
        """Send a request; return the response, body unread. Raises UpstreamError if there is none."""
        ours = self._ours
        route = route_to(url, exact=url.isascii() and " " not in url)
        if ours.endpoint is not None:
            refuse_other_hosts(ours.endpoint, place_of(route.url), method=method)
        fields = {**route.headers, "user-agent": _USER_AGENT, "content-type": JSON, "accept-encoding": "gzip, deflate"}
        for name, value in (*headers.items(), *self._own_headers.items()):
            lower = name.lower()
            if value is not None and lower not in _SET_BY_US and lower not in ours.unsent:
                fields[lower] = value if isinstance(value, str) else str(value, "latin-1")
        head = http1.request_head(method, route.target(""), fields)
        self.is_sent = True
        try:
            return await self._clients.current().request(route.origin, head, body, connect_s=ours.connect_s)
        except http1.Http1Error as error:
            raise no_response(error) from error

    async def read(self, response: http1.Response, *, is_answer: bool = True) -> bytes:
        """Return the body of a plain response. Raises UpstreamError for one that is no answer."""
        raw = await read_body(response, limit=MAX_REPLY_BYTES)
        check_answer(raw, self._ours, response.headers, is_answer=is_answer)
        return raw

    async def open(self, response: http1.Response) -> None:
        """Keep the response, or the answer in it if that is a plain one. Raises UpstreamError for anything else."""
        if content_type(response.headers.get("content-type", "")) in SAYS_NOTHING:
            self._begun = await beginning(response)
            if not self._begun or is_plain(self._begun):
                raw = self._begun + await read_body(response, limit=MAX_REPLY_BYTES)
                self._answer = answer_as_events(raw, self._ours)
                return
        self._open = response

    async def _post(self, url: str, body: bytes, headers: Mapping[str, Any], *, stream: bool) -> Any:
        response = await self.send("POST", url, body, {"accept": EVENTS if stream else JSON, **headers})
        if not is_good(response.status):
            raise await refusal_of(response)
        self.headers = headers_back(response.headers)
        if stream:
            await self.open(response)
            return _response(response.status, response.headers, b"")
        return _response(response.status, response.headers, await self.read(response))


async def refusal_of(response: http1.Response) -> UpstreamError:
    """Return the failure for a response with a status that is not good, and close it."""
    status = response.status
    if status < _REFUSED:
        response.close()
        return UpstreamError(Kind.BAD_RESPONSE, status=status)
    return refused(response, await error_body(response), reworded=_as_it_is)


def _as_it_is(error: JsonObject) -> JsonObject:
    return error


async def _each(events: list[Event]) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event


def _response(status: int, headers: Mapping[str, str], raw: bytes) -> Any:
    """Return a response as LiteLLM's classes read it."""
    return _response_class()(status, headers, raw)


@functools.cache
def _response_class() -> type[Any]:
    """Return the class of responses that LiteLLM reads: httpx's, which has read its body and parses headers if asked.

    Made the usual way, one takes as long as translating a small answer.
    """
    httpx = importlib.import_module("httpx")
    request = httpx.Request("POST", "http://gateway.invalid/")
    whole = vars(httpx.Response(200, content=b"", request=request))

    class CarriedResponse(httpx.Response):  # type: ignore[name-defined,misc]  # httpx is imported when it is needed
        def __init__(self, status: int, headers: Mapping[str, str], raw: bytes) -> None:
            self.__dict__.update(whole)
            self.__dict__.update(
                status_code=status, _content=raw, _num_bytes_downloaded=len(raw), stream=httpx.ByteStream(raw)
            )
            self.__dict__.pop("headers")
            self._said = headers

        @functools.cached_property
        def headers(self) -> Any:
            return httpx.Headers({name: value for name, value in self._said.items() if name not in UNTRUE})

    return CarriedResponse


@functools.cache
def _client_class() -> type[Any]:
    """Return the class of clients for LiteLLM's handlers, which take no others than subclasses of their own."""
    module = part("llms.custom_httpx.http_handler")
    return type("_CarriedClient", (_Client, module.AsyncHTTPHandler), {})


class _Client:
    """What LiteLLM's handlers call."""

    timeout = None

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __del__(self) -> None:
        pass  # LiteLLM's own would close a connection pool

    async def post(
        self,
        url: str,
        data: Any = None,
        json: Any = None,
        params: Any = None,
        headers: Mapping[str, Any] | None = None,
        timeout: object = None,
        stream: bool = False,
        logging_obj: object = None,
        files: object = None,
        content: Any = None,
    ) -> Any:
        """Send a request as LiteLLM's own client would."""
        body = encode_json(json) if json is not None else data if data is not None else content
        if isinstance(body, str):
            body = body.encode()
        if files or params or not isinstance(body, bytes):
            raise NotCarried
        return await self._exchange.post(str(url), body, headers or EMPTY, stream=stream)

    async def close(self) -> None:
        """Do nothing: the connections are ours."""
