"""Anthropic's Messages through real HTTP: relayed to Anthropic, with the same promises that chat has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import litellm  # noqa: F401 - here, where its warnings are no errors: gateways load it in a thread
import pytest

from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, Answer, RunningGateway, Start, read_until_broken

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  claude: {kind: anthropic, base_url: "CLAUDE_URL", api_key: sk-claude-key}
models:
  fast: claude/a
  cool: {chain: [claude/a], params: {temperature: 0.5, top_k: 5, top_p: null, max_tokens: 7}}
  pair: [claude/a, claude/b]
  others: [claude/c, claude/d]
"""


@pytest.fixture
async def claude() -> AsyncIterator[ScriptedAnthropic]:
    async with ScriptedAnthropic() as server:
        yield server


@pytest.fixture
async def gateway(start: Start, claude: ScriptedAnthropic) -> RunningGateway:
    running: RunningGateway = await start(ROUTES.replace("CLAUDE_URL", claude.base_url))
    return running


async def ask(gateway: RunningGateway, model: str, *, path: str = "/v1/messages", **more: Any) -> Answer:
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "some-beta", **more.pop("headers", {})}
    body = {"model": model, "max_tokens": 100, "messages": HELLO, **more}
    return await gateway.request("POST", path, json=body, headers=headers)


def names(answer: Answer) -> list[str]:
    return [line[7:] for line in answer.body.decode().split("\n") if line.startswith("event: ")]


async def test_a_message_is_relayed_with_the_client_s_version_and_our_key(
    gateway: RunningGateway, claude: ScriptedAnthropic
) -> None:
    limits = {"anthropic-ratelimit-requests-remaining": "9", "request-id": "req_up"}
    claude.script("a", reply="hello there", headers=limits)
    answer = await ask(gateway, "fast", path="/v1/messages?beta=true", headers={"x-api-key": "sk-mine"})
    assert (answer.status, answer.json["content"][0]["text"]) == (200, "hello there")
    assert answer.headers["x-gateway-target"] == "claude/a"
    assert {name: answer.headers[name] for name in limits} == limits
    got = claude.requests[0]
    assert got.headers["x-api-key"] == "sk-claude-key"
    assert "authorization" not in got.headers
    assert (got.headers["anthropic-version"], got.headers["anthropic-beta"]) == ("2026-10-21", "some-beta")
    assert got.body == {"model": "a", "max_tokens": 100, "messages": HELLO}


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ("2026-10-21", {}),
        ("2027-01-01", {}),
        ("2023-06-01", {"temperature": 0.5, "top_k": 5}),
        ("vertex-2023-10-16", {"temperature": 0.5, "top_k": 5}),
        (None, {"temperature": 0.5, "top_k": 5}),
    ],
)
async def test_the_file_s_params_that_the_client_s_version_refuses_are_not_sent(
    gateway: RunningGateway, claude: ScriptedAnthropic, version: str | None, kept: dict[str, Any]
) -> None:
    headers = {} if version is None else {"anthropic-version": version}
    body = {"model": "cool", "max_tokens": 100, "messages": HELLO, "top_p": 0.9}
    answer = await gateway.request("POST", "/v1/messages", json=body, headers=headers)
    assert answer.status == 200
    assert claude.requests[0].body == {"model": "a", "max_tokens": 7, "messages": HELLO, **kept}
    assert claude.requests[0].headers["anthropic-version"] == version or "2023-06-01"


async def test_the_second_target_answers_when_the_first_is_overloaded(
    gateway: RunningGateway, claude: ScriptedAnthropic
) -> None:
    claude.script("a", status=529).script("b", reply="hello")
    for stream in (False, True):
        answer = await ask(gateway, "pair", stream=stream)
        assert (answer.status, answer.headers["x-gateway-target"]) == (200, "claude/b")


async def test_a_stream_is_relayed_as_the_bytes_it_came_in(gateway: RunningGateway, claude: ScriptedAnthropic) -> None:
    claude.script("a", reply="one two three")
    answer = await ask(gateway, "fast", stream=True)
    assert answer.status == 200
    assert names(answer)[0] == "message_start"
    assert names(answer)[-1] == "message_stop"
    assert b"[DONE]" not in answer.body


async def test_a_stream_that_breaks_ends_with_an_error_event_and_a_reset(
    gateway: RunningGateway, claude: ScriptedAnthropic
) -> None:
    claude.script("a", reply="one two three", cut_after=2)
    request = {"model": "pair", "max_tokens": 9, "messages": HELLO, "stream": True}
    body = await read_until_broken(gateway, "/v1/messages", request)
    last = body.decode().rstrip().split("\n\n")[-1]
    assert last.startswith('event: error\ndata: {"type":"error","error":{"type":"api_error"')
    assert "message_stop" not in body.decode()


async def test_errors_come_in_anthropic_s_envelope(gateway: RunningGateway, claude: ScriptedAnthropic) -> None:
    unknown = await ask(gateway, "nope")
    assert (unknown.status, unknown.json["type"]) == (404, "error")
    assert unknown.json["error"]["type"] == "not_found_error"
    assert unknown.json["request_id"] == unknown.headers["x-request-id"]
    claude.script("a", status=400, error={"message": "max_tokens: too large"})
    refused = await ask(gateway, "fast")
    assert (refused.status, refused.json["error"]["message"]) == (400, "max_tokens: too large")
    claude.script("c", status=500).script("d", status=500)
    failed = await ask(gateway, "others")
    assert (failed.status, failed.json["error"]["type"]) == (502, "api_error")
    assert [attempt["kind"] for attempt in failed.json["error"]["attempts"]] == ["server_error", "server_error"]


TRANSLATED = """\
version: 1
defaults: {retries: 0, timeout: 5s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  claude: {kind: anthropic, base_url: "CLAUDE_URL", api_key: sk-claude-key}
models:
  gpt: up/a
  mixed: [claude/a, up/b]
"""


@pytest.fixture
async def mixed(start: Start, claude: ScriptedAnthropic) -> RunningGateway:
    running: RunningGateway = await start(TRANSLATED.replace("CLAUDE_URL", claude.base_url))
    return running


async def test_anthropic_s_sdk_talks_to_a_target_that_speaks_chat(
    mixed: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="hello there")
    async with anthropic.AsyncAnthropic(base_url=mixed.url, api_key="none", max_retries=0) as client:
        asked: Any = {"model": "gpt", "max_tokens": 100, "system": "be kind", "messages": HELLO}
        message = await client.messages.create(**asked)
        assert (message.content[0].to_dict()["text"], message.stop_reason) == ("hello there", "end_turn")
        async with client.messages.stream(**asked) as stream:
            text = "".join([text async for text in stream.text_stream])
            final = await stream.get_final_message()
    assert (text, final.stop_reason) == ("hello there", "end_turn")
    assert upstream.requests[0].body["messages"] == [{"role": "system", "content": "be kind"}, *HELLO]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_translated_target_answers_when_the_relayed_one_fails(
    mixed: RunningGateway, upstream: ScriptedOpenAI, claude: ScriptedAnthropic, stream: bool
) -> None:
    claude.script("a", status=529)
    upstream.script("b", reply="hello")
    answer = await ask(mixed, "mixed", stream=stream)
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/b")
    assert "anthropic-version" not in upstream.requests[0].headers


async def test_a_translated_stream_that_breaks_never_looks_whole(
    mixed: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="one two three", cut_after=2)
    body = await read_until_broken(
        mixed, "/v1/messages", {"model": "gpt", "max_tokens": 9, "messages": HELLO, "stream": True}
    )
    assert b"message_start" in body
    assert b"message_stop" not in body
    assert b"event: error" in body


TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
ROME = {"name": "weather", "arguments": '{"city":"Rome"}'}
CALL = {"id": "functions.weather:0", "type": "function", "function": ROME}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_session_goes_on_when_it_falls_over_in_mid_conversation(
    mixed: RunningGateway, upstream: ScriptedOpenAI, claude: ScriptedAnthropic, stream: bool
) -> None:
    """Claude thinks and calls a tool; a model behind chat goes on and calls it again; Claude has the last word."""
    said = {"role": "assistant", "content": None, "reasoning_content": "again", "tool_calls": [CALL]}
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls"}
    called = {"id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
    claude.script("a", thinking="hm", tool_uses=[called]).script("a", status=529).script("a", reply="done")
    upstream.script("b", body={"id": "c1", "object": "chat.completion", "model": "b", "choices": [choice]})
    asked: dict[str, Any] = {"model": "mixed", "max_tokens": 100, "tools": [TOOL]}
    messages: list[Any] = list(HELLO)
    served = []
    async with anthropic.AsyncAnthropic(base_url=mixed.url, api_key="none", max_retries=0) as client:
        for _ in range(3):
            if stream:
                async with client.messages.stream(**asked, messages=messages) as opened:
                    message: Any = await opened.get_final_message()
                    served.append(opened.response.headers["x-gateway-target"])
            else:
                raw = await client.messages.with_raw_response.create(**asked, messages=messages)
                message = await raw.parse()
                served.append(raw.headers["x-gateway-target"])
            uses = [block for block in message.content if block.type == "tool_use"]
            results = [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"} for use in uses]
            messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    assert served == ["claude/a", "up/b", "claude/a"]
    assert [block.text for block in message.content] == ["done"]
    turns = upstream.requests[0].body["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool"]
    assert turns[2] == {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"}
    last = claude.requests[-1].body["messages"]
    kinds = [[block["type"] for block in turn["content"]] for turn in last[1:]]
    assert kinds == [["thinking", "tool_use"], ["tool_result"], ["tool_use"], ["tool_result"]], "its own thinking only"
    assert last[3]["content"][0]["id"] == last[4]["content"][0]["tool_use_id"] == "functions_weather_0"


async def test_what_chat_cannot_say_is_unsupported_by_name(mixed: RunningGateway) -> None:
    answer = await ask(mixed, "gpt", container="container_1")
    assert (answer.status, answer.json["error"]["code"]) == (400, "unsupported")
    assert "up/a does not support containers" in answer.json["error"]["message"]
