"""The rules of failing over, end to end: cooldowns across reloads, kinds at every level, clients that leave early."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, suppress

import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import ROUTES, Start, save, until
from tests.server.test_streams import request_bytes

COOLDOWN = "cooldown: {failures: 1, within: 30s, for: 60s}"
KINDS = "retry_on: [auth], fallback_on: [content_filter]"


async def test_a_cooldown_outlives_reloads_for_as_long_as_its_target_is_the_same(
    start: Start, upstream: ScriptedOpenAI
) -> None:
    gateway = await start(ROUTES.replace("retries: 0", f"retries: 0, {COOLDOWN}"))
    upstream.script("a", status=503)
    assert (await gateway.chat("pair")).headers["x-gateway-generation"] == "1"
    assert upstream.calls == ["a", "b"]
    for generation, (old, new) in enumerate((("echo:", "another: up/c\n  echo:"), ("timeout: 5s", "timeout: 6s")), 2):
        save(gateway.config, gateway.config.read_text().replace(old, new))
        await gateway.request("POST", "/-/reload")
        answer = await gateway.chat("pair")
        assert answer.headers["x-gateway-generation"] == str(generation)
        assert answer.headers["x-gateway-target"] == "up/b"
    assert upstream.calls == ["a", "b", "b", "b"]
    assert 'target="up/a"' in (await gateway.get("/metrics")).body.decode()
    states = {target["target"]: target["state"] for target in (await gateway.get("/-/targets")).json["targets"]}
    assert (states["up/a"], states["up/b"]) == ("cooldown", "ok")
    save(gateway.config, gateway.config.read_text().replace("sk-upstream", "sk-another"))
    await gateway.request("POST", "/-/reload")
    await gateway.chat("pair")
    assert upstream.calls[4:] == ["a", "b"]


@pytest.mark.parametrize("stream", [False, True])
async def test_when_all_targets_cool_down_they_are_tried_the_first_to_be_ready_first(
    start: Start, upstream: ScriptedOpenAI, stream: bool
) -> None:
    gateway = await start(ROUTES.replace("retries: 0", f"retries: 0, {COOLDOWN}"))
    upstream.script("a", status=503).script("b", status=503)
    await gateway.chat("pair")
    answer = await gateway.chat("pair", stream=stream)
    assert (answer.status, upstream.calls) == (503, ["a", "b", "a", "b"])
    kinds = [(attempt["target"], attempt["kind"]) for attempt in answer.error["attempts"]]
    assert kinds[-2:] == [("up/a", "overloaded"), ("up/b", "overloaded")]
    upstream.reset_script("b")
    answer = await gateway.chat("pair", stream=stream)
    assert (answer.status, upstream.calls) == (200, ["a", "b"] * 3)


@pytest.mark.parametrize("adapter", ["relay", "litellm"])
@pytest.mark.parametrize("level", ["defaults", "alias", "step"])
@pytest.mark.timeout(30)
async def test_kinds_to_retry_and_to_fall_back_on_can_be_said_at_every_level(
    start: Start, upstream: ScriptedOpenAI, level: str, adapter: str
) -> None:
    step = f"{{target: up/a, {KINDS}}}" if level == "step" else "up/a"
    alias = f"{{chain: [{step}, up/b]{', ' + KINDS if level == 'alias' else ''}}}"
    routes = ROUTES.replace("retries: 0", f"retries: 1{', ' + KINDS if level == 'defaults' else ''}")
    routes = routes.replace("  pair: [up/a, up/b]", f"  pair: {alias}")
    gateway = await start(routes.replace("kind: openai,", f"kind: openai, adapter: {adapter},"))
    for outcome, stream, status, calls in (
        ({"status": 401}, False, 502, ["a", "a"]),
        ({"status": 400, "error": {"code": "content_filter"}}, True, 200, ["a", "b"]),
        ({"status": 503}, False, 503, ["a"]),
    ):
        upstream.reset_script("a").script("a", **outcome)
        upstream.calls.clear()
        answer = await gateway.chat("pair", stream=stream)
        assert (answer.status, upstream.calls) == (status, calls)


async def test_a_client_that_leaves_while_a_target_is_connected_to_starts_nothing_more(
    start: Start, upstream: ScriptedOpenAI
) -> None:
    """A socket whose queue is full lets nobody connect and refuses nobody."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(deaf.getsockname())
        provider = f'  deaf: {{kind: openai, base_url: "http://127.0.0.1:{deaf.getsockname()[1]}/v1", api_key: k}}\n'
        gateway = await start(ROUTES.replace("models:\n", f"{provider}models:\n  far: [deaf/a, up/b]\n"))
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request_bytes("far"))
        assert await until(lambda: gateway.metric("gateway_in_flight")) == 1
        writer.close()
        await writer.wait_closed()
        sample = 'gateway_requests_total{alias="far",operation="chat",status="499"}'
        assert await until(lambda: gateway.metric(sample), within_s=1.0) == 1
    assert upstream.calls == []
