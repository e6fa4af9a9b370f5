"""Limits of providers, over real connections: who is passed over, what clients are told, and where operators see it."""

from __future__ import annotations

import asyncio

import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, until

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, deadline: 10s}
providers:
  up:
    {kind: openai, base_url: "BASE_URL", api_key: sk-limited, limits: [2 requests/hour, 9k tokens/day, 1 concurrent]}
  else: {kind: openai, base_url: "BASE_URL", api_key: sk-else}
models:
  fast: [up/a, else/b]
  only: up/a
  shadowed: {chain: [else/b], shadow: {target: up/a, share: 1}}
"""


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES)
    return started


def used(gateway: RunningGateway) -> dict[str, float]:
    return {fill.key: round(fill.used, 2) for fill in gateway.parts.limits.store.look()}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_full_provider_is_passed_over_and_seen(
    gateway: RunningGateway, upstream: ScriptedOpenAI, *, stream: bool
) -> None:
    for target in ("up/a", "up/a", "else/b"):
        answer = await gateway.chat("fast", stream=stream)
        assert (answer.status, answer.headers["x-gateway-target"]) == (200, target)
        assert answer.headers["x-gateway-attempts"] == "1"
    assert upstream.keys == ["sk-limited", "sk-limited", "sk-else"]
    assert await gateway.metric('gateway_attempts_total{kind="limited",target="up/a"}') == 1
    state = (await gateway.get("/-/state")).json
    fast = next(one for one in state["aliases"] if one["alias"] == "fast")
    assert [step["state"] for step in fast["chain"]] == ["limited", "ok"]
    assert fast["now"] == "else/b"
    told = (await gateway.get("/-/explain?model=fast")).json["walk"]
    assert told["answered"] == "else/b"
    assert [one["why"] for one in told["not_called"]] == ["passed over: its provider's limits have no room"]
    page = (await gateway.get("/-/")).body.decode()
    assert "no room in its limits" in page


async def test_a_client_is_told_of_the_limit_and_never_of_the_key(gateway: RunningGateway) -> None:
    for _ in range(2):
        await gateway.chat("only")
    answer = await gateway.chat("only")
    assert (answer.status, answer.error["code"], answer.error["limit"]) == (429, "limited", "2 requests/hour")
    assert int(answer.headers["retry-after"]) in range(1790, 1801)
    assert answer.error["attempts"] == [{"target": "up/a", "kind": "limited", "status": None, "ms": 0}]
    assert b"sk-limited" not in answer.body
    assert "x-should-retry" not in answer.headers
    told = (await gateway.get("/-/explain?model=only")).json["walk"]
    assert (told["status"], told["error"], told["calls"]) == (429, "limited", [])


async def test_calls_at_once_wait_for_each_other(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", delay_s=0.2)
    answers = await asyncio.gather(*[gateway.chat("only") for _ in range(2)])
    assert [answer.status for answer in answers] == [200, 200]
    assert used(gateway).keys() == {"provider/up requests/hour", "provider/up tokens/day"}


async def test_a_stream_is_settled_by_usage_that_its_client_does_not_see(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    answer = await gateway.chat("only", stream=True)
    assert upstream.requests[-1].body["stream_options"] == {"include_usage": True}
    assert b'"usage":{' not in answer.body.replace(b" ", b"")
    assert 0 < used(gateway)["provider/up tokens/day"] < 1000
    await gateway.chat("fast", stream=True)
    await gateway.chat("fast", stream=True)
    assert "stream_options" not in upstream.requests[-1].body, "its provider has no limits"


async def test_a_shadow_takes_and_never_waits(gateway: RunningGateway) -> None:
    for _ in range(3):
        assert (await gateway.chat("shadowed")).status == 200
        await asyncio.sleep(0.05)
    sample = 'gateway_shadow_calls_total{{alias="shadowed",kind="{}",target="up/a"}}'.format

    async def ended() -> bool:
        return await gateway.metric(sample("limited")) == 1

    for _ in range(50):
        if await ended():
            break
        await asyncio.sleep(0.05)
    assert await gateway.metric(sample("ok")) == 2
    assert await gateway.metric(sample("limited")) == 1
    await until(lambda: "provider/up concurrent" not in used(gateway))


@pytest.mark.parametrize("stream", [False, True])
async def test_clients_and_providers_are_both_settled(start: Start, *, stream: bool) -> None:
    gateway: RunningGateway = await start(ROUTES + "clients: {default: {limits: [9k tokens/day, 9 requests/hour]}}\n")
    for _ in range(3):
        assert (await gateway.chat("fast", stream=stream)).status == 200
    found = used(gateway)
    assert 0 < found["provider/up tokens/day"] < found["client/ tokens/day"] < 1000
    assert round(found["provider/up requests/hour"]) == 2
    refused = await gateway.chat("only", stream=stream)
    assert (refused.status, refused.error["limit"]) == (429, "2 requests/hour")
    assert round(used(gateway)["client/ requests/hour"]) == 3, "no call was made, so nothing was taken"
