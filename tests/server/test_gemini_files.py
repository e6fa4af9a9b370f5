"""A request that names what an account of Gemini's keeps goes to Gemini, and to nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.server.conftest import RunningGateway, Start
from tests.wires.upstream import WireUpstream

FILE = "https://generativelanguage.googleapis.com/v1beta/files/abc"
ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 9, within: 30s, for: 30s}}
providers:
  up: {kind: openai, base_url: "BASE_URL/v1", api_key: sk-up}
  gem: {kind: gemini, base_url: "BASE_URL", api_key: sk-gem}
models:
  mixed: [up/a, gem/gemini-2.5-pro, gem/gemini-2.5-flash]
  pool: [{pool: {up/a: 1000, gem/gemini-2.5-pro: 1}}]
"""
PARTS: dict[str, dict[str, Any]] = {
    "chat": {"type": "file", "file": {"file_id": FILE, "format": "application/pdf"}},
    "messages": {"type": "image", "source": {"type": "url", "url": FILE}},
}


@pytest.fixture
async def wires() -> AsyncIterator[WireUpstream]:
    async with WireUpstream() as server:
        yield server


@pytest.fixture
async def gateway(start: Start, wires: WireUpstream) -> RunningGateway:
    started: RunningGateway = await start(ROUTES.replace("BASE_URL", wires.root_url))
    return started


def body(wire: str, model: str, *, stream: bool) -> dict[str, Any]:
    content = [{"type": "text", "text": "what is this?"}, PARTS[wire]]
    return {"model": model, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", PARTS)
@pytest.mark.parametrize("model", ["mixed", "pool"])
async def test_a_file_of_geminis_leads_to_the_first_target_of_gemini(
    gateway: RunningGateway, wires: WireUpstream, wire: str, stream: bool, model: str
) -> None:
    path = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}[wire]
    answer = await gateway.request("POST", path, json=body(wire, model, stream=stream))
    assert (answer.status, answer.headers["x-gateway-target"]) == (200, "gem/gemini-2.5-pro")
    [asked] = wires.requests
    assert asked.body["contents"][0]["parts"][1]["fileData"]["fileUri"] == FILE


@pytest.mark.parametrize("stream", [False, True])
async def test_it_does_not_fall_over_and_the_error_says_why(
    gateway: RunningGateway, wires: WireUpstream, stream: bool
) -> None:
    wires.script("gemini-2.5-pro", status=503)
    answer = await gateway.request("POST", "/v1/chat/completions", json=body("chat", "mixed", stream=stream))
    assert answer.status == 503
    assert "it is bound to gem/gemini-2.5-pro by file_id" in answer.json["error"]["message"]
    assert [request.path for request in wires.requests] == [
        f"/v1beta/models/gemini-2.5-pro:{'streamGenerateContent' if stream else 'generateContent'}"
    ]


async def test_other_requests_take_the_chain_as_it_is(gateway: RunningGateway, wires: WireUpstream) -> None:
    answer = await gateway.chat("mixed")
    assert answer.headers["x-gateway-target"] == "up/a"
    wires.script("a", status=503)
    answer = await gateway.chat("mixed", stream=True)
    assert answer.headers["x-gateway-target"] == "gem/gemini-2.5-pro"


async def test_a_count_of_tokens_is_geminis(gateway: RunningGateway, wires: WireUpstream) -> None:
    asked = {"model": "mixed", "messages": [{"role": "user", "content": "hi"}]}
    answer = await gateway.request("POST", "/v1/messages/count_tokens", json=asked)
    assert (answer.status, answer.json) == (200, {"input_tokens": 1})
    assert answer.headers["x-gateway-target"] == "gem/gemini-2.5-pro"
