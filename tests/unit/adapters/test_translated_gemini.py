"""Chat and embeddings on an endpoint that speaks Gemini's own API: put into that, sent, and put back."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.adapters.base import Call, NotSupported
from gateway.adapters.events import Stream
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.adapters.translated import TranslatedAdapter
from gateway.operations import OPERATIONS
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.keys import KeySource, Secret
from gateway.policy.target import Endpoint, Limits, Target
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import CHAT_TOOL, assistant, tool, user
from tests.unit.adapters.anthropic.summed import chat_sum, messages_sum
from tests.wires import gemini
from tests.wires.play import Tool
from tests.wires.upstream import WireUpstream

MODEL = "gemini-3-pro-preview"
WEATHER = Tool("weather", {"city": "Bern"})


@pytest.fixture
async def upstream() -> AsyncIterator[WireUpstream]:
    async with WireUpstream() as server:
        yield server


@pytest.fixture
async def adapter() -> AsyncIterator[TranslatedAdapter]:
    relay = RelayAdapter()
    yield TranslatedAdapter({"relay": relay})
    await relay.close()


def a_call(upstream: WireUpstream, operation: str = "chat", *, model: str = MODEL, **params: Json) -> Call:
    endpoint = Endpoint(
        provider="gemini", kind="gemini", adapter="gemini", relay_url=f"{upstream.root_url}/v1beta",
        base_url=upstream.root_url, own_base_url=True, api_key=KeySource(name="k", value=Secret("sk-gemini-key")),
    )  # fmt: skip
    said: JsonObject = {"messages": [user()]} if operation != "embeddings" else {}
    return Call(
        operation=OPERATIONS[operation],
        target=Target(name=f"gemini/{model}", model=model, label=f"gemini/{model}", endpoint=endpoint),
        params={**said, **params},
        limits=Limits(connect_s=5.0, first_token_s=5.0, idle_s=5.0, total_s=5.0),
    )


async def read_all(stream: Stream, found: list[JsonObject]) -> list[JsonObject]:
    """Read a stream to its end, into `found`."""
    try:
        while events := await stream.read():
            for event in events:
                found += [one.data for one in event.singly() if one.data is not None]
    finally:
        await stream.aclose()
    return found


async def _streamed(adapter: TranslatedAdapter, call: Call) -> list[JsonObject]:
    return await read_all(await adapter.stream(call), [])


async def test_a_plain_answer(adapter: TranslatedAdapter, upstream: WireUpstream) -> None:
    upstream.script(MODEL, text="hello", thinking="hm")
    reply = await adapter.complete(a_call(upstream, temperature=0.5))
    message = reply.data["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("hello", "hm")
    assert reply.data["usage"]["total_tokens"] == 12
    (request,) = upstream.requests
    assert (request.path, request.query) == (f"/v1beta/models/{MODEL}:generateContent", {})
    assert request.headers["x-goog-api-key"] == "sk-gemini-key"
    assert "authorization" not in request.headers
    assert request.body == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"temperature": 0.5},
    }


async def test_the_key_is_never_in_the_url(adapter: TranslatedAdapter, upstream: WireUpstream) -> None:
    await adapter.complete(a_call(upstream))
    await _streamed(adapter, a_call(upstream))
    assert [request.query for request in upstream.requests] == [{}, {"alt": "sse"}]


@pytest.mark.parametrize("thinking", [None, "let me see"])
async def test_a_stream_of_text(adapter: TranslatedAdapter, upstream: WireUpstream, thinking: str | None) -> None:
    said = 'one two "three" four\nfive é \u2028 six </b> seven \U0001f600 eight'
    upstream.script(MODEL, text=said, thinking=thinking)
    chunks = await _streamed(adapter, a_call(upstream))
    found = chat_sum(chunks)
    assert (found["text"], found["reasoning"], found["finish"]) == (said, thinking or "", "stop")
    assert found["usage"]["total_tokens"] == 12
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks if chunk["choices"]].count("assistant") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_with_a_tool_and_the_next(
    adapter: TranslatedAdapter, upstream: WireUpstream, stream: bool
) -> None:
    """The signature comes back in the id of the call, the name of the function from the history."""
    upstream.script(MODEL, text="I look.", tools=[WEATHER, Tool("time", {})])
    call = a_call(upstream, tools=[CHAT_TOOL])
    if stream:
        found = chat_sum(await _streamed(adapter, call))
        ids = [made[0] for made in found["calls"]]
        assert (found["text"].strip(), found["finish"]) == ("I look.", "tool_calls")
    else:
        choice = (await adapter.complete(call)).data["choices"][0]
        ids = [made["id"] for made in choice["message"]["tool_calls"]]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("I look.", "tool_calls")
    assert len(set(ids)) == 2
    calls = [
        {"id": one, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for one, name in zip(ids, ("weather", "time"), strict=True)
    ]
    history = [user(), assistant("I look.", tool_calls=calls), tool(ids[0]), tool(ids[1], "noon")]
    upstream.script(MODEL, text="done")
    await adapter.complete(a_call(upstream, tools=[CHAT_TOOL], messages=history))
    said, results = upstream.requests[-1].body["contents"][1:]
    assert said["parts"][0] == {"text": "I look."}
    assert [part.get("thoughtSignature") for part in said["parts"][1:]] == [gemini.SIGNATURE, None]
    assert [part["functionResponse"]["name"] for part in results["parts"]] == ["weather", "time"]
    assert [part["functionResponse"]["id"] for part in results["parts"]] == [
        part["functionCall"]["id"] for part in said["parts"][1:]
    ]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"cut_after": 2}, Kind.BAD_RESPONSE),
        ({"cut_inside": 2}, Kind.BAD_RESPONSE),
        ({"end_after": 2}, Kind.BAD_RESPONSE),
        ({"stop": "MALFORMED_FUNCTION_CALL"}, Kind.BAD_RESPONSE),
        ({"stop": "MISSING_THOUGHT_SIGNATURE"}, Kind.BAD_RESPONSE),
        ({"error_after": 2}, Kind.OVERLOADED),
        ({"error_after": 2, "error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}, Kind.RATE_LIMIT),
    ],
)
async def test_a_broken_stream_never_looks_whole(
    adapter: TranslatedAdapter, upstream: WireUpstream, fault: dict[str, Any], kind: Kind
) -> None:
    upstream.script(MODEL, **fault)
    stream = await adapter.stream(a_call(upstream))
    found: list[JsonObject] = []
    with pytest.raises(UpstreamError) as raised:
        await read_all(stream, found)
    assert raised.value.kind is kind
    assert chat_sum(found)["finish"] is None


@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_prompt_is_a_refusal(adapter: TranslatedAdapter, upstream: WireUpstream, stream: bool) -> None:
    blocked: JsonObject = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}
    upstream.script(MODEL, **({"parts": [gemini.event(blocked)]} if stream else {"body": json.dumps(blocked).encode()}))
    asked = _streamed(adapter, a_call(upstream)) if stream else adapter.complete(a_call(upstream))
    with pytest.raises(UpstreamError) as raised:
        await asked
    assert raised.value.kind is Kind.CONTENT_FILTER
    assert b"the prompt was blocked: SAFETY" in (raised.value.body or b"")


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "API key not valid. Please pass a valid API key."}, Kind.AUTH),
        (400, {"message": "The input token count (9) exceeds the maximum number of tokens allowed (8)."},
         Kind.CONTEXT_WINDOW),
        (400, {"message": "Function call is missing a thought_signature."}, Kind.BAD_REQUEST),
        (403, {}, Kind.AUTH),
        (403, {"message": "You do not have permission to access the File abc1 or it may not exist."}, Kind.BAD_REQUEST),
        (404, {"message": "models/x is not found for API version v1beta"}, Kind.NOT_FOUND),
        (429, {}, Kind.RATE_LIMIT),
        (500, {}, Kind.SERVER_ERROR),
        (503, {"message": "The model is overloaded. Please try again later."}, Kind.OVERLOADED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_has_its_kind(
    adapter: TranslatedAdapter, upstream: WireUpstream, status: int, error: JsonObject, kind: Kind, stream: bool
) -> None:
    upstream.script(MODEL, status=status, error=error)
    with pytest.raises(UpstreamError) as raised:
        await (adapter.stream if stream else adapter.complete)(a_call(upstream))
    assert (raised.value.kind, raised.value.status) == (kind, status)


async def test_a_wait_is_read_from_the_details(adapter: TranslatedAdapter, upstream: WireUpstream) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}]
    upstream.script(MODEL, status=429, error={"details": details})
    with pytest.raises(UpstreamError) as raised:
        await adapter.complete(a_call(upstream))
    assert raised.value.retry_after_s == 3.0


@pytest.mark.parametrize("model", ["..", "."])
async def test_a_model_cannot_steer_the_path(adapter: TranslatedAdapter, upstream: WireUpstream, model: str) -> None:
    with pytest.raises(NotSupported):
        await adapter.complete(a_call(upstream, model=model))
    assert not upstream.requests


async def test_a_model_may_say_its_folder(adapter: TranslatedAdapter, upstream: WireUpstream) -> None:
    await adapter.complete(a_call(upstream, model="models/gemini-2.5-pro"))
    assert upstream.requests[0].path == "/v1beta/models/gemini-2.5-pro:generateContent"


@pytest.mark.parametrize("stream", [False, True])
async def test_messages_reach_gemini_by_way_of_chat(
    adapter: TranslatedAdapter, upstream: WireUpstream, stream: bool
) -> None:
    upstream.script(MODEL, text="I look.", tools=[WEATHER])
    schema: JsonObject = {"type": "object", "properties": {"city": {"type": "string"}}}
    call = a_call(
        upstream, "messages", max_tokens=99, system="be brief", tools=[{"name": "weather", "input_schema": schema}]
    )
    if stream:
        summed = messages_sum(await _streamed(adapter, call))
        [(kind, said, *_), (_, given, call_id, name)] = summed["blocks"]
        assert (kind, said.strip(), given, summed["stop"]) == ("text", "I look.", '{"city":"Bern"}', "tool_use")
    else:
        text, use = (await adapter.complete(call)).data["content"]
        assert (text["text"], use["input"]) == ("I look.", WEATHER.arguments)
        call_id, name = use["id"], use["name"]
    assert name == "weather"
    body = upstream.requests[0].body
    assert body["systemInstruction"] == {"parts": [{"text": "be brief"}]}
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == schema
    use = {"type": "tool_use", "id": call_id, "name": name, "input": {"city": "Bern"}}
    result = {"type": "tool_result", "tool_use_id": call_id, "content": "sunny"}
    turns = [user(), {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    await adapter.complete(a_call(upstream, "messages", max_tokens=99, messages=turns))
    _, said, results = upstream.requests[1].body["contents"]
    assert said["parts"][0]["thoughtSignature"] == gemini.SIGNATURE
    assert results["parts"][0]["functionResponse"]["response"] == {"content": "sunny"}


@pytest.mark.parametrize("base64_asked", [False, True])
async def test_embeddings(adapter: TranslatedAdapter, upstream: WireUpstream, base64_asked: bool) -> None:
    more = {"encoding_format": "base64"} if base64_asked else {}
    call = a_call(upstream, "embeddings", model="gemini-embedding-001", input=["ab", "c"], dimensions=2, **more)
    found = (await adapter.complete(call)).data
    assert [one["index"] for one in found["data"]] == [0, 1]
    first = found["data"][0]["embedding"]
    assert (list(struct.unpack("<2f", base64.b64decode(first))) if base64_asked else first) == [0.5, 0.5]
    assert "usage" not in found, "Gemini tells none, and nothing is made up"
    (request,) = upstream.requests
    assert request.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert request.body["requests"][1] == {
        "model": "models/gemini-embedding-001", "outputDimensionality": 2, "content": {"parts": [{"text": "c"}]},
    }  # fmt: skip


async def test_tokens_are_no_input_of_gemini(adapter: TranslatedAdapter, upstream: WireUpstream) -> None:
    with pytest.raises(NotSupported, match="does not support an input that is no text"):
        await adapter.complete(a_call(upstream, "embeddings", input=[1, 2]))


async def test_tokens_are_counted_of_the_request_that_would_be_made(
    adapter: TranslatedAdapter, upstream: WireUpstream
) -> None:
    params: JsonObject = {"system": "be brief", "tools": [{"name": "weather", "input_schema": {"type": "object"}}]}
    reply = await adapter.complete(a_call(upstream, "count_tokens", **params))
    assert reply.data == {"input_tokens": 1}
    (request,) = upstream.requests
    assert (request.path, request.query) == (f"/v1beta/models/{MODEL}:countTokens", {})
    counted = request.body["generateContentRequest"]
    assert counted["model"] == f"models/{MODEL}"
    await adapter.complete(a_call(upstream, "messages", max_tokens=9, **params))
    made = upstream.requests[1].body
    assert {name: counted[name] for name in ("contents", "systemInstruction", "tools")} == {
        name: made[name] for name in ("contents", "systemInstruction", "tools")
    }


async def test_a_refused_count_has_its_kind(adapter: TranslatedAdapter, upstream: WireUpstream) -> None:
    upstream.script(MODEL, status=429)
    with pytest.raises(UpstreamError) as raised:
        await adapter.complete(a_call(upstream, "count_tokens"))
    assert raised.value.kind is Kind.RATE_LIMIT
    with pytest.raises(NotSupported, match="containers"):
        await adapter.complete(a_call(upstream, "count_tokens", container="c"))
