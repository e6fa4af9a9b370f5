"""LiteLLMAdapter with the real LiteLLM, over real sockets, against scripted upstreams of two wires."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import (
    KEY,
    WEATHER,
    azure_embeddings,
    body_of,
    chunks_of,
    complete,
    events,
    failure,
    make_call,
    open_stream,
    text_of,
)
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]


async def test_anthropic_answers_in_openai_shape(adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic) -> None:
    anthropic.script("claude", reply="good day", model="claude-20260101", headers={"retry-after": "1", "server": "x"})
    reply = await complete(adapter, make_call(anthropic, "anthropic", "claude", temperature=0.5, max_tokens=7))
    assert reply.data["choices"] == [
        {"finish_reason": "stop", "index": 0, "message": {"content": "good day", "role": "assistant"}}
    ]
    assert reply.data["object"] == "chat.completion"
    assert reply.data["model"] == "claude-20260101"
    assert reply.data["usage"]["prompt_tokens"] == 7
    assert reply.headers == {"retry-after": "1", "request-id": "req_1"}
    assert reply.raw is None
    sent = anthropic.requests[0]
    assert sent.path == "/v1/messages"
    assert (sent.body["temperature"], sent.body["max_tokens"]) == (0.5, 7)
    assert sent.headers["x-api-key"] == KEY


async def test_openai_wire_answers_with_its_headers_and_model(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    headers = {"x-ratelimit-remaining-tokens": "5", "openai-organization": "acme", "set-cookie": "a=b"}
    choice = {"index": 0, "message": {"role": "assistant", "content": "good day"}, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m-2026", "choices": [choice]}
    openai.script("m", body=body, headers=headers)
    reply = await complete(adapter, make_call(openai, "openai", "m", seed=5))
    assert reply.data["choices"][0]["message"] == {"content": "good day", "role": "assistant"}
    assert reply.data["model"] == "m-2026"
    assert reply.headers == {"x-ratelimit-remaining-tokens": "5", "openai-organization": "acme"}
    assert openai.requests[0].body["seed"] == 5


async def test_base_url_of_anthropic_may_end_in_v1(adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic) -> None:
    await complete(adapter, make_call(anthropic.base_url + "/v1", "anthropic", "claude"))
    assert anthropic.requests[0].path == "/v1/messages"


async def test_tools_make_the_round_trip_in_anthropics_wire(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic
) -> None:
    use = {"id": "toolu_1", "name": "weather", "input": {"city": "Berlin"}}
    anthropic.script("claude", tool_uses=[use], thinking="hm").script("claude", reply="it is sunny")
    asked = [{"role": "user", "content": "weather?"}]
    first = await complete(adapter, make_call(anthropic, "anthropic", "claude", messages=asked, tools=[WEATHER]))
    message = first.data["choices"][0]["message"]
    assert first.data["choices"][0]["finish_reason"] == "tool_calls"
    assert message["content"] is None
    assert message["reasoning_content"] == "hm"
    call = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Berlin"}'}}
    assert message["tool_calls"] == [call]

    again = [*asked, message, {"role": "tool", "tool_call_id": "toolu_1", "content": "sun"}]
    second = await complete(adapter, make_call(anthropic, "anthropic", "claude", messages=again, tools=[WEATHER]))
    assert second.data["choices"][0]["message"]["content"] == "it is sunny"
    assert again[1] is message
    assert anthropic.requests[0].body["tools"][0]["name"] == "weather"
    blocks = [block for turn in anthropic.requests[1].body["messages"] for block in turn["content"]]
    assert [block["type"] for block in blocks if "tool" in block["type"]] == ["tool_use", "tool_result"]


async def test_request_headers_and_the_endpoints_own_go_upstream(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI
) -> None:
    for upstream, kind in ((anthropic, "anthropic"), (openai, "openai")):
        call = make_call(upstream, kind, "m", headers={"x-request-id": "r1"}, endpoint_headers={"x-team": "blue"})
        await complete(adapter, call)
        sent = upstream.requests[0].headers
        assert (sent["x-request-id"], sent["x-team"]) == ("r1", "blue")


async def test_unsupported_sampling_parameters_are_dropped(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic
) -> None:
    await complete(
        adapter, make_call(anthropic, "anthropic", "claude", seed=5, logit_bias={"1": 1}, presence_penalty=1)
    )
    assert not {"seed", "logit_bias", "presence_penalty"} & set(anthropic.requests[0].body)


async def test_a_text_format_and_what_the_file_allows_are_not_refused(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI
) -> None:
    await complete(adapter, make_call(openai, "openai", "gpt-4", response_format={"type": "text"}))
    allowed = {"allowed_openai_params": ["response_format"]}
    call = make_call(openai, "openai", "gpt-4", response_format={"type": "json_object"}, overrides=allowed)
    await complete(adapter, call)
    assert openai.requests[1].body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("kind", ["openai", "hosted_vllm", "mistral", "azure"])
async def test_embeddings_come_as_openai_sends_them(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, kind: str
) -> None:
    upstream = azure_embeddings(anthropic) if kind == "azure" else openai
    reply = await complete(adapter, make_call(upstream, kind, "e", operation="embeddings", input=["a"]))
    assert reply.data["data"] == [{"embedding": [0.6, 0.8, 0.0], "index": 0, "object": "embedding"}]
    assert reply.data["object"] == "list"
    assert reply.data["usage"]["prompt_tokens"] == 1


async def test_anthropic_streams_text_thinking_and_usage_as_it_comes(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic
) -> None:
    anthropic.script("claude", reply="one two three", thinking="hm hm", model="claude-20260101")
    call = make_call(anthropic, "anthropic", "claude", stream_options={"include_usage": True})
    chunks = await chunks_of(await open_stream(adapter, call))
    assert text_of(chunks) == "one two three"
    reasoning = [choice["delta"].get("reasoning_content") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(piece or "" for piece in reasoning) == "hm hm"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-2]["choices"] == [{"finish_reason": "stop", "index": 0, "delta": {}}]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == 7
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert all(choice["finish_reason"] is None for chunk in chunks[:-2] for choice in chunk["choices"])
    assert anthropic.requests[0].body["stream"] is True


@pytest.mark.parametrize("kind", ["openai", "groq", "hosted_vllm", "mistral"])
async def test_openai_wire_streams_name_the_upstreams_model_and_end_with_usage(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str
) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    body = events((0, "one ", None), (0, "two ", None), (0, "three", None), (0, "", "stop"), usage=usage)
    headers = {"x-ratelimit-limit-requests": "9"}
    openai.script("m", body=body, content_type="text/event-stream", headers=headers)
    stream = await open_stream(adapter, make_call(openai, kind, "m", stream_options={"include_usage": True}))
    assert stream.headers == {"x-ratelimit-limit-requests": "9"}
    chunks = await chunks_of(stream)
    assert text_of(chunks) == "one two three"
    assert {chunk["model"] for chunk in chunks} == {"m-2026"}
    assert [chunk["choices"] for chunk in chunks if chunk.get("usage")] == [[]]
    assert chunks[-1]["usage"]["total_tokens"] == 10


async def test_usage_comes_only_when_it_was_asked_for(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI
) -> None:
    for upstream, kind in ((anthropic, "anthropic"), (openai, "openai")):
        chunks = await chunks_of(await open_stream(adapter, make_call(upstream, kind, "m")))
        assert not [chunk for chunk in chunks if chunk.get("usage") or not chunk["choices"]]
    assert "stream_options" not in openai.requests[0].body


async def test_tool_call_deltas_are_not_bunched(adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic) -> None:
    use = {"id": "toolu_1", "name": "weather", "input": {"city": "Berlin, Alexanderplatz"}}
    anthropic.script("claude", tool_uses=[use])
    chunks = await chunks_of(await open_stream(adapter, make_call(anthropic, "anthropic", "claude", tools=[WEATHER])))
    calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", ())]
    assert len(calls) >= 4
    assert calls[0]["id"] == "toolu_1"
    assert calls[0]["function"]["name"] == "weather"
    assert json.loads("".join(call["function"].get("arguments") or "" for call in calls)) == use["input"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_first_chunk_comes_while_the_upstream_is_still_talking(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI
) -> None:
    for upstream, kind in ((anthropic, "anthropic"), (openai, "openai"), (openai, "groq")):
        upstream.script("m", reply="one two", stall_after=1)
        stream = await open_stream(adapter, make_call(upstream, kind, "m"))
        text = ""
        async with contextlib.aclosing(stream):
            while not text:
                text = text_of([event.data for event in await stream.read() if event.data])
        assert text == "one "


async def test_every_choice_of_a_stream_gets_its_finish_reason(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    """LiteLLM drops the finish reasons of all choices but the first."""
    body = events((0, "a", None), (1, "b", None), (0, "", "stop"), (1, "c", None), (1, "", "length"))
    openai.script("m", body=body, content_type="text/event-stream")
    chunks = await chunks_of(await open_stream(adapter, make_call(openai, "openai", "m", n=2)))
    reasons = [(choice["index"], choice["finish_reason"]) for chunk in chunks for choice in chunk["choices"]]
    assert [pair for pair in reasons if pair[1]] == [(0, "stop"), (1, "length")]


@pytest.mark.parametrize("fault", ["end_after", "cut_after", "malformed_after"])
async def test_broken_anthropic_stream_never_looks_complete(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, fault: str
) -> None:
    """LiteLLM makes up a finish reason `stop` for a stream that just ends, and skips an event that it cannot read."""
    anthropic.script("claude", reply="one two three", **{fault: 2})
    if fault == "malformed_after":
        anthropic.script("claude", reply="x")
    stream = await open_stream(adapter, make_call(anthropic, "anthropic", "claude"))
    seen: list[JsonObject] = []
    with pytest.raises(UpstreamError) as caught:
        await chunks_of(stream, seen)
    assert caught.value.kind is Kind.BAD_RESPONSE
    assert text_of(seen).startswith("one ")
    assert not [choice for chunk in seen for choice in chunk["choices"] if choice["finish_reason"]]
    assert await stream.read() == []


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("openai", {"no_finish": True}),
        ("openai", {"cut_after": 2}),
        ("openai", {"cut_after": 2, "reset": True}),
        ("openai", {"malformed_after": 2}),
        ("groq", {"no_finish": True, "no_done": True}),
        ("groq", {"cut_after": 2}),
    ],
)
async def test_broken_openai_wire_stream_never_looks_complete(
    adapter: LiteLLMAdapter, openai: ScriptedOpenAI, kind: str, fault: dict[str, Any]
) -> None:
    openai.script("m", reply="one two three", **fault)
    error = await failure(adapter, make_call(openai, kind, "m"), stream=True)
    assert error.kind is Kind.BAD_RESPONSE


async def test_an_error_event_has_its_own_kind(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI
) -> None:
    said = {"type": "overloaded_error", "message": "Overloaded"}
    anthropic.script("m", reply="one two", error_event_after=1, error=said)
    openai.script("m", reply="one two", error_event_after=1, error={"type": "rate_limit_error", "message": "slow"})
    openai.script("n", reply="one two", error_event_after=1, error={"type": "server_error", "message": "oh no"})
    first = await failure(adapter, make_call(anthropic, "anthropic", "m"), stream=True)
    second = await failure(adapter, make_call(openai, "openai", "m"), stream=True)
    third = await failure(adapter, make_call(openai, "groq", "n"), stream=True)
    assert [first.kind, second.kind, third.kind] == [Kind.OVERLOADED, Kind.RATE_LIMIT, Kind.SERVER_ERROR]
    assert body_of(second)["message"] == "slow"
    assert second.code == "rate_limit_error"


@pytest.mark.parametrize("kind", ["anthropic", "openai", "groq", "hosted_vllm"])
@pytest.mark.parametrize("begun", [True, False])
async def test_an_abandoned_stream_closes_the_upstream(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, kind: str, begun: bool
) -> None:
    upstream: ScriptedAnthropic | ScriptedOpenAI = anthropic if kind == "anthropic" else openai
    upstream.script("m", reply="one two three", stall_after=1)
    stream = await open_stream(adapter, make_call(upstream, kind, "m"))
    if begun:
        await stream.read()
    await stream.aclose()
    await upstream.wait_for_disconnect(1.0)
    await stream.aclose()
    assert await stream.read() == []


@pytest.mark.parametrize("kind", ["anthropic", "openai", "groq"])
async def test_cancelling_while_a_chunk_is_awaited_closes_the_upstream(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, kind: str
) -> None:
    upstream: ScriptedAnthropic | ScriptedOpenAI = anthropic if kind == "anthropic" else openai
    upstream.script("m", reply="one two three", stall_after=1)
    stream = await open_stream(adapter, make_call(upstream, kind, "m"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(chunks_of(stream, []), 0.2)
    await upstream.wait_for_disconnect(1.0)


@pytest.mark.parametrize("kind", ["anthropic", "openai", "groq"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_cancelling_a_call_closes_the_upstream(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, openai: ScriptedOpenAI, kind: str, streaming: bool
) -> None:
    anthropic.script("m", gate=asyncio.Event())
    openai.script("m", delay_s=30)
    upstream: ScriptedAnthropic | ScriptedOpenAI = anthropic if kind == "anthropic" else openai
    call = make_call(upstream, kind, "m")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_until_cancelled(open_stream(adapter, call) if streaming else complete(adapter, call)))
        await upstream.wait_for_calls(1)
        task.cancel()
    await upstream.wait_for_disconnect(1.0)
    assert task.result() == "cancelled"


async def _until_cancelled(awaitable: Any) -> str:
    try:
        await awaitable
    except asyncio.CancelledError:
        return "cancelled"
    return "answered"
