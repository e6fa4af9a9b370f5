"""Answers without any network: for demos, tests and drills. A script, or else the model's name, says what it does."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import re
import struct
import time
from collections.abc import AsyncGenerator
from itertools import count
from typing import Final

import orjson

from gateway.adapters.base import Call, Chunk, ChunkStream, Reply
from gateway.policy.failures import Kind, UpstreamError, classify
from gateway.policy.target import Endpoint, ScriptedOutcome, Target
from gateway.wire.json import Json, JsonObject

EMBEDDING_LENGTH: Final = 8
"""How many numbers an embedding has when the request names no `dimensions`."""

_MAX_DIMENSIONS: Final = 4096
_FOREVER_S: Final = 365 * 86400.0
_STATUS_MODEL: Final = re.compile(r"status-([45]\d\d)")
_SLOW_MODEL: Final = re.compile(r"slow-(\d{1,6}(?:\.\d{1,3})?)(ms|s|m)")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_WORD: Final = re.compile(r"\S+\s*|\s+")


class MockAdapter:
    """Plays each provider entry's script, one outcome a call; its place outlives a reload that keeps the script."""

    def __init__(self) -> None:
        self._plays: dict[str, tuple[tuple[ScriptedOutcome, ...], int]] = {}
        self._serials = count(1)

    async def prepare(self) -> None:
        """There is nothing to make ready."""

    async def complete(self, call: Call) -> Reply:
        """Return the plain answer. Cancelling is the only end of a stall."""
        outcome, headers = await self._begin(call)
        if outcome.stall is not None:
            await asyncio.sleep(_FOREVER_S)
        if outcome.cut is not None:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        data = _embeddings(call) if call.operation == "embeddings" else self._completion(call, outcome.text)
        return Reply(data=data, headers=headers)

    async def stream(self, call: Call) -> ChunkStream:
        """Return the answer word by word."""
        outcome, headers = await self._begin(call)
        return ChunkStream(chunks=self._chunks(call, outcome), headers=headers)

    async def close(self) -> None:
        """There is nothing to give back."""

    def peek(self, target: Target, ahead: int) -> ScriptedOutcome:
        """Return what a call comes to after so many others of the target's provider. Plays nothing."""
        script = target.endpoint.script
        if not script:
            return _named_outcome(target, said="")
        known, place = self._plays.get(target.endpoint.provider, (script, 0))
        return script[min((place if known == script else 0) + ahead, len(script) - 1)]

    async def _begin(self, call: Call) -> tuple[ScriptedOutcome, dict[str, str]]:
        """Wait as the outcome says; return it with its response headers. Raises UpstreamError for an error status."""
        endpoint = call.target.endpoint
        outcome = (
            self._next(endpoint)
            if endpoint.script
            else _named_outcome(call.target, said=_last_user_text(_params(call)))
        )
        if outcome.delay_s > 0:
            await asyncio.sleep(outcome.delay_s)
        headers: dict[str, str] = {}
        if outcome.retry_after_s is not None:
            headers["retry-after"] = f"{outcome.retry_after_s:g}"
        if outcome.status < 400:
            return outcome, headers
        error = {"message": f"mock status {outcome.status}", "type": "mock_error", "param": None, "code": None}
        raise UpstreamError(
            classify(outcome.status, {"error": error}),
            status=outcome.status,
            code="mock_error",
            retry_after_s=outcome.retry_after_s,
            body=orjson.dumps({"error": error}),
            headers=headers,
        )

    def _next(self, endpoint: Endpoint) -> ScriptedOutcome:
        script, place = self._plays.get(endpoint.provider, ((), 0))
        if script != endpoint.script:
            script, place = endpoint.script, 0
        self._plays[endpoint.provider] = (script, min(place + 1, len(script) - 1))
        return script[place]

    def _envelope(self, call: Call, kind: str) -> JsonObject:
        return {
            "id": f"chatcmpl-mock-{next(self._serials)}",
            "object": kind,
            "created": int(time.time()),
            "model": call.target.model,
        }

    def _completion(self, call: Call, text: str) -> JsonObject:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return self._envelope(call, "chat.completion") | {"choices": [choice], "usage": _usage(call, text)}

    async def _chunks(self, call: Call, outcome: ScriptedOutcome) -> AsyncGenerator[Chunk, None]:
        envelope = self._envelope(call, "chat.completion.chunk")

        def chunk(delta: JsonObject, finish_reason: str | None = None) -> Chunk:
            return Chunk(envelope | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})

        words = _WORD.findall(outcome.text)
        ends = [place for place in (outcome.stall, outcome.cut) if place is not None]
        yield chunk({"role": "assistant", "content": ""})
        for word in words[: min(ends, default=None)]:
            yield chunk({"content": word})
        if ends and outcome.stall == min(ends):
            await asyncio.sleep(_FOREVER_S)
        if ends:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        yield chunk({}, "stop")
        options = _params(call).get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            yield Chunk(envelope | {"choices": [], "usage": _usage(call, outcome.text)})


def _named_outcome(target: Target, *, said: str) -> ScriptedOutcome:
    """Return what a model's name asks for."""
    model = target.model
    greeting = f"Hello from {target.name}, a model that needs no network."
    if model == "echo":
        return ScriptedOutcome(text=said)
    if model == "cut":
        return ScriptedOutcome(text=greeting, cut=2)
    if model == "stall":
        return ScriptedOutcome(text=greeting, stall=1)
    if status := _STATUS_MODEL.fullmatch(model):
        return ScriptedOutcome(status=int(status[1]))
    slow = _SLOW_MODEL.fullmatch(model)
    return ScriptedOutcome(text=greeting, delay_s=float(slow[1]) * _UNITS_S[slow[2]] if slow else 0.0)


def _params(call: Call) -> JsonObject:
    """Return the request as an upstream would get it."""
    merged = {**call.params, **call.overrides}
    return {name: value for name, value in merged.items() if value is not None}


def _messages(params: JsonObject) -> list[JsonObject]:
    messages = params.get("messages")
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _text(content: Json) -> str:
    """Return a message's text: the content itself, or its text parts joined."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _last_user_text(params: JsonObject) -> str:
    said = [_text(message.get("content")) for message in _messages(params) if message.get("role") == "user"]
    return said[-1] if said else ""


def _usage(call: Call, text: str) -> JsonObject:
    """Count tokens roughly: a word is one."""
    prompt = sum(len(_text(message.get("content")).split()) for message in _messages(_params(call)))
    completion = len(text.split())
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _embeddings(call: Call) -> JsonObject:
    params = _params(call)
    given = params.get("input")
    tokens = isinstance(given, list) and all(isinstance(item, int) for item in given)
    items = given if isinstance(given, list) and not tokens else [given]
    asked = params.get("dimensions")
    length = asked if isinstance(asked, int) and 0 < asked <= _MAX_DIMENSIONS else EMBEDDING_LENGTH
    data: list[JsonObject] = []
    for index, item in enumerate(items):
        vector: Json = _unit_vector(orjson.dumps(item), length)
        if params.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{length}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    words = sum(
        len(item.split()) if isinstance(item, str) else len(item) for item in items if isinstance(item, str | list)
    )
    usage = {"prompt_tokens": words, "total_tokens": words}
    return {"object": "list", "data": data, "model": call.target.model, "usage": usage}


def _unit_vector(seed: bytes, length: int) -> list[float]:
    """Return a vector of length 1 that depends on `seed` alone."""
    digest = hashlib.shake_256(seed).digest(2 * length)
    raw = [value / 32768 + 1e-6 for value in struct.unpack(f"<{length}h", digest)]
    norm = math.hypot(*raw)
    return [value / norm for value in raw]
