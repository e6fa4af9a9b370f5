"""Pools and conditions of a running gateway: what clients send decides where their requests go."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from gateway.wire.json import JsonObject
from tests.gateway_process import GatewayProcess, gateway_process
from tests.log_lines import logging_to
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 100}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  even: [{pool: [up/a, up/b, up/c]}, up/d]
  canary: [{pool: {up/a: 9, up/b: 1}}]
  agent: [{pool: [up/a, up/b, up/c], pick: sticky}]
  tenant: [{pool: [up/a, up/b, up/c], pick: sticky, key: {header: X-Tenant}}]
  fastest: [{pool: [up/a, up/b], pick: fastest}]
  tiers:
    - {when: {tokens: "> 1k"}, target: up/long}
    - {when: {header: {x-tier: [paid, "trial-*"]}, stream: false}, target: up/paid}
    - {when: {images: true}, target: up/eyes}
    - {when: {client: [alice]}, target: up/alice}
    - {when: {metadata: {team: red}}, target: up/red}
    - up/rest
  never: [{when: {tools: true}, target: up/a}, {when: {header: {x-tier: paid}}, target: up/b}]
  "any/*": [{pool: ["up/one-*", "up/two-*"]}]
"""


@pytest.fixture
async def gateway(start: Start, tmp_path: Path) -> RunningGateway:
    keys = tmp_path / "keys"
    keys.write_text("alice sk-alice\nbob sk-bob admin\n")
    running: RunningGateway = await start(ROUTES, client_keys_file=keys)
    running.session.headers["authorization"] = "Bearer sk-bob"
    return running


async def target(gateway: RunningGateway, model: str, **values: object) -> str:
    headers = values.pop("headers", None)
    assert headers is None or isinstance(headers, dict)
    answer = await gateway.chat(model, headers=headers, **values)
    assert answer.status == 200, answer.body
    return answer.headers["x-gateway-target"]


async def test_a_pool_spreads_requests(gateway: RunningGateway) -> None:
    counts = Counter([await target(gateway, "even") for _ in range(60)])
    assert set(counts) == {"up/a", "up/b", "up/c"}
    assert Counter([await target(gateway, "canary") for _ in range(60)])["up/a"] > 30


async def test_a_failure_stays_in_the_pool_and_then_goes_on(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    for model in ("a", "b", "c"):
        upstream.script(model, status=500)
    answer = await gateway.chat("even")
    assert (answer.headers["x-gateway-target"], answer.headers["x-gateway-attempts"]) == ("up/d", "4")
    assert (sorted(upstream.calls[:3]), upstream.calls[3]) == (["a", "b", "c"], "d")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_session_keeps_its_target(gateway: RunningGateway, stream: bool) -> None:
    for number in range(5):
        headers = {"x-claude-code-session-id": f"session-{number}"}
        found = {await target(gateway, "agent", headers=headers, stream=stream) for _ in range(6)}
        assert len(found) == 1
    sessions = {await target(gateway, "agent", headers={"session_id": str(number)}) for number in range(40)}
    assert sessions == {"up/a", "up/b", "up/c"}


async def test_another_gateway_sends_a_session_to_the_same_target(start: Start, gateway: RunningGateway) -> None:
    other: RunningGateway = await start(ROUTES)
    for number in range(10):
        headers = {"x-tenant": f"tenant-{number}"}
        assert await target(gateway, "tenant", headers=headers) == await target(other, "tenant", headers=headers)


async def test_two_processes_send_each_session_to_the_same_target(tmp_path: Path) -> None:
    """Whatever their hash seeds, the order of their files, and what else they have answered."""
    members = ["mock/echo-a: 3", "mock/echo-b: 2", "mock/echo-c: 1"]
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file, order in zip(files, (members, members[::-1]), strict=True):
        file.write_text(f"version: 1\nmodels:\n  agent: [{{pool: {{{', '.join(order)}}}, pick: sticky}}]\n")
    tools = [{"type": "function", "function": {"name": f"tool-{number}", "parameters": {}}} for number in range(3)]
    sessions: list[tuple[dict[str, str], JsonObject]] = []
    for number in range(12):
        said = [{"role": "system", "content": "You are an agent."}, {"role": "user", "content": f"mend bug {number}"}]
        sessions += [
            ({"x-session-id": f"session-{number}"}, {"messages": said}),
            ({}, {"messages": said, "user": f"user-{number}"}),
            ({}, {"messages": said, "tools": tools}),
        ]

    async def targets(gateway: GatewayProcess, session: aiohttp.ClientSession, *, skip: int = 0) -> list[str]:
        found = []
        for headers, body in sessions[skip:]:
            url = f"{gateway.url}/v1/chat/completions"
            async with session.post(url, json={"model": "agent", **body}, headers=headers) as answer:
                assert answer.status == 200
                found.append(answer.headers["x-gateway-target"])
        return found

    async with (
        gateway_process(files[0], log=tmp_path / "log-1", environ={"PYTHONHASHSEED": "1"}) as one,
        gateway_process(files[1], log=tmp_path / "log-2", environ={"PYTHONHASHSEED": "2"}) as two,
        aiohttp.ClientSession() as session,
    ):
        await targets(two, session, skip=20)
        found = await targets(one, session)
        assert found == await targets(two, session)
    assert set(found) == {"mock/echo-a", "mock/echo-b", "mock/echo-c"}


async def test_what_a_request_is_like_decides(gateway: RunningGateway) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    cases: list[tuple[str, JsonObject]] = [
        ("up/long", {"messages": [{"role": "user", "content": "word " * 1000}]}),
        ("up/paid", {"headers": {"X-Tier": "paid"}}),
        ("up/paid", {"headers": {"x-tier": "trial-7"}}),
        ("up/rest", {"headers": {"x-tier": "paid"}, "stream": True}),
        ("up/eyes", {"messages": [{"role": "user", "content": [image]}]}),
        ("up/alice", {"headers": {"authorization": "Bearer sk-alice"}}),
        ("up/red", {"metadata": {"team": "red"}}),
        ("up/rest", {}),
    ]
    for expected, values in cases:
        given = {"messages": HELLO, **values}
        headers = given.pop("headers", None)
        answer = await gateway.request(
            "POST", "/v1/chat/completions", json={"model": "tiers", **given}, headers=headers
        )
        assert answer.headers["x-gateway-target"] == expected


async def asked(gateway: RunningGateway, messages: list[JsonObject]) -> str:
    """Return the target of a large request."""
    body = io.BytesIO(json.dumps({"model": "tiers", "messages": messages}).encode())
    headers = {"content-type": "application/json"}
    answer = await gateway.request("POST", "/v1/chat/completions", data=body, headers=headers)
    return answer.headers["x-gateway-target"]


async def test_a_body_over_1_mib_is_judged_too(gateway: RunningGateway) -> None:
    text = "The quick brown fox. " * 60_000
    assert await asked(gateway, [{"role": "user", "content": text}]) == "up/long"
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "aB3d" * 300_000}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "?"}, image]}]
    assert await asked(gateway, messages) == "up/eyes"


async def test_a_request_that_no_step_takes_is_refused(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    answer = await gateway.chat("never")
    assert (answer.status, answer.error["code"], upstream.calls) == (400, "no_step", [])
    assert answer.error["message"] == (
        "no step of 'never' takes this request: it does not meet their conditions (tools, header x-tier)"
    )
    assert [each["kind"] for each in answer.error["attempts"]] == ["condition", "condition"]
    assert answer.headers["x-should-retry"] == "false"
    body = {"model": "never", "max_tokens": 5, "messages": HELLO}
    messages = await gateway.request("POST", "/v1/messages", json=body)
    assert (messages.status, messages.json["type"]) == (400, "error")


async def test_skipped_steps_are_counted_and_the_key_s_source_is_logged(gateway: RunningGateway) -> None:
    log = io.StringIO()
    with logging_to(log):
        await target(gateway, "tiers", metadata={"team": "red"})
        await target(gateway, "agent", headers={"x-session-id": "a-secret-session"})
        await gateway.get("/healthz")
    assert await gateway.metric('gateway_attempts_total{kind="condition",target="up/long"}') == 1.0
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    requests = [line for line in lines if line["event"] == "request" and line["operation"] == "chat"]
    assert [each["kind"] for each in requests[0]["attempts"]] == ["condition"] * 4 + [None]
    assert requests[1]["sticky"] == "header x-session-id"
    assert "a-secret-session" not in log.getvalue()


async def test_a_pool_of_wildcards(gateway: RunningGateway) -> None:
    found = {await target(gateway, "any/gpt") for _ in range(30)}
    assert found == {"up/one-gpt", "up/two-gpt"}


async def test_explain_tells_the_pool_and_the_conditions(gateway: RunningGateway) -> None:
    told = (await gateway.get("/-/explain?model=canary")).json
    assert [(each["name"], each["share"]) for each in told["pools"][0]["members"]] == [("up/a", 0.9), ("up/b", 0.1)]
    told = (await gateway.get("/-/explain?model=tiers")).json
    assert [each["unmet"] for each in told["conditions"]] == [
        "tokens",
        "header x-tier",
        "images",
        "client",
        "metadata team",
    ]
