"""Carries the requests of LiteLLM's call functions over our own HTTP client, and checks the responses.

LiteLLM and the SDKs below it skip events that they do not understand, accept truncated responses, and lose the status
of an error whose body breaks off. So in a process of our own the one method of LiteLLM's transport that sends is
replaced: what `carrying` does for LiteLLM's classes is done for our calls beneath its functions.

It cannot be a client that the functions are given: what needs the method are kinds whose code takes none
(`replicate`, `predibase`, `nlp_cloud`, Ollama's embeddings, …), takes an SDK's (`azure_text`, `text-completion-openai`,
embeddings of `azure_ai`) or asks something beside the call by a client of its own (`oci`, `sap`, `gigachat`, embeddings
of `huggingface`). `docs/providers.md` has the whole list, which a test makes. Also requests with `functions` or
`function_call`, and all while a program listens to LiteLLM's callbacks.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, TypeAlias

from gateway.adapters.content_types import EVENTS, JSON, SAYS_NOTHING, content_type
from gateway.adapters.events import Stream
from gateway.adapters.litellm.call import OurCall, our_call
from gateway.adapters.litellm.carrying import UNTRUE, Exchange, refusal_of
from gateway.adapters.litellm.judging import refuse_failed
from gateway.adapters.litellm.sending import refuse_if_carried
from gateway.adapters.litellm.sources import FRAMES, LINES, Cutter, FrameCutter, LineCutter
from gateway.adapters.relay.events import RelayedStream
from gateway.adapters.routes import Clients
from gateway.adapters.upstream_response import error_body, is_good
from gateway.policy.failures import UpstreamError, no_answer
from gateway.wire import sse
from gateway.wire.http1 import client as http1

Parts: TypeAlias = AsyncGenerator[bytes, None]
Close: TypeAlias = Callable[[], Awaitable[None]]

EVENTS_AT_ONCE: Final = 64
"""After so many events other tasks run. LiteLLM takes up to 0.2 ms for each."""

_REFUSED: Final = 400
_DONE: Final = sse.encode(sse.DONE)
_STREAM_ASKED: Final = re.compile(rb'(?<!\\)"stream"\s*:\s*true')


def carry(module: Any) -> None:
    """Make LiteLLM's transport, in `module`, send our calls by our own HTTP client and note what it sees in OurCall.

    What LiteLLM asks after it has answered, for a program's callbacks, it sends itself.
    """
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
    exchange = Exchange(ours, clients)
    response = await exchange.send(request.method, str(request.url), body, request.headers)
    is_answer = request.method == "POST"
    if not is_good(response.status):
        if is_answer or response.status < _REFUSED:
            raise await refusal_of(response)
        return _whole(response, await error_body(response) or b"")
    kind = content_type(response.headers.get("content-type", ""))
    # LiteLLM may ask for a plain answer and make a stream of it.
    asked = kind in SAYS_NOTHING and _STREAM_ASKED.search(body) is not None
    if ours.streaming and (kind == EVENTS or asked):
        await exchange.open(response)
        stream = exchange.events(_Marked)
        return _open(response, _events(stream, ours), stream.aclose, ours, EVENTS)
    if kind == JSON or (not ours.streaming and kind != EVENTS):
        return _whole(response, await exchange.read(response, is_answer=is_answer))
    cutter = FrameCutter() if kind == FRAMES else LineCutter() if kind in LINES else None

    async def close() -> None:
        response.close()

    return _open(response, _cut(response, ours, cutter), close, ours, kind)


def _whole(response: http1.Response, raw: bytes) -> Any:
    return _httpx().Response(response.status, headers=_headers(response), stream=_httpx().ByteStream(raw))


def _open(response: http1.Response, parts: Parts, close: Close, ours: OurCall, kind: str) -> Any:
    headers = {**_headers(response), "content-type": kind}
    return _httpx().Response(response.status, headers=headers, stream=_body_class()(parts, close, ours))


def _headers(response: http1.Response) -> dict[str, str]:
    """Return the headers that describe the decoded body."""
    return {name: value for name, value in response.headers.items() if name not in UNTRUE and name != "location"}


@functools.cache
def _httpx() -> Any:
    return importlib.import_module("httpx")


class _Marked(RelayedStream):
    """Server-sent events that tell whether `[DONE]` came."""

    __slots__ = ("is_done",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_done = False

    async def _end(self) -> None:
        self.is_done = True
        await super()._end()


@functools.cache
def _body_class() -> type[Any]:
    """Return the class of checked bodies; httpx accepts only subclasses of its own."""
    return type("_CheckedBody", (_Body, _httpx().AsyncByteStream), {})


class _Body:
    """The body of a good response on its way to LiteLLM. Raises for the same faults as the relay."""

    def __init__(self, parts: Parts, close: Close, ours: OurCall) -> None:
        """`close` closes what `parts` come from, read to its end or not."""
        self.aclose = close
        self._parts = parts
        self._call = ours

    async def __aiter__(self) -> Parts:
        try:
            async for part in self._parts:
                yield part
        except Exception as error:
            self._call.broken = error if isinstance(error, UpstreamError) else no_answer()
            raise


async def _events(stream: Stream, ours: OurCall) -> Parts:
    """Yield server-sent events. Those without data are left out: the SDKs below LiteLLM would parse it as JSON."""
    count = 0
    while events := await stream.read():
        for event in events:
            ours.done |= event.is_end
            for one in event.singly():
                if one.data is None:
                    continue
                refuse_failed(one.data)
                ours.note(one.data)
                yield one.encoded()
                count += 1
                if count % EVENTS_AT_ONCE == 0:
                    await asyncio.sleep(0)
    ours.done |= getattr(stream, "is_done", True)  # a plain answer is whole
    if ours.done:
        yield _DONE


async def _cut(response: http1.Response, ours: OurCall, cutter: Cutter | None) -> Parts:
    """Yield a body as it comes, once the messages or lines that each part completes are judged."""
    part = b" "
    while part:
        try:
            part = await response.readany()
        except http1.Http1Error as error:
            raise no_answer() from error
        if cutter is not None:
            cutter.feed(part) if part else cutter.end()
            while (event := cutter.cut()) is not None:
                if event.data is not None:
                    refuse_failed(event.data)
                    ours.note(event.data)
        if part:
            yield part
