"""A real server on the loopback that speaks every wire; its answers and faults are scripted per model.

    async with WireUpstream() as upstream:
        upstream.script("m", status=500).script("m", text="hello")      # first 500, then "hello" for ever
        upstream.script("broken", cut_after=3)                          # closes after three events, or pieces of bytes
        client = openai.OpenAI(base_url=upstream.openai_url, api_key="k")

`script` may be called from any thread. What was asked stands in `requests`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from multidict import CIMultiDictProxy

from tests.wires import chat, gemini, lists, media, messages, responses
from tests.wires.play import TEXT, Answer, Play, WireRequest, in_json, openai_error, read_form

Answering = Callable[[WireRequest, Play], Answer]

OPENAI_HEADERS: Final = {
    "openai-organization": "org-scripted",
    "openai-processing-ms": "12",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-reset-requests": "120ms",
}
_LOOK_S: Final = 0.005


class _Cut(Exception):
    """The script wants the connection closed here."""


class WireUpstream:
    """The server. The last play of a script stays for ever."""

    def __init__(self, *, text: str = TEXT) -> None:
        """`text` is what unscripted models say."""
        self.requests: list[WireRequest] = []
        self.part_counts: dict[str, int] = {}
        """Of how many parts each model's last answer in parts is, were it whole."""
        self.port = 0
        self._text = text
        self._scripts: dict[str, deque[Play]] = {}
        self._serial = count(1)
        self._paths = _paths(responses.Store())
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)

    @property
    def root_url(self) -> str:
        """The base URL of an Anthropic client, such as `http://127.0.0.1:40123`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        """The base URL of an OpenAI client: the same with `/v1`."""
        return f"{self.root_url}/v1"

    @property
    def models(self) -> list[str]:
        """The models asked for, in order."""
        return [request.model for request in self.requests if request.method == "POST"]

    def script(self, model: str, /, **play: Any) -> Self:
        """Queue what a model does at its next call (fields of `Play`)."""
        self._scripts.setdefault(model, deque()).append(Play(**play))
        return self

    def forget(self) -> None:
        """Forget all scripts and requests."""
        self._scripts.clear()
        self.requests.clear()

    def asked(self, model: str) -> list[WireRequest]:
        """Return the requests for a model, in order."""
        return [request for request in self.requests if request.model == model]

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def _next_play(self, model: str) -> Play:
        queue = self._scripts.get(model)
        if not queue:
            return Play(text=self._text)
        return queue.popleft() if len(queue) > 1 else queue[0]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = await _read(request)
        self.requests.append(asked)
        play = self._next_play(asked.model)
        answer = self._answer(asked, play)
        if answer.parts is not None:
            self.part_counts[asked.model] = len(answer.parts)
        if play.status >= 400:
            answer = in_json(_error(asked, play), status=play.status)
        if play.body is not None:
            answer = Answer(body=play.body, status=play.status)
        number = next(self._serial)
        own = (
            {"request-id": f"req_{number}", **messages.HEADERS}
            if _is_anthropic(asked)
            else {"x-request-id": f"req_{number}", **OPENAI_HEADERS}
        )
        headers = {"content-type": play.content_type or answer.content_type, **own, **answer.headers, **play.headers}
        try:
            return await _send(request, answer, play, headers)
        except _Cut:
            assert request.transport is not None
            request.transport.close()
            raise asyncio.CancelledError from None

    def _answer(self, asked: WireRequest, play: Play) -> Answer:
        if refused := _refused(asked):
            return refused
        path = asked.path.removeprefix("/v1") if asked.path.startswith("/v1/") else asked.path
        for method, pattern, answering in self._paths:
            if method == asked.method and re.fullmatch(pattern, path):
                return answering(asked, play)
        error = {"message": f"Unknown request URL: {asked.method} {asked.path}."}
        return in_json(openai_error(Play(error=error)), status=404)


def _paths(store: responses.Store) -> Sequence[tuple[str, str, Answering]]:
    """Return method, path below `/v1`, and who answers there."""
    one = r"/responses/[^/]+"
    return [
        ("POST", "/responses", store.create),
        ("POST", "/responses/input_tokens", responses.count_tokens),
        ("POST", "/responses/compact", responses.compact),
        ("GET", one, store.read),
        ("DELETE", one, store.delete),
        ("POST", f"{one}/cancel", store.cancel),
        ("GET", f"{one}/input_items", store.input_items),
        ("POST", "/messages", messages.create),
        ("POST", "/messages/count_tokens", messages.count_tokens),
        ("POST", "/chat/completions", chat.chat),
        ("POST", "/completions", chat.completions),
        ("POST", "/embeddings", lists.embeddings),
        ("POST", "/moderations", lists.moderations),
        ("POST", "/rerank", lists.rerank_v1),
        ("POST", "/v2/rerank", lists.rerank_v2),
        ("POST", "/images/(generations|edits|variations)", media.images),
        ("POST", r"/v1beta/models/.*:\w*[gG]enerateContent", gemini.generate),
        ("POST", r"/v1beta/models/.*:batchEmbedContents", gemini.embed),
        ("POST", r"/v1beta/models/.*:countTokens", gemini.count),
        ("POST", "/audio/speech", media.speech),
        ("POST", "/audio/(transcriptions|translations)", media.transcriptions),
        ("GET", "/models", lambda asked, play: (messages if _is_anthropic(asked) else lists).models(asked, play)),
    ]


def _error(asked: WireRequest, play: Play) -> dict[str, Any]:
    """Return an error body on the wire of the request."""
    if _is_gemini(asked):
        return gemini.error_body(play, play.status)
    return messages.error_body(play, play.status) if _is_anthropic(asked) else openai_error(play, status=play.status)


def _is_gemini(asked: WireRequest) -> bool:
    return asked.path.startswith("/v1beta/models/")


def _is_anthropic(asked: WireRequest) -> bool:
    return "anthropic-version" in asked.headers or asked.path.startswith("/v1/messages")


def _refused(asked: WireRequest) -> Answer | None:
    """Return what a request without a key, or without what its wire demands, gets."""
    play = Play(error={"message": "a key is needed"})
    if asked.headers.get("upgrade", "").lower() == "websocket":
        return in_json(openai_error(Play(error={"message": "no WebSockets here"})), status=426)
    if asked.path.startswith("/v1/messages"):
        if not {"x-api-key", "authorization"} & asked.headers.keys():
            return in_json(messages.error_body(play, 401), status=401)
        if "anthropic-version" not in asked.headers:
            told = Play(error={"message": "anthropic-version: header is required"})
            return in_json(messages.error_body(told, 400), status=400)
        return None
    if _is_gemini(asked):
        refused = Play(error={"message": "Method doesn't allow unregistered callers"})
        return None if "x-goog-api-key" in asked.headers else in_json(gemini.error_body(refused, 403), status=403)
    if _is_anthropic(asked) or asked.method == "HEAD":
        return None
    if not asked.headers.get("authorization", "").startswith("Bearer "):
        return in_json(openai_error(play, status=401), status=401)
    return None


async def _read(request: web.Request) -> WireRequest:
    raw = await request.read()
    headers = _joined(request.headers)
    content_type = headers.get("content-type", "")
    try:
        body = json.loads(raw) if content_type.startswith("application/json") else None
    except ValueError:
        body = None
    return WireRequest(
        method=request.method, path=request.path, query=dict(request.query), headers=headers, raw=raw, body=body,
        form=read_form(raw, content_type),
    )  # fmt: skip


def _joined(headers: CIMultiDictProxy[str]) -> Mapping[str, str]:
    return {name.lower(): ", ".join(headers.getall(name)) for name in headers}


async def _send(request: web.Request, answer: Answer, play: Play, headers: Mapping[str, str]) -> web.StreamResponse:
    if answer.parts is None:
        if play.cut_inside is None:
            return web.Response(status=answer.status, body=answer.body, headers=headers)
        parts: Sequence[bytes] = [answer.body]
    else:
        parts = answer.parts if play.parts is None else play.parts
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    for index in range(len(parts) + 1):
        if play.cut_after == index:
            raise _Cut
        if play.end_after == index:
            break
        if play.stall_after == index:
            while play.go_on is None or not play.go_on.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(_LOOK_S)
        if play.error_after == index:
            await response.write(answer.error_part)
            break
        if index == len(parts):
            break
        if play.cut_inside == index:
            await response.write(parts[index][: len(parts[index]) // 2])
            raise _Cut
        await response.write(parts[index])
    await response.write_eof()
    return response
