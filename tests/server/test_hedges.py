"""Hedges: a second target is called beside a slow one; the other call is closed, and nobody waits for that."""

from __future__ import annotations

import asyncio
import io
import time

import pytest

from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start, until
from tests.server.test_keepalive import log as log
from tests.server.test_shadows import lines

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 1}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: [sk-one, sk-two]}
  claude: {kind: anthropic, base_url: "CLAUDE_URL", api_key: sk-claude}
models:
  fast: {chain: [up/a, up/b], hedge: 100ms}
  told: {chain: [claude/slow, up/a], hedge: 100ms}
  hooked: {chain: [{alias: fast}, {alias: inner}], hedge: 100ms, hooks: {post: [HOOKS.stamp]}}
  keeping: {chain: [up/a], hooks: {pre: [HOOKS.keep]}}
  keeps: {chain: [{alias: keeping}, up/b], hedge: 100ms}
  keeps-later: {chain: [up/b, {alias: keeping}], hedge: 100ms}
  inner: {chain: [up/c], hooks: {pre: [HOOKS.inner], post: [HOOKS.stamp_too]}}
"""

MESSAGE = {"messages": HELLO, "max_tokens": 9}

HOOKS = """\
def inner(params):
    return {**params, "seed": 7}


def keep(params):
    return {**params, "store": True}


def stamp(answer):
    return {**answer, "stamped": True}


def stamp_too(answer):
    return {**answer, "stamped_too": True}
"""


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES.replace("CLAUDE_URL", "http://127.0.0.1:9"), hooks=HOOKS)
    return started


@pytest.mark.parametrize("stream", [False, True])
async def test_the_slow_call_is_closed_and_told_apart(
    gateway: RunningGateway, upstream: ScriptedOpenAI, log: io.StringIO, *, stream: bool
) -> None:
    upstream.script("a", delay_s=60, reply="late").script("b", reply="hello there")
    began = time.monotonic()
    answer = await gateway.chat("fast", stream=stream)
    assert answer.status == 200
    assert answer.headers["x-gateway-target"] == "up/b"
    assert answer.headers["x-gateway-attempts"] == "2"
    await upstream.wait_for_disconnect()
    assert time.monotonic() - began < 4  # the upstream's answer would take a minute
    (line,) = await until(lambda: lines(log, "request"))
    first, second = line["attempts"]
    assert (first["target"], first["kind"], first["status"], first.get("hedge")) == ("up/a", "hedged_out", None, None)
    assert (second["target"], second["kind"], second["status"], second["hedge"]) == ("up/b", None, 200, True)
    assert second["start_ms"] >= 100
    assert await gateway.metric('gateway_hedge_calls_total{alias="fast",kind="ok",target="up/b"}') == 1
    assert await gateway.metric('gateway_attempts_total{kind="hedged_out",target="up/a"}') == 1
    targets = (await gateway.get("/-/targets")).json["targets"]
    assert {(one["state"], one["in_flight"]) for one in targets} == {("ok", 0)}
    assert [one["attempts"] for one in targets if one["attempts"]] == [{"ok": 1}]


async def test_the_first_call_may_win(gateway: RunningGateway, upstream: ScriptedOpenAI, log: io.StringIO) -> None:
    upstream.script("a", delay_s=0.3, reply="from a").script("b", delay_s=60)
    answer = await gateway.chat("fast")
    assert (answer.text, answer.headers["x-gateway-attempts"]) == ("from a", "2")
    await upstream.wait_for_disconnect()
    (line,) = await until(lambda: lines(log, "request"))
    assert [(one["target"], one["kind"]) for one in line["attempts"]] == [("up/b", "hedged_out"), ("up/a", None)]
    assert await gateway.metric('gateway_hedge_calls_total{alias="fast",kind="hedged_out",target="up/b"}') == 1


async def test_what_a_closed_stream_told_of_tokens_is_counted_apart(
    start: Start, upstream: ScriptedOpenAI, log: io.StringIO
) -> None:
    async with ScriptedAnthropic() as claude:
        claude.script("slow", stall_after=0, usage={"input_tokens": 12, "output_tokens": 1})
        gateway = await start(ROUTES.replace("CLAUDE_URL", claude.base_url), hooks=HOOKS)
        upstream.script("a", reply="hello")
        answer = await gateway.request("POST", "/v1/messages", json={**MESSAGE, "model": "told", "stream": True})
        assert answer.headers["x-gateway-target"] == "up/a"
        assert b"message_stop" in answer.body
    (line,) = await until(lambda: lines(log, "request"))
    assert line["closed_tokens"]["prompt"] == 12
    assert line["tokens"]["prompt"] != 12
    assert await gateway.metric('gateway_hedged_out_tokens_total{alias="told",direction="prompt"}') == 12


async def test_a_client_that_leaves_closes_both_calls(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", delay_s=60).script("b", delay_s=60)
    asking = asyncio.ensure_future(gateway.chat("fast"))  # noqa: TID251 - the test cancels it
    await upstream.wait_for_calls(2)
    asking.cancel()
    await upstream.wait_for_disconnect(count=2)
    targets = (await gateway.get("/-/targets")).json["targets"]
    assert {one["in_flight"] for one in targets} == {0}
    assert all(not one["attempts"] for one in targets)
    (kept,) = (await gateway.get("/-/requests")).json["requests"]
    assert [(one["target"], one["kind"], one["called"], one.get("hedge")) for one in kept["attempts"]] == [
        ("up/a", "client_gone", True, None),
        ("up/b", "client_gone", True, True),
    ]
    assert await gateway.metric('gateway_hedge_calls_total{alias="fast",kind="client_gone",target="up/b"}') == 1


async def test_a_second_call_tries_its_other_keys(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", delay_s=60).script("b", status=429).script("b", reply="hello")
    answer = await gateway.chat("fast")
    assert (answer.text, answer.headers["x-gateway-attempts"]) == ("hello", "3")


async def test_hooks_of_a_nested_alias_run_for_the_second_call(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=500).script("b", delay_s=60).script("c", reply="hello")
    answer = await gateway.chat("hooked")
    assert answer.json["stamped"]
    assert answer.json["stamped_too"]
    assert upstream.requests[-1].body["seed"] == 7
    assert "seed" not in upstream.requests[0].body


@pytest.mark.parametrize("alias", ["keeps", "keeps-later"])
async def test_what_a_nested_hook_has_kept_upstream_is_not_sent_twice(
    gateway: RunningGateway, upstream: ScriptedOpenAI, alias: str
) -> None:
    upstream.script("a", delay_s=0.4).script("b", delay_s=0.4)
    answer = await gateway.chat(alias)
    assert (answer.status, answer.headers["x-gateway-attempts"]) == (200, "1")


async def test_many_requests_at_once_stay_within_the_share(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", delay_s=0.4).script("b", delay_s=60)
    answers = await asyncio.gather(*[gateway.chat("fast") for _ in range(50)])
    assert {answer.text for answer in answers} == {"hello from a"}
    assert sum(int(answer.headers["x-gateway-attempts"]) for answer in answers) == 55
    await upstream.wait_for_disconnect(count=5)


async def test_explain_knows_what_is_left_of_the_minute(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    asked = "/-/explain?model=fast&fail=up/a=timeout"
    before = (await gateway.get(asked)).json
    assert before["hedge"] == {"after_s": 0.1, "calls_left": 1}
    assert [one["hedge"] for one in before["walk"]["calls"]] == [False, True]
    upstream.script("a", delay_s=60).script("b", reply="hello")
    assert (await gateway.chat("fast")).text == "hello"
    after = (await gateway.get(asked)).json
    assert after["hedge"] == {"after_s": 0.1, "calls_left": 0}
    assert [one["hedge"] for one in after["walk"]["calls"]] == [False, False]
