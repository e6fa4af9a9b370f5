"""What translations bound: a client chooses the request, an upstream the answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest

from gateway.adapters.anthropic import to_chat, to_messages
from gateway.adapters.base import MAX_NAMED, MAX_TOOLS, NotSupported
from gateway.adapters.events import Stream
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.adapters.responses import request as responses_request
from gateway.adapters.translated import TranslatedAdapter
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject
from tests.relay_calls import MESSAGES, a_call
from tests.scripted_openai import ScriptedOpenAI

TRANSLATE: Final[dict[str, Callable[[JsonObject], object]]] = {
    "messages": lambda fields: to_chat.request({"model": "m", "messages": MESSAGES, **fields}),
    "chat": lambda fields: to_messages.request({"model": "claude-sonnet-4-5", "messages": MESSAGES, **fields}),
    "responses": lambda fields: responses_request({"input": "hi", **fields}),
}
MANY: Final = 100_000
"""What a body of 4 MiB holds. Quadratic time would be minutes."""


@pytest.mark.parametrize("translate", TRANSLATE.values(), ids=TRANSLATE.keys())
def test_a_refusal_names_a_few_of_many(translate: Callable[[JsonObject], object]) -> None:
    with pytest.raises(NotSupported) as refused:
        translate({"tools": [{"type": f"{number} " + "x" * 1000} for number in range(1000)]})
    assert len(str(refused.value)) < 1000
    if translate is not TRANSLATE["responses"]:  # which names the first
        assert str(refused.value).endswith(f" and {1000 - MAX_NAMED} more")


@pytest.mark.parametrize("translate", TRANSLATE.values(), ids=TRANSLATE.keys())
def test_a_refusal_names_nothing_twice(translate: Callable[[JsonObject], object]) -> None:
    with pytest.raises(NotSupported, match=r"^does not support (tools of type x|hosted tools \(x\))$"):
        translate({"tools": [{"type": "x"}] * 10})


@pytest.mark.parametrize("translate", TRANSLATE.values(), ids=TRANSLATE.keys())
def test_more_tools_than_anybody_has_are_refused(translate: Callable[[JsonObject], object]) -> None:
    """A million of them would stop the event loop for seconds."""
    is_chat = translate is TRANSLATE["chat"]
    tools: list[JsonObject] = [{"type": "function", "name": f"f{number}"} for number in range(MAX_TOOLS + 1)]
    if is_chat:
        tools = [{"type": "function", "function": tool} for tool in tools]
    elif translate is TRANSLATE["messages"]:
        tools = [{"name": tool["name"]} for tool in tools]
    translate({"tools": tools[:-1]})
    with pytest.raises(NotSupported, match=r"^does not support more than 10,000 tools$"):
        translate({"tools": tools})


def test_the_tools_of_a_namespace_count() -> None:
    members = [{"type": "function", "name": f"f{number}"} for number in range(MAX_TOOLS + 1)]
    with pytest.raises(NotSupported, match=r"^does not support more than 10,000 tools$"):
        responses_request({"input": "hi", "tools": [{"type": "namespace", "name": "n", "tools": members}]})


def test_many_system_messages_take_linear_time() -> None:
    turns = [{"role": "system", "content": "a"}] * MANY
    assert len(to_chat.request({"model": "m", "messages": turns}).body["messages"]) == MANY


def test_many_calls_with_one_id_take_linear_time() -> None:
    calls = [{"id": "a", "function": {"name": "f"}}] * MANY
    turns: list[JsonObject] = [*MESSAGES, {"role": "assistant", "tool_calls": calls}, *MESSAGES]
    body = to_messages.request({"model": "claude-sonnet-4-5", "messages": turns}).body
    assert len({block["id"] for block in body["messages"][1]["content"]}) == MANY


def test_a_long_refusal_in_pieces_takes_linear_time() -> None:
    events = to_chat.Events()
    for _ in range(MANY):
        events.feed({"choices": [{"index": 0, "delta": {"refusal": "no " * 10}}]})
    events.feed({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    assert len(events.end()[-2]["delta"]["stop_details"]["explanation"]) == 30 * MANY


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as server:
        yield server


async def _read_all(stream: Stream) -> None:
    while await stream.read():
        pass


async def test_an_endless_stream_is_cut(upstream: ScriptedOpenAI) -> None:
    """Its translation may keep all of it: the last event of a response repeats the whole answer."""
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": "x" * 100}}]}
    upstream.script("a", body=(f"data: {json.dumps(chunk)}\n\n" * 50).encode(), content_type="text/event-stream")
    relay = RelayAdapter()
    adapter = TranslatedAdapter({"relay": relay}, max_stream_bytes=5000)
    stream = await adapter.stream(a_call(upstream.base_url, operation="messages"))
    assert await stream.read()
    with pytest.raises(UpstreamError) as broken:
        await _read_all(stream)
    assert broken.value.kind is Kind.BAD_RESPONSE
    await stream.aclose()
    await relay.close()
