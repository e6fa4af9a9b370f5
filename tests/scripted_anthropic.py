"""A real server on the loopback that speaks Anthropic's Messages wire; every answer, and every fault, is scripted.

    async with ScriptedAnthropic() as upstream:
        upstream.script("claude-a", status=529).script("claude-a", reply="hello")   # first 529, then "hello" for ever
        upstream.script("claude-b", reply="one two three", stall_after=1)
        endpoint = Endpoint(..., kind="anthropic", base_url=upstream.base_url, own_base_url=True)

The wire: https://docs.anthropic.com/en/api/messages and https://docs.anthropic.com/en/docs/build-with-claude/streaming.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicOutcome:
    """What happens on one call. Faults of a stream count content deltas."""

    status: int = 200
    reply: str | None = None
    """The text of the answer; a stream sends it word by word."""
    thinking: str | None = None
    """A thinking block before the text."""
    tool_uses: Sequence[Mapping[str, Any]] = ()
    """`{"id", "name", "input"}` each; a stream sends the input's JSON in pieces of eight characters."""
    stop_reason: str | None = None
    """`end_turn`, or `tool_use` where there are any, unless said otherwise."""
    usage: Mapping[str, int] = field(default_factory=lambda: {"input_tokens": 7, "output_tokens": 3})
    model: str | None = None
    """The model the answer names; the one asked for unless said otherwise."""
    error: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the error object, for a status of 300 and above and for `error_event_after`."""
    body: bytes | None = None
    """Sent instead of an answer, in stream mode too."""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    gate: asyncio.Event | None = None
    """The response begins when this is set."""
    reset: bool = False
    """The connection is aborted once the request has been read, before the response's headers."""
    cut_after: int | None = None
    """The connection is aborted after so many content deltas."""
    end_after: int | None = None
    """The response ends cleanly after so many content deltas: no stop reason ever comes."""
    stall_after: int | None = None
    """Silence after so many content deltas, until the client leaves."""
    error_event_after: int | None = None
    """After so many content deltas comes an `error` event, and the end."""
    malformed_after: int | None = None
    """After so many content deltas comes an event whose JSON is broken, and the rest never makes sense again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicRequest:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    """Lower-case names."""
    body: dict[str, Any]
    model: str


class _Cut(Exception):
    """The script wants the connection aborted here."""


class ScriptedAnthropic:
    """The server. Unscripted models answer "hello from <model>"; the last outcome of a script stays for ever."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        """The models asked for, in order."""
        self.requests: list[AnthropicRequest] = []
        self.disconnects = 0
        """How many clients left before their response was whole."""
        self.port = 0
        self._scripts: dict[str, deque[AnthropicOutcome]] = {}
        self._changed = asyncio.Condition()
        self._stopping = False
        app = web.Application()
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)

    @property
    def base_url(self) -> str:
        """The endpoint's `base_url`, such as `http://127.0.0.1:40123`."""
        return f"http://127.0.0.1:{self.port}"

    def script(self, model: str, /, **outcome: Any) -> Self:
        """Queue one outcome (fields of `AnthropicOutcome`) for a model."""
        self._scripts.setdefault(model, deque()).append(AnthropicOutcome(**outcome))
        return self

    async def wait_for_calls(self, count: int, timeout: float = 5.0) -> None:
        """Return once so many requests have arrived, all models together; TimeoutError if they never do."""
        await self._wait(lambda: len(self.calls) >= count, timeout)

    async def wait_for_disconnect(self, timeout: float = 5.0, *, count: int = 1) -> None:
        """Return once so many clients have left before their response was whole; TimeoutError if they never do."""
        await self._wait(lambda: self.disconnects >= count, timeout)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        await self._runner.cleanup()

    async def _wait(self, reached: Callable[[], bool], timeout: float) -> None:
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(reached)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _next_outcome(self, model: str) -> AnthropicOutcome:
        queue = self._scripts.get(model)
        if not queue:
            return AnthropicOutcome()
        return queue.popleft() if len(queue) > 1 else queue[0]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        headers = {name.lower(): value for name, value in request.headers.items()}
        model = str(body.get("model", ""))
        self.requests.append(AnthropicRequest(path=request.path, headers=headers, body=body, model=model))
        self.calls.append(model)
        outcome = self._next_outcome(model)
        await self._notify()
        try:
            return await self._respond(request, outcome, model, stream=body.get("stream") is True)
        except _Cut:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        except (asyncio.CancelledError, ConnectionError):
            if not self._stopping:
                self.disconnects += 1
                await self._notify()
            raise

    async def _respond(
        self, request: web.Request, outcome: AnthropicOutcome, model: str, *, stream: bool
    ) -> web.StreamResponse:
        if outcome.gate is not None:
            await outcome.gate.wait()
        if outcome.reset:
            raise _Cut
        headers = {"request-id": f"req_{len(self.calls)}", **outcome.headers}
        if outcome.body is not None or outcome.status >= 300:
            body = outcome.body
            if body is None:
                body = json.dumps({"type": "error", "error": _error(outcome, outcome.status)}).encode()
            return web.Response(
                status=outcome.status, body=body, headers={"content-type": outcome.content_type, **headers}
            )
        if not stream:
            return web.json_response(_message(outcome, model), headers=headers)
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8", **headers})
        await response.prepare(request)
        async for event in _events(outcome, model):
            await response.write(event)
        await response.write_eof()
        return response


def _error(outcome: AnthropicOutcome, status: int) -> dict[str, Any]:
    return {"type": _ERROR_TYPES.get(status, "api_error"), "message": "scripted error", **outcome.error}


def _stop_reason(outcome: AnthropicOutcome) -> str:
    return outcome.stop_reason or ("tool_use" if outcome.tool_uses else "end_turn")


def _text(outcome: AnthropicOutcome, model: str) -> str:
    if outcome.reply is None:
        return "" if outcome.tool_uses else f"hello from {model}"
    return outcome.reply


def _message(outcome: AnthropicOutcome, model: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if outcome.thinking is not None:
        content.append({"type": "thinking", "thinking": outcome.thinking, "signature": "signed"})
    if text := _text(outcome, model):
        content.append({"type": "text", "text": text})
    content += [{"type": "tool_use", **use} for use in outcome.tool_uses]
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": outcome.model or model, "content": content,
        "stop_reason": _stop_reason(outcome), "stop_sequence": None, "usage": dict(outcome.usage),
    }  # fmt: skip


def _blocks(outcome: AnthropicOutcome, model: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return each content block as it starts, with its deltas."""
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if outcome.thinking is not None:
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _words(outcome.thinking)]
        deltas.append({"type": "signature_delta", "signature": "signed"})
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
    if text := _text(outcome, model):
        blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in _words(text)]))
    for use in outcome.tool_uses:
        arguments = json.dumps(use["input"])
        pieces = [arguments[start : start + 8] for start in range(0, len(arguments), 8)]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        blocks.append(({"type": "tool_use", **use, "input": {}}, deltas))
    return blocks


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


async def _events(outcome: AnthropicOutcome, model: str) -> AsyncIterator[bytes]:
    message = {**_message(outcome, model), "content": [], "stop_reason": None}
    message["usage"] = {**outcome.usage, "output_tokens": 1}
    yield _event("message_start", {"message": message})
    yield _event("ping", {})
    sent = 0
    for index, (block, deltas) in enumerate(_blocks(outcome, model)):
        yield _event("content_block_start", {"index": index, "content_block": block})
        for delta in deltas:
            if sent == outcome.stall_after:
                await asyncio.Event().wait()
            if sent == outcome.cut_after:
                raise _Cut
            if sent == outcome.end_after:
                return
            if sent == outcome.malformed_after:
                yield b'event: content_block_delta\ndata: {"type": "content_block_delta", "index"\n\n'
            if sent == outcome.error_event_after:
                yield _event("error", {"error": _error(outcome, 529)})
                return
            yield _event("content_block_delta", {"index": index, "delta": delta})
            sent += 1
        yield _event("content_block_stop", {"index": index})
    usage = {"output_tokens": outcome.usage["output_tokens"]}
    yield _event(
        "message_delta", {"delta": {"stop_reason": _stop_reason(outcome), "stop_sequence": None}, "usage": usage}
    )
    yield _event("message_stop", {})
