"""Kept answers on every wire, as the vendors' SDKs read them: plain ones, and streams to their right ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, Answer, RunningGateway, Start

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  other: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream, wires: [chat]}
  claude: {kind: anthropic, base_url: "CLAUDE_URL", api_key: sk-claude-key}
models:
  chat: {chain: [up/a], cache: 1h}
  translated: {chain: [other/a], cache: 1h}
  claude: {chain: [claude/a], cache: 1h}
  held: {chain: [up/a], cache: 1h, stream: {hold: full, keepalive: 1s}}
"""


@pytest.fixture
async def claude() -> AsyncIterator[ScriptedAnthropic]:
    async with ScriptedAnthropic() as server:
        yield server


@pytest.fixture
async def gateway(start: Start, claude: ScriptedAnthropic) -> RunningGateway:
    running: RunningGateway = await start(ROUTES.replace("CLAUDE_URL", claude.base_url))
    return running


@pytest.fixture
async def of_openai(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-x", max_retries=0) as client:
        yield client


@pytest.fixture
async def of_anthropic(gateway: RunningGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="unused", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ["claude", "translated"])
async def test_messages(
    model: str,
    of_anthropic: anthropic.AsyncAnthropic,
    upstream: ScriptedOpenAI,
    claude: ScriptedAnthropic,
) -> None:
    upstream.script("a", chunks=["one ", "two"])
    claude.script("a", reply="one two")
    streams, answers = [], []
    for _ in range(2):
        async with of_anthropic.messages.stream(
            model=model, max_tokens=10, messages=[{"role": "user", "content": "hi"}]
        ) as stream:
            streams.append((await stream.get_final_message()).model_dump())
        answers.append(
            (
                await of_anthropic.messages.create(
                    model=model, max_tokens=10, messages=[{"role": "user", "content": "hi"}]
                )
            ).model_dump()
        )
    assert streams[0] == streams[1]
    assert answers[0] == answers[1]
    assert {each["stop_reason"] for each in (*streams, *answers)} == {"end_turn"}
    assert {each["content"][0]["text"] for each in (*streams, *answers)} == {"one two"}
    assert len(upstream.calls) + len(claude.calls) == 2


async def test_another_version_or_beta_of_the_wire_is_another_request(
    gateway: RunningGateway, claude: ScriptedAnthropic
) -> None:
    body = {"model": "claude", "max_tokens": 10, "messages": HELLO}
    for headers in (
        {"anthropic-version": "2023-06-01"},
        {"anthropic-version": "2023-06-01", "x-request-id": "other", "user-agent": "other"},
        {"anthropic-version": "2023-06-01", "anthropic-beta": "some"},
    ):
        assert (await gateway.request("POST", "/v1/messages", json=body, headers=headers)).status == 200
    assert len(claude.calls) == 2


async def test_responses(of_openai: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", chunks=["one ", "two"])
    found = []
    for _ in range(2):
        async with of_openai.responses.stream(model="translated", input="hi", store=False) as stream:
            found.append((await stream.get_final_response()).model_dump())
    assert (found[0], len(upstream.calls)) == (found[1], 1)
    assert found[0]["output"][0]["content"][0]["text"] == "one two"
    plain = [await of_openai.responses.create(model="translated", input="hi", store=False) for _ in range(2)]
    assert (plain[0].output_text, plain[0].id, len(upstream.calls)) == ("one two", plain[1].id, 2)


async def test_completions(of_openai: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", chunks=["one ", "two"])
    texts = []
    for _ in range(2):
        stream = await of_openai.completions.create(model="chat", prompt="hi", stream=True)
        texts.append("".join([chunk.choices[0].text async for chunk in stream if chunk.choices]))
    texts += [(await of_openai.completions.create(model="chat", prompt="hi")).choices[0].text for _ in range(2)]
    assert (texts, len(upstream.calls)) == (["one two"] * 4, 2)


async def test_a_stream_with_tools_usage_and_other_line_ends(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"refusal": "content_filter"}'}}
    upstream.script("a", tool_calls=[call], usage={"prompt_tokens": 3, "completion_tokens": 2}, crlf=True)

    async def ask(model: str, **more: Any) -> Answer:
        return await gateway.chat(model, stream=True, stream_options={"include_usage": True}, **more)

    for model in ("chat", "held"):
        first, again = await ask(model), await ask(model)
        assert again.headers["cache-status"].startswith("gateway; hit; ttl=35")
        assert again.events == first.events
        assert again.events[-2]["usage"]["prompt_tokens"] == 3
    assert len(upstream.calls) == 2
