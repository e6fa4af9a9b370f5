"""What clients get of vendors' refusals, end to end: the chain, the account's text, cooldowns, the code."""

from __future__ import annotations

import pytest

from gateway.policy.failures import Kind, refusal
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start
from tests.vendor_failures import REFUSALS, Refusal

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 1, within: 30s, for: 30s}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
models:
  alone: up/a
  pair: [up/a, up/b]
  sent-on: {chain: [up/a, up/b], fallback_on: [content_filter]}
"""


def of_kind(*kinds: Kind) -> list[Refusal]:
    return [case for case in REFUSALS if case.kind in kinds]


@pytest.fixture
async def gateway(start: Start, upstream: ScriptedOpenAI) -> RunningGateway:
    gateway: RunningGateway = await start(ROUTES.replace("BASE_URL", upstream.base_url))
    return gateway


@pytest.mark.parametrize("case", of_kind(Kind.AUTH, Kind.BILLING), ids=str)
async def test_an_accounts_fault_moves_on_and_its_text_reaches_nobody(
    gateway: RunningGateway, upstream: ScriptedOpenAI, case: Refusal
) -> None:
    upstream.script("a", status=case.status, body=case.raw, headers=case.headers).script("b", reply="hello")
    assert (await gateway.chat("pair")).text == "hello"
    alone = await gateway.chat("alone")
    assert alone.status in {502, 503}
    told = refusal(None if isinstance(case.body, str) else case.body, case.raw.decode(), case.status)["message"]
    assert len(told) == 1 or told not in alone.body.decode()
    assert "retry-after" not in alone.headers or alone.headers["retry-after"] != "3600"


@pytest.mark.parametrize("case", of_kind(Kind.CONTENT_FILTER), ids=str)
async def test_moderation_stops_the_chain_unless_the_file_sends_it_on(
    gateway: RunningGateway, upstream: ScriptedOpenAI, case: Refusal
) -> None:
    upstream.script("a", status=case.status, body=case.raw, headers=case.headers).script("b", reply="hello")
    for _ in range(2):  # nothing rests
        refused = await gateway.chat("pair")
        assert (refused.status, refused.json["error"]["code"]) == (case.status, case.code)
    assert (await gateway.chat("sent-on")).text == "hello"
    assert upstream.calls == ["a", "a", "a", "b"]


@pytest.mark.parametrize("case", of_kind(Kind.CONTEXT_WINDOW, Kind.NOT_FOUND, Kind.BAD_RESPONSE), ids=str)
async def test_another_target_may_answer(gateway: RunningGateway, upstream: ScriptedOpenAI, case: Refusal) -> None:
    upstream.script("a", status=case.status, body=case.raw, headers=case.headers).script("b", reply="hello")
    assert (await gateway.chat("pair")).text == "hello"
    assert upstream.calls == ["a", "b"]
