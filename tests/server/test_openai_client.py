"""The official OpenAI client against the gateway, over the relay and over the mock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start

MESSAGES: Any = HELLO
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.mark.parametrize(("model", "said"), [("fast", "hello from a"), ("echo", "hello")])
async def test_an_answer(client: openai.AsyncOpenAI, model: str, said: str) -> None:
    completion = await client.chat.completions.create(model=model, messages=MESSAGES)
    assert completion.choices[0].message.content == said
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0


@pytest.mark.parametrize(("model", "said"), [("fast", "hello from a"), ("echo", "hello")])
async def test_a_stream(client: openai.AsyncOpenAI, model: str, said: str) -> None:
    stream = await client.chat.completions.create(
        model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    text, usage = "", None
    async for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == said
    assert usage is not None
    assert usage.total_tokens > 0


async def test_a_sync_client_in_a_thread(gateway: RunningGateway) -> None:
    def talk() -> tuple[str | None, str]:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
            answer = client.chat.completions.create(model="fast", messages=MESSAGES)
            stream = client.chat.completions.create(model="fast", messages=MESSAGES, stream=True)
            return answer.choices[0].message.content, "".join(c.choices[0].delta.content or "" for c in stream)

    assert await asyncio.to_thread(talk) == ("hello from a", "hello from a")


async def test_tool_calls(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", tool_calls=[TOOL_CALL])
    completion = await client.chat.completions.create(model="fast", messages=MESSAGES, tools=[TOOL])
    [call] = completion.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.arguments == '{"city": "Bern"}'
    assert upstream.requests[0].body["tools"] == [TOOL]


async def test_tool_calls_in_a_stream(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", tool_calls=[TOOL_CALL])
    stream = await client.chat.completions.create(model="fast", messages=MESSAGES, tools=[TOOL], stream=True)
    deltas = [delta async for chunk in stream for delta in chunk.choices[0].delta.tool_calls or ()]
    assert [delta.id for delta in deltas] == ["call_1"]


async def test_headers_are_there_with_the_raw_response(client: openai.AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="team/b", messages=MESSAGES)
    assert raw.headers["x-gateway-target"] == "up/b"
    assert raw.headers["x-gateway-attempts"] == "1"
    completion = raw.parse()
    assert completion.choices[0].message.content == "hello from b"
    assert completion._request_id == raw.headers["x-request-id"]


async def test_embeddings(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="fast", input=["one", "two"])
    assert len(answer.data) == 2


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["fast", "pair", "echo"]
    assert (await client.models.retrieve("team/some/model")).id == "team/some/model"


async def test_errors_have_the_client_s_own_types(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="fost", messages=MESSAGES)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    upstream.script("a", status=400, error={"message": "too hot", "param": "temperature"})
    with pytest.raises(openai.BadRequestError, match="too hot") as refused:
        await client.chat.completions.create(model="fast", messages=MESSAGES)
    assert refused.value.param == "temperature"
    upstream.reset_script("a").script("a", status=429, retry_after=60)
    with pytest.raises(openai.RateLimitError) as limited:
        await client.chat.completions.create(model="fast", messages=MESSAGES)
    assert limited.value.response.headers["retry-after"]


async def test_a_broken_stream_raises(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", chunks=["one ", "two"], cut_after=1)
    stream = await client.chat.completions.create(model="fast", messages=MESSAGES, stream=True)
    seen: list[str | None] = []

    async def read_all() -> None:
        async for chunk in stream:
            delta = chunk.choices[0].delta
            seen.append(delta.content)

    with pytest.raises(openai.APIError, match="broke off"):
        await read_all()
    assert seen == ["", "one "]


async def test_leaving_a_stream_ends_the_upstream_call(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", chunks=["one ", "two"], stall_after=1)
    stream = await client.chat.completions.create(model="fast", messages=MESSAGES, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    await upstream.wait_for_disconnect(1.0)


async def test_the_client_s_own_retry_finds_the_gateway_well(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start()
    upstream.script("a", status=429, retry_after=0.01).script("a", reply="fine")
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=2) as client:
        completion = await client.chat.completions.create(model="fast", messages=MESSAGES)
    assert completion.choices[0].message.content == "fine"
