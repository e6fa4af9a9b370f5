"""The mock provider does what its script, or else the model's name, says."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from gateway.adapters.base import Call
from gateway.adapters.events import Event
from gateway.adapters.mock import MockAdapter
from gateway.operations import OPERATIONS
from gateway.operations.embeddings import MOCK_LENGTH
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.params import Params
from gateway.policy.target import Endpoint, Limits, ScriptedOutcome, Target
from tests.streaming import events_of

LIMITS = Limits(connect_s=1.0, first_token_s=1.0, idle_s=1.0, total_s=1.0)
NO_PARAMS: Mapping[str, Any] = MappingProxyType({})


def a_call(
    model: str = "m",
    *script: ScriptedOutcome,
    provider: str = "mock",
    operation: str = "chat",
    params: Mapping[str, Any] = NO_PARAMS,
    overrides: Mapping[str, Any] = NO_PARAMS,
) -> Call:
    endpoint = Endpoint(provider=provider, kind="mock", adapter="mock", script=script)
    target = Target(name=f"{provider}/{model}", model=model, label=f"{provider}/{model}", endpoint=endpoint)
    return Call(OPERATIONS[operation], target, params, LIMITS, Params(overrides))


def asked(*contents: Any, **params: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents], **params}


async def reply_to(adapter: MockAdapter, call: Call) -> dict[str, Any]:
    return (await adapter.complete(call)).data


async def text_of_reply(adapter: MockAdapter, call: Call) -> str:
    text = (await reply_to(adapter, call))["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


async def drain(adapter: MockAdapter, call: Call, into: list[Event]) -> None:
    opened = await adapter.stream(call)
    await events_of(opened, into)


async def stream_of(adapter: MockAdapter, call: Call) -> list[Event]:
    chunks: list[Event] = []
    await drain(adapter, call, chunks)
    return chunks


def contents(chunks: list[Event]) -> list[str]:
    deltas = [choice["delta"] for chunk in chunks for choice in (chunk.data or {})["choices"]]
    return [delta["content"] for delta in deltas if delta.get("content")]


@pytest.fixture
async def adapter() -> MockAdapter:
    adapter = MockAdapter()
    await adapter.prepare()
    return adapter


async def test_a_reply_has_openai_s_shape(adapter: MockAdapter) -> None:
    reply = await adapter.complete(a_call("demo", params=asked("one two", "three")))
    assert (reply.raw, reply.headers) == (None, {})
    created = reply.data.pop("created")
    assert isinstance(created, int)
    assert reply.data == {
        "id": "chatcmpl-mock-1",
        "object": "chat.completion",
        "model": "demo",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello from mock/demo, a model that needs no network."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12},
    }
    await adapter.close()


async def test_a_stream_comes_word_by_word_and_finishes(adapter: MockAdapter) -> None:
    chunks = await stream_of(adapter, a_call("echo", params=asked("one  two\nthree")))
    assert contents(chunks) == ["one  ", "two\n", "three"]
    first, *_, last = (chunk.data for chunk in chunks)
    assert first is not None
    assert last is not None
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert first["object"] == "chat.completion.chunk"
    assert {chunk.data["id"] for chunk in chunks if chunk.data} == {"chatcmpl-mock-1"}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True}])
async def test_usage_comes_last_where_it_is_asked_for(adapter: MockAdapter, options: dict[str, Any] | None) -> None:
    chunks = await stream_of(adapter, a_call("echo", params=asked("one two", stream_options=options)))
    with_usage = [chunk.data for chunk in chunks if chunk.data and "usage" in chunk.data]
    if options and options["include_usage"]:
        assert with_usage == [chunks[-1].data]
        assert with_usage[0]["choices"] == []
        assert with_usage[0]["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    else:
        assert with_usage == []


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"role": "user", "content": "first"}, {"role": "user", "content": "last"}], "last"),
        ([{"role": "user", "content": "said"}, {"role": "assistant", "content": "answered"}], "said"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}, 7]}], "ab"),
        ([{"role": "user", "content": None}], ""),
        ([{"role": "system", "content": "x"}], ""),
        (["not a message"], ""),
        ("not a list", ""),
        (None, ""),
    ],
)
async def test_echo_repeats_the_last_user_message(adapter: MockAdapter, messages: Any, text: str) -> None:
    assert await text_of_reply(adapter, a_call("echo", params={"messages": messages})) == text


async def test_an_empty_text_still_finishes(adapter: MockAdapter) -> None:
    chunks = await stream_of(adapter, a_call("echo"))
    assert contents(chunks) == []
    assert chunks[-1].data is not None
    assert chunks[-1].data["choices"][0]["finish_reason"] == "stop"


async def test_the_file_s_params_win(adapter: MockAdapter) -> None:
    call = a_call("echo", params=asked("asked"), overrides=asked("overridden"))
    assert await text_of_reply(adapter, call) == "overridden"
    assert await text_of_reply(adapter, a_call("echo", params=asked("asked"), overrides={"messages": None})) == ""


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("status-400", 400, Kind.BAD_REQUEST),
        ("status-401", 401, Kind.AUTH),
        ("status-429", 429, Kind.RATE_LIMIT),
        ("status-500", 500, Kind.SERVER_ERROR),
        ("status-503", 503, Kind.OVERLOADED),
    ],
)
@pytest.mark.parametrize("method", ["complete", "stream"])
async def test_a_status_model_answers_that_status(
    adapter: MockAdapter, model: str, status: int, kind: Kind, method: str
) -> None:
    with pytest.raises(UpstreamError) as caught:
        await getattr(adapter, method)(a_call(model))
    failure = caught.value
    assert (failure.kind, failure.status, failure.retry_after_s, failure.headers) == (kind, status, None, {})
    assert failure.body is not None
    assert json.loads(failure.body)["error"]["message"] == f"mock status {status}"


@pytest.mark.parametrize("model", ["status-200", "status-5033", "slow-s", "slow-1h", "cutter", "Echo", "team/echo"])
async def test_any_other_name_is_greeted(adapter: MockAdapter, model: str) -> None:
    assert await text_of_reply(adapter, a_call(model)) == f"Hello from mock/{model}, a model that needs no network."


@pytest.mark.parametrize("model", ["slow-60ms", "slow-0.06s", "slow-0.001m"])
async def test_a_slow_model_waits_before_it_answers(adapter: MockAdapter, model: str) -> None:
    loop = asyncio.get_running_loop()
    for start in (adapter.complete, adapter.stream):
        began = loop.time()
        await start(a_call(model))
        assert loop.time() - began >= 0.059


async def test_a_wait_can_be_cancelled(adapter: MockAdapter) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(adapter.complete(a_call("slow-60s")), 0.01)


async def test_the_cut_model_breaks_after_some_content(adapter: MockAdapter) -> None:
    chunks: list[Event] = []
    with pytest.raises(UpstreamError) as caught:
        await drain(adapter, a_call("cut"), chunks)
    assert (caught.value.kind, caught.value.status) == (Kind.BAD_RESPONSE, 200)
    assert contents(chunks) == ["Hello ", "from "]
    with pytest.raises(UpstreamError, match="bad_response"):
        await adapter.complete(a_call("cut"))


async def test_the_stall_model_falls_silent_after_its_first_content(adapter: MockAdapter) -> None:
    chunks: list[Event] = []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(drain(adapter, a_call("stall"), chunks), 0.01)
    assert contents(chunks) == ["Hello "]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(adapter.complete(a_call("stall")), 0.01)


async def test_a_script_plays_in_order_and_its_last_outcome_stays(adapter: MockAdapter) -> None:
    call = a_call("echo", ScriptedOutcome(status=503, retry_after_s=2.0), ScriptedOutcome(text="a"), ScriptedOutcome())
    with pytest.raises(UpstreamError) as caught:
        await adapter.complete(call)
    assert (caught.value.kind, caught.value.retry_after_s) == (Kind.OVERLOADED, 2.0)
    assert caught.value.headers == {"retry-after": "2"}
    texts = [await text_of_reply(adapter, call) for _ in range(3)]
    assert texts == ["a", "Hello from the mock provider.", "Hello from the mock provider."]


async def test_a_provider_s_script_is_shared_by_its_models(adapter: MockAdapter) -> None:
    script = (ScriptedOutcome(text="1"), ScriptedOutcome(text="2"))
    calls = [a_call("x", *script), a_call("y", *script), a_call("x", *script, provider="other")]
    assert [await text_of_reply(adapter, call) for call in calls] == ["1", "2", "1"]


async def test_a_changed_script_starts_anew(adapter: MockAdapter) -> None:
    first, second = ScriptedOutcome(text="1"), ScriptedOutcome(text="2")
    scripts = [(first, second), (first, second), (second, first), (second, first), (second,)]
    assert [await text_of_reply(adapter, a_call("m", *script)) for script in scripts] == ["1", "2", "2", "1", "2"]


@pytest.mark.parametrize(
    ("outcome", "seen"),
    [
        (ScriptedOutcome(text="a b c", cut=0), []),
        (ScriptedOutcome(text="a b c", cut=2), ["a ", "b "]),
        (ScriptedOutcome(text="a", cut=5), ["a"]),
        (ScriptedOutcome(text="a b c", cut=1, stall=2), ["a "]),
    ],
)
async def test_a_scripted_cut_always_breaks_the_stream(
    adapter: MockAdapter, outcome: ScriptedOutcome, seen: list[str]
) -> None:
    chunks: list[Event] = []
    with pytest.raises(UpstreamError, match="bad_response"):
        await drain(adapter, a_call("m", outcome), chunks)
    assert contents(chunks) == seen


async def test_a_scripted_retry_after_comes_with_an_answer_too_in_whole_seconds(adapter: MockAdapter) -> None:
    call = a_call("m", ScriptedOutcome(retry_after_s=0.5))
    assert (await adapter.complete(call)).headers == {"retry-after": "1"}
    assert (await adapter.stream(call)).headers == {"retry-after": "1"}


@pytest.mark.parametrize(
    ("given", "count", "tokens"),
    [
        ("one two", 1, 2),
        (["one two", "three"], 2, 3),
        ([1, 2, 3], 1, 3),
        ([[1, 2], [3]], 2, 3),
        (5, 1, 0),
        (None, 1, 0),
    ],
)
async def test_each_input_gets_its_own_embedding(adapter: MockAdapter, given: Any, count: int, tokens: int) -> None:
    data = await reply_to(adapter, a_call("e", operation="embeddings", params={"input": given}))
    assert (data["object"], data["model"]) == ("list", "e")
    assert data["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert [item["index"] for item in data["data"]] == list(range(count))
    for item in data["data"]:
        assert len(item["embedding"]) == MOCK_LENGTH
        assert math.hypot(*item["embedding"]) == pytest.approx(1.0)


async def test_embeddings_depend_on_the_input_alone(adapter: MockAdapter) -> None:
    async def vectors(given: Any) -> list[Any]:
        data = await reply_to(adapter, a_call("e", operation="embeddings", params={"input": given}))
        return [item["embedding"] for item in data["data"]]

    one, two = await vectors(["one", "two"])
    assert one != two
    assert await vectors("one") == [one]


@pytest.mark.parametrize(("asked_for", "length"), [(3, 3), (0, MOCK_LENGTH), ("3", MOCK_LENGTH)])
async def test_embeddings_have_the_dimensions_and_the_encoding_asked_for(
    adapter: MockAdapter, asked_for: Any, length: int
) -> None:
    params = {"input": "x", "dimensions": asked_for}
    plain = await reply_to(adapter, a_call("e", operation="embeddings", params=params))
    coded = await reply_to(adapter, a_call("e", operation="embeddings", params=params | {"encoding_format": "base64"}))
    vector = plain["data"][0]["embedding"]
    assert len(vector) == length
    decoded = struct.unpack(f"<{length}f", base64.b64decode(coded["data"][0]["embedding"]))
    assert decoded == pytest.approx(vector)
