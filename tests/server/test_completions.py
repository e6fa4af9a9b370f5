"""Legacy completions through real HTTP: the same promises that chat has, and what hooks and translated targets do."""

from __future__ import annotations

from typing import Any

import litellm  # noqa: F401 - here, where its warnings are no errors: gateways load it in a thread
import openai
import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import Answer, RunningGateway, Start, read_until_broken

CHAIN = """\
version: 1
defaults: {retries: 0, timeout: 5s, params: {temperature: 0.5, reasoning_effort: low}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  claude: {kind: anthropic, base_url: "BASE_URL", api_key: sk-upstream}
models:
  fast: up/a
  pair: [up/a, up/b]
  mixed: [claude/x, up/a, claude/y]
  translated: [claude/x, claude/y]
  unread: {chain: [up/a], hooks: {pre: [HOOKS.redact]}}
  skipped: {chain: [up/a], hooks: {pre: [{path: HOOKS.redact, on_error: skip}], post: [HOOKS.stamp]}}
"""

HOOKS = """\
def redact(request):
    raise AssertionError("it does not know completions")

def stamp(answer):
    return {**answer, "stamped": True}
"""


async def complete(gateway: RunningGateway, model: str, **body: Any) -> Answer:
    return await gateway.request("POST", "/v1/completions", json={"model": model, "prompt": "once", **body})


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(CHAIN, hooks=HOOKS)
    return started


@pytest.mark.parametrize(("model", "said"), [("fast", "hello from a"), ("mock", "once")])
async def test_the_official_client_gets_an_answer_and_a_stream(start: Start, model: str, said: str) -> None:
    gateway = await start(CHAIN.replace("  fast: up/a", "  fast: up/a\n  mock: mock/echo"), hooks=HOOKS)
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        whole = await client.completions.create(model=model, prompt="once")
        assert (whole.choices[0].text, whole.choices[0].finish_reason) == (said, "stop")
        assert whole.usage is not None
        assert whole.usage.total_tokens > 0
        stream = await client.completions.create(
            model=model, prompt="once", stream=True, stream_options={"include_usage": True}
        )
        events = [event async for event in stream]
    assert "".join(choice.text for event in events for choice in event.choices) == said
    assert [event.usage for event in events if event.usage is not None]
    assert events[-1].usage is not None


async def test_it_is_relayed_to_its_own_path_with_its_own_parameters(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await complete(gateway, "fast", max_tokens=5)
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/a")
    [request] = upstream.requests
    assert request.path == "/v1/completions"
    assert request.body == {"model": "a", "prompt": "once", "max_tokens": 5, "temperature": 0.5}


async def test_an_embeddings_request_gets_no_parameters_of_text_from_the_file(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await gateway.request("POST", "/v1/embeddings", json={"model": "fast", "input": "x"})
    assert answer.status == 200
    assert upstream.requests[0].body == {"model": "a", "input": "x"}


CHAT_SHAPED = b"".join(
    b'data: {"choices": [{"index": 0, "delta": {"content": "a chat"}, "finish_reason": %b}]}\n\n' % reason
    for reason in (b"null", b'"stop"')
)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        {"body": CHAT_SHAPED + b"data: [DONE]\n\n", "content_type": "text/event-stream"},
        {"status": 500},
        {"body": b'{"choices": [{"message": {"content": "a chat"}, "finish_reason": "stop"}]}'},
        {"body": b'{"error": {"message": "no"}}'},
        {"empty": True},
    ],
)
async def test_a_failure_before_content_falls_over(
    gateway: RunningGateway, upstream: ScriptedOpenAI, fault: dict[str, Any], stream: bool
) -> None:
    upstream.script("a", **fault).script("b", reply="whole")
    answer = await complete(gateway, "pair", stream=stream)
    assert (answer.status, upstream.calls) == (200, ["a", "b"])
    assert b"whole" in answer.body


async def test_a_stream_that_breaks_after_content_never_looks_whole(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", chunks=3, cut_after=1)
    request = {"model": "pair", "prompt": "once", "stream": True}
    body = await read_until_broken(gateway, "/v1/completions", request)
    assert b"chunk0" in body
    assert b'"code":"stream_broken"' in body
    assert b"[DONE]" not in body
    assert upstream.calls == ["a"]


async def test_a_target_behind_a_translator_is_passed_over(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    answer = await complete(gateway, "mixed")
    assert (answer.status, upstream.calls) == (200, ["a"])
    assert answer.headers["x-gateway-attempts"] == "1"
    assert await gateway.metric('gateway_attempts_total{kind="unsupported",target="claude/x"}') == 1
    assert await gateway.metric('gateway_attempts_total{kind="unsupported",target="claude/y"}') is None
    upstream.script("a", status=500)
    attempts = (await complete(gateway, "mixed")).error["attempts"]
    assert [(attempt["target"], attempt["kind"]) for attempt in attempts] == [
        ("claude/x", "unsupported"),
        ("up/a", "server_error"),
        ("claude/y", "unsupported"),
    ]


async def test_a_chain_without_a_target_for_it_is_refused_by_name(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await complete(gateway, "translated")
    assert (answer.status, answer.error["code"]) == (400, "unsupported")
    assert answer.error["message"] == "no target of 'translated' can be asked for completions"
    assert [attempt["kind"] for attempt in answer.error["attempts"]] == ["unsupported", "unsupported"]
    assert upstream.calls == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_never_goes_out_past_a_pre_hook_that_does_not_know_it(
    gateway: RunningGateway, upstream: ScriptedOpenAI, stream: bool
) -> None:
    answer = await complete(gateway, "unread", stream=stream)
    assert (answer.status, answer.error["code"]) == (400, "unsupported")
    assert "redact, which does not know completions" in answer.error["message"]
    assert upstream.calls == []


@pytest.mark.parametrize("stream", [False, True])
async def test_hooks_that_may_be_skipped_are(gateway: RunningGateway, upstream: ScriptedOpenAI, stream: bool) -> None:
    answer = await complete(gateway, "skipped", stream=stream)
    assert (answer.status, upstream.calls) == (200, ["a"])
    assert b"stamped" not in answer.body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": None}, "prompt must be a string or a non-empty list"),
        ({"prompt": []}, "prompt must be a string or a non-empty list"),
        ({"prompt": {"text": "x"}}, "prompt must be a string or a non-empty list"),
        ({"stream": "yes"}, "stream must be true or false"),
        ({"stream_options": []}, "stream_options must be an object"),
        ({"model": ""}, "model must be a non-empty string"),
    ],
)
async def test_a_bad_request_is_said_plainly(gateway: RunningGateway, body: dict[str, Any], message: str) -> None:
    answer = await complete(gateway, **{"model": "fast", **body})
    assert (answer.status, answer.error["message"]) == (400, message)
