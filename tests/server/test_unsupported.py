"""Targets behind LiteLLM that cannot carry what a request asks for: the next one answers, or the client is told."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import litellm  # noqa: F401 - here, where its warnings are no errors: gateways load it in a thread
import pytest

from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start

CONFIG = """\
version: 1
defaults: {retries: 2, timeout: 5s, cooldown: {failures: 1, within: 30s, for: 1m}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  claude: {kind: anthropic, base_url: "CLAUDE_URL", api_key: sk-upstream}
  vertex: {kind: vertex_ai, params: {vertex_project: p, vertex_location: europe-west1}}
models:
  pair: [claude/c, up/a]
  lone: claude/c
  missing: [vertex/gemini-2.5-pro, up/a]
  lone-missing: vertex/gemini-2.5-pro
"""


@pytest.fixture
async def claude() -> AsyncIterator[ScriptedAnthropic]:
    async with ScriptedAnthropic() as upstream:
        yield upstream


@pytest.fixture
async def gateway(start: Start, claude: ScriptedAnthropic) -> RunningGateway:
    started: RunningGateway = await start(CONFIG.replace("CLAUDE_URL", claude.base_url))
    return started


ASKED: list[dict[str, Any]] = [{"n": 2}, {"logprobs": True}, {"response_format": {"type": "json_object"}}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", ASKED)
async def test_the_next_target_answers_what_the_first_cannot_carry(
    gateway: RunningGateway, claude: ScriptedAnthropic, upstream: ScriptedOpenAI, asked: dict[str, Any], stream: bool
) -> None:
    for _ in range(2):
        answer = await gateway.chat("pair", stream=stream, **asked)
        assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/a")
        assert answer.headers["x-gateway-attempts"] == "1"
    assert (claude.calls, upstream.calls) == ([], ["a", "a"])
    assert await gateway.metric('gateway_attempts_total{kind="unsupported",target="claude/c"}') == 2
    # It does not rest: what it can carry it answers.
    assert (await gateway.chat("pair")).headers["x-gateway-target"] == "claude/c"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", ASKED)
async def test_a_client_whose_target_is_alone_is_told_what_it_lacks(
    gateway: RunningGateway, claude: ScriptedAnthropic, asked: dict[str, Any], stream: bool
) -> None:
    answer = await gateway.chat("lone", stream=stream, **asked)
    assert (answer.status, answer.error["code"]) == (400, "unsupported")
    assert f"claude/c does not support {next(iter(asked))}" in answer.error["message"]
    assert [attempt["kind"] for attempt in answer.error["attempts"]] == ["unsupported"]
    assert claude.calls == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_target_whose_package_is_missing_is_passed_over(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setitem(sys.modules, "google", None)
    answer = await gateway.chat("missing", stream=stream)
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "up/a")
    answer = await gateway.chat("lone-missing", stream=stream)
    assert (answer.status, answer.error["code"]) == (400, "unsupported")
    assert "needs the package google-auth, which is not installed here" in answer.error["message"]
