"""Calls of the real LiteLLM against scripted upstreams, and what to look at in the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from gateway.adapters.base import Call, Reply
from gateway.adapters.events import Stream
from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.operations import OPERATIONS
from gateway.policy.failures import UpstreamError
from gateway.policy.keys import KeySource, Secret
from gateway.policy.params import Params
from gateway.policy.target import Endpoint, Limits, Target
from gateway.wire.json import EMPTY, JsonObject
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import data_of

LIMITS: Final = Limits(connect_s=2, first_token_s=8, idle_s=8, total_s=8)
KEY: Final = "key-of-the-file-1234567890"
WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "tells the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
OPENAI_WIRE: Final = ("openai", "azure", "groq", "hosted_vllm", "mistral")


def make_call(
    upstream: ScriptedAnthropic | ScriptedOpenAI | str,
    kind: str,
    model: str,
    *,
    operation: str = "chat",
    key: str | None = KEY,
    limits: Limits = LIMITS,
    overrides: Mapping[str, Any] = EMPTY,
    headers: Mapping[str, str] = EMPTY,
    endpoint_headers: Mapping[str, str] = EMPTY,
    **params: Any,
) -> Call:
    base_url = upstream if isinstance(upstream, str) else upstream.base_url
    if kind == "azure":
        overrides = {"api_version": "2024-10-21", **overrides}
        base_url = base_url.removesuffix("/v1")
    endpoint = Endpoint(
        provider="up",
        kind=kind,
        adapter="litellm",
        base_url=base_url,
        own_base_url=True,
        api_key=KeySource(name="test", value=Secret(key) if key else None),
        headers=endpoint_headers,
    )
    if operation == "chat":
        params.setdefault("messages", [{"role": "user", "content": "hi"}])
    return Call(
        operation=OPERATIONS[operation],
        target=Target(name=f"up/{model}", model=model, label=f"up/{model}", endpoint=endpoint),
        params=params,
        overrides=Params(overrides),
        limits=limits,
        headers=headers,
    )


async def complete(adapter: LiteLLMAdapter, call: Call) -> Reply:
    return await adapter.complete(call)


async def open_stream(adapter: LiteLLMAdapter, call: Call) -> Stream:
    return await adapter.stream(call)


async def failure(adapter: LiteLLMAdapter, call: Call, *, stream: bool = False) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await (_read_all(adapter, call) if stream else complete(adapter, call))
    return caught.value


async def chunks_of(stream: Stream, into: list[JsonObject] | None = None) -> list[JsonObject]:
    """Return the data of all events but comments, which keep the client's connection alive."""
    events: list[JsonObject] = []
    into = [] if into is None else into
    try:
        await data_of(stream, events)
    finally:
        into += [event for event in events if event]
    return into


async def _read_all(adapter: LiteLLMAdapter, call: Call) -> list[JsonObject]:
    return await data_of(await open_stream(adapter, call))


def events(*parts: tuple[int, str, str | None], usage: JsonObject | None = None) -> str:
    """Return a whole stream of OpenAI's wire, of choice, text and finish reason each, by the model `m-2026`."""
    chunks: list[JsonObject] = [
        {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason}]}
        for index, text, reason in parts
    ]
    if usage is not None:
        chunks.append({"choices": [], "usage": usage})
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m-2026"}
    return "".join(f"data: {json.dumps(head | chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def text_of(chunks: list[JsonObject]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def body_of(error: UpstreamError) -> JsonObject:
    assert error.body is not None
    body = json.loads(error.body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    found: JsonObject = body["error"]
    return found


def azure_embeddings(upstream: ScriptedAnthropic, **outcome: Any) -> ScriptedAnthropic:
    """Make the one scripted server that serves every path answer as Azure does."""
    vector = {"object": "embedding", "index": 0, "embedding": [0.6, 0.8, 0.0]}
    body = {"object": "list", "data": [vector], "model": "e", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    return upstream.script("e", body=json.dumps(body).encode(), **outcome)
