"""What we write, read by the vendors' own SDKs: their types, and what they make of a stream."""

from __future__ import annotations

import json
from typing import Any, Final

import anthropic
import httpx2
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import HealthCheck, given, settings
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from gateway.adapters.anthropic import to_chat, to_messages
from gateway.adapters.base import NotSupported
from gateway.wire import sse
from gateway.wire.json import JsonObject, encode_json
from tests.unit.adapters.anthropic.shapes import (
    CHAT_TOOL,
    MESSAGES_TOOL,
    assistant,
    chat_call,
    completion,
    message,
    png,
    system,
    text,
    tool,
    use,
    user,
)
from tests.unit.adapters.anthropic.summed import chat_sum, messages_sum
from tests.unit.adapters.anthropic.written import CHAT_REQUESTS, MESSAGES_REQUESTS, chat_streams, messages_streams

_QUICK: Final = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
_MESSAGES_BODY: Final[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
_CHAT_BODY: Final[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
_EVENT: Final[Any] = TypeAdapter(anthropic.types.RawMessageStreamEvent)


def _final_message(events: list[JsonObject]) -> Any:
    """Return what Anthropic's client makes of a stream."""
    body = b"".join(sse.encode(encode_json(event), name=event["type"].encode()) for event in events)
    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    transport = httpx2.MockTransport(lambda request: response)
    client = anthropic.Anthropic(
        api_key="none", base_url="http://upstream", http_client=httpx2.Client(transport=transport)
    )
    asked: Any = {"model": "m", "max_tokens": 1, "messages": [user()]}
    with client, client.messages.stream(**asked) as stream:
        return stream.get_final_message()


def _checked(adapter: Any, body: JsonObject) -> None:
    """Check a body against the SDK's type, iterables included."""
    adapter.dump_json(adapter.validate_python(body), warnings="error")


@_QUICK
@given(CHAT_REQUESTS)
def test_bodies_for_messages_have_anthropic_s_types(body: JsonObject) -> None:
    try:
        sent = to_messages.request(body).body
    except NotSupported:
        return
    _checked(_MESSAGES_BODY, sent)


def test_a_body_with_everything_has_anthropic_s_types() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    body = {
        "model": "claude-opus-5",
        "messages": [
            system([text("s", cache_control={"type": "ephemeral"})]),
            user([text("a"), png(), {"type": "file", "file": {"file_data": "JVBERi0x", "filename": "a.pdf"}}]),
            system("later"),
            assistant("b", tool_calls=[chat_call()]),
            tool(content=[text("r"), png()]),
        ],
        "tools": [CHAT_TOOL],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        "stop": ["x"],
        "user": "u",
        "service_tier": "auto",
    }
    _checked(_MESSAGES_BODY, to_messages.request(body).body)


@_QUICK
@given(MESSAGES_REQUESTS)
def test_bodies_for_chat_have_openai_s_types(body: JsonObject) -> None:
    _checked(_CHAT_BODY, to_chat.request(body, is_openai=True).body)


@pytest.mark.parametrize(
    "data",
    [
        completion(content="a", reasoning_content="hm"),
        completion("tool_calls", content=None, tool_calls=[chat_call()]),
        completion(refusal="no"),
        completion("length", content="a"),
    ],
)
def test_answers_are_anthropic_s_messages(data: JsonObject) -> None:
    reply = to_chat.answer(data)
    read = anthropic.types.Message.model_validate(reply, strict=True)
    assert read.to_dict() == {name: value for name, value in reply.items() if name != "container"}


@pytest.mark.parametrize(
    "data",
    [
        message({"type": "thinking", "thinking": "hm", "signature": "s"}, text("a")),
        message(use("a", city="Rome"), stop="tool_use"),
        message(stop="refusal", stop_details={"type": "refusal", "explanation": "no"}),
    ],
)
def test_answers_are_openai_s_completions(data: JsonObject) -> None:
    reply = to_messages.answer(data, created=1)
    assert ChatCompletion.model_validate(reply, strict=True).to_dict() == reply


@_QUICK
@given(messages_streams())
def test_openai_s_sdk_sums_a_stream_up_to_the_same(events: list[JsonObject]) -> None:
    machine = to_messages.Events(created=1)
    chunks = [chunk for event in events for chunk in machine.feed(event)]
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    read, ours = state.current_completion_snapshot, chat_sum(chunks)
    choice = read.choices[0]
    assert (choice.message.content or "") == ours["text"]
    calls: Any = choice.message.tool_calls or ()
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == ours["calls"]
    assert choice.finish_reason == ours["finish"]
    assert read.usage is not None
    assert read.usage.total_tokens == ours["usage"]["total_tokens"]


@_QUICK
@given(chat_streams())
def test_anthropic_s_sdk_sums_a_stream_up_to_the_same(chunks: list[JsonObject]) -> None:
    machine = to_chat.Events()
    events = [event for chunk in chunks for event in machine.feed(chunk)] + machine.end()
    for event in events:
        _EVENT.validate_python(event, strict=True)
    snapshot = _final_message(events)
    ours = messages_sum(events)
    assert [block.input for block in snapshot.content if block.type == "tool_use"] == [
        json.loads(block[1]) for block in ours["blocks"] if block[0] == "tool_use"
    ]
    assert [block.type for block in snapshot.content] == [block[0] for block in ours["blocks"]]
    assert [block.text for block in snapshot.content if block.type == "text"] == [
        block[1] for block in ours["blocks"] if block[0] == "text"
    ]
    assert snapshot.stop_reason == ours["stop"]
    assert snapshot.usage.output_tokens == ours["usage"]["output_tokens"]
    assert snapshot.usage.input_tokens == ours["usage"]["input_tokens"]


def test_tools_have_openai_s_types() -> None:
    body = {"model": "gpt-4o", "max_tokens": 1, "messages": [user()], "tools": [MESSAGES_TOOL]}
    choice = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    _checked(_CHAT_BODY, to_chat.request({**body, "tool_choice": choice}, is_openai=True).body)
