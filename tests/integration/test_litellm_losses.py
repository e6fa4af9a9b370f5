"""What LiteLLM loses of an upstream's answers, and what it makes up: refusals, token counts."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import litellm  # noqa: F401 - here, where its warnings are no errors
import pytest
import pytest_asyncio

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from gateway.wire.json import JsonObject
from tests.litellm_calls import QUIET
from tests.litellm_upstreams import azure_embeddings, make_call, text_of
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming import data_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The first test waits for LiteLLM's import.
    pytest.mark.timeout(60),
    *QUIET,
]

KINDS: Final = ("openai", "azure", "groq", "mistral", "hosted_vllm", "moonshot")
COUNTED: Final = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
_numbers: Final = itertools.count()
WANTED: Final[dict[str, Any]] = {"stream_options": {"include_usage": True}}


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["own", "guest"])
async def adapter(request: pytest.FixtureRequest) -> AsyncIterator[LiteLLMAdapter]:
    """Yield an adapter in a process of our own, then one in a host's, where the transport is not ours to check."""
    adapter = LiteLLMAdapter(own_process=request.param == "own")
    yield adapter
    await adapter.close()


def events(*chunks: JsonObject) -> bytes:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return ("".join(f"data: {json.dumps(head | chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n").encode()


def choice(delta: JsonObject, finish_reason: str | None = None, **fields: Any) -> JsonObject:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, **fields}]}


def answer(message: JsonObject, **fields: Any) -> bytes:
    said = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": "stop",
        **fields.pop("choice", {}),
    }
    # LiteLLM cannot read an answer of Groq's without a tier.
    head = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "service_tier": "default"}
    return json.dumps({**head, "choices": [said], **fields}).encode()


async def stream(
    adapter: LiteLLMAdapter, upstream: Any, kind: str, *chunks: JsonObject, **params: Any
) -> list[JsonObject]:
    # The scripted Anthropic serves every path, as Azure needs it.
    model = f"m{next(_numbers)}"
    upstream.script(model, body=events(*chunks), content_type="text/event-stream")
    return await data_of(await adapter.stream(make_call(upstream, kind, model, **params)))


async def complete(adapter: LiteLLMAdapter, upstream: Any, kind: str, body: bytes) -> JsonObject:
    model = f"m{next(_numbers)}"
    upstream.script(model, body=body)
    return (await adapter.complete(make_call(upstream, kind, model))).data


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_arrives_piece_by_piece(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, kind: str
) -> None:
    chunks = await stream(
        adapter,
        anthropic,
        kind,
        choice({"role": "assistant", "content": "", "refusal": None}),
        choice({"refusal": "I can"}),
        choice({"refusal": "not"}),
        choice({}, "stop"),
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [delta["refusal"] for delta in deltas if delta.get("refusal")] == ["I can", "not"]
    assert not any("annotations" in delta for delta in deltas)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_in_the_only_event_arrives(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, kind: str
) -> None:
    chunks = await stream(adapter, anthropic, kind, choice({"role": "assistant", "refusal": "I cannot"}, "stop"))
    assert "".join(chunk["choices"][0]["delta"].get("refusal") or "" for chunk in chunks) == "I cannot"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    data = await complete(adapter, anthropic, kind, answer({"content": None, "refusal": "I cannot"}))
    assert data["choices"][0]["message"]["refusal"] == "I cannot"


@pytest.mark.parametrize("kind", KINDS)
async def test_token_counts_that_were_not_told_are_not_made_up(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, kind: str
) -> None:
    chunks = await stream(adapter, anthropic, kind, choice({"content": "hello"}), choice({}, "stop"), **WANTED)
    assert text_of(chunks) == "hello"
    assert not any("usage" in chunk for chunk in chunks)
    assert "usage" not in await complete(adapter, anthropic, kind, answer({"content": "hello"}))


@pytest.mark.parametrize("kind", KINDS)
async def test_token_counts_are_those_that_were_told(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, kind: str
) -> None:
    told = {"choices": [], "usage": COUNTED}
    said = (choice({"reasoning_content": "I think"}), choice({"content": "hello"}), choice({}, "stop"), told)
    assert (await stream(adapter, anthropic, kind, *said, **WANTED))[-1]["usage"] == COUNTED
    assert not any("usage" in chunk for chunk in await stream(adapter, anthropic, kind, *said))
    assert (await complete(adapter, anthropic, kind, answer({"content": "hi"}, usage=COUNTED)))["usage"] == COUNTED


@pytest.mark.parametrize("kind", ["openai", "moonshot"])
async def test_token_counts_beside_a_choice_are_kept(
    adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic, kind: str
) -> None:
    """Moonshot tells them there. Source: https://platform.moonshot.ai/docs/api/chat"""
    said = (choice({"content": "hello"}), choice({}, "stop", usage=COUNTED))
    chunks = await stream(adapter, anthropic, kind, *said, **WANTED)
    assert [chunk["usage"] for chunk in chunks if "usage" in chunk] == [COUNTED]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], COUNTED)
    assert not any("usage" in chunk for chunk in await stream(adapter, anthropic, kind, *said))
    data = await complete(adapter, anthropic, kind, answer({"content": "hi"}, choice={"usage": COUNTED}))
    assert data["usage"] == COUNTED
    assert "provider_specific_fields" not in data["choices"][0]


async def test_token_counts_of_other_wires_are_kept(adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic) -> None:
    anthropic.script("c", reply="hello", usage={"input_tokens": 7, "output_tokens": 3})
    call = make_call(anthropic, "anthropic", "c", **WANTED)
    plain = (await adapter.complete(call)).data["usage"]
    streamed = (await data_of(await adapter.stream(call)))[-1]["usage"]
    for usage in (plain, streamed):
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 3)
    candidate = {"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}
    counts = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
    body = json.dumps({"candidates": [candidate], "usageMetadata": counts}).encode()
    usage = (await complete(adapter, anthropic.script("", body=body), "gemini", body))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 3)
    data = {"model": "m", "message": {"role": "assistant", "content": "hi"}, "done": True}
    told = {**data, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 3}
    usage = (await complete(adapter, anthropic, "ollama_chat", json.dumps(told).encode()))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 3)


async def test_counts_of_embeddings_are_kept(adapter: LiteLLMAdapter, anthropic: ScriptedAnthropic) -> None:
    call = make_call(azure_embeddings(anthropic), "openai", "e", operation="embeddings", input=["a"])
    assert (await adapter.complete(call)).data["usage"]["prompt_tokens"] == 1


async def test_what_an_answer_has_beside_its_text_is_kept(adapter: LiteLLMAdapter, openai: ScriptedOpenAI) -> None:
    logprobs = {"content": [{"token": "h", "logprob": -1.0, "bytes": [1], "top_logprobs": []}]}
    cited = [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}]
    calls = [
        {"index": index, "id": f"c{index}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for index in range(2)
    ]
    beside = {"system_fingerprint": "fp", "service_tier": "flex"}
    message = {"content": "hi", "reasoning_content": "I think", "annotations": cited, "tool_calls": calls}
    openai.script("m", body=answer(message, choice={"logprobs": logprobs}, usage=COUNTED, citations=["u"], **beside))
    data = (await adapter.complete(make_call(openai, "openai", "m"))).data
    said = data["choices"][0]
    assert {name: data[name] for name in beside} == beside
    assert (data["citations"], said["logprobs"]) == (["u"], logprobs)
    assert (said["message"]["reasoning_content"], said["message"]["annotations"]) == ("I think", cited)
    assert [one["id"] for one in said["message"]["tool_calls"]] == ["c0", "c1"]

    said_in_pieces = (
        beside | choice({"role": "assistant", "reasoning_content": "I think"}),
        beside | choice({"content": "hi"}, logprobs=logprobs),
        beside | choice({"annotations": cited}),
        *(beside | choice({"tool_calls": [one]}) for one in calls),
        choice({}, "tool_calls"),
    )
    openai.script("s", body=events(*said_in_pieces), content_type="text/event-stream")
    chunks = await data_of(await adapter.stream(make_call(openai, "openai", "s")))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert all(chunk["system_fingerprint"] == "fp" for chunk in chunks[:-1])
    assert chunks[1]["choices"][0]["logprobs"] == logprobs
    assert deltas[0]["reasoning_content"] == "I think"
    assert deltas[2]["annotations"] == cited
    assert [one["index"] for delta in deltas for one in delta.get("tool_calls", ())] == [0, 1]
