"""Shadows: a share of an alias' requests is sent once more, after the answer, and changes nothing for the client."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import orjson
import pytest

from gateway.engine.shadows import MAX_IN_FLIGHT
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start, until
from tests.server.test_keepalive import log as log

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 1}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  other: {kind: openai, base_url: "BASE_URL", api_key: sk-other, params: {seed: 7}}
models:
  fast: {chain: [up/a], shadow: {target: other/s, share: 100%}}
  pair: {chain: [up/a, up/b], shadow: {target: other/s, share: 1}}
  never: {chain: [up/a], shadow: {target: other/s, share: 0}}
  own: {chain: [up/a], shadow: {target: up/a, share: 1}}
  "team/*": {chain: ["up/*"], shadow: {target: "other/x-*", share: 1}}
  hooked:
    chain: [{alias: inner}]
    hooks: {pre: [HOOKS.outer], post: [HOOKS.stamp]}
    shadow: {target: other/s, share: 1}
  inner: {chain: [up/a], hooks: {pre: [HOOKS.inner]}}
  pooled: {chain: [{pool: [up/a, up/b]}], shadow: {target: other/s, share: 1}}
  kept: {chain: [up/a], shadow: {target: other/s, share: 1}, params: {store: true}}
"""

HOOKS = """\
def outer(params):
    return {**params, "user": "outer"}


def inner(params):
    return {**params, "seed": 1, "top_p": 0.5}


def stamp(answer):
    return {**answer, "stamped": True}
"""


@pytest.fixture
async def gateway(start: Start) -> RunningGateway:
    started: RunningGateway = await start(ROUTES, hooks=HOOKS)
    return started


async def shadows(gateway: RunningGateway, alias: str, kind: str, target: str = "other/s") -> float | None:
    return await gateway.metric(f'gateway_shadow_calls_total{{alias="{alias}",kind="{kind}",target="{target}"}}')


def lines(log: io.StringIO, event: str) -> list[Any]:
    found = [orjson.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in found if line.get("event") == event]


async def test_an_answered_request_is_sent_once_more_and_told_apart(
    gateway: RunningGateway, upstream: ScriptedOpenAI, log: io.StringIO
) -> None:
    upstream.script("a", reply="hello there").script("s", reply="one two three four")
    answer = await gateway.chat("fast", headers={"x-request-id": "req-1"}, temperature=0.5)
    assert (answer.status, answer.text) == (200, "hello there")
    assert answer.headers["x-gateway-target"] == "up/a"
    assert answer.headers["x-gateway-attempts"] == "1"
    await until(lambda: lines(log, "shadow"))
    first, second = upstream.requests
    assert (first.body["model"], second.body["model"]) == ("a", "s")
    assert second.body == {**first.body, "model": "s", "seed": 7}
    assert second.headers["authorization"] == "Bearer sk-other"
    assert second.headers["x-request-id"] == "req-1"
    (line,) = lines(log, "shadow")
    assert (line["request_id"], line["alias"], line["target"], line["status"]) == ("req-1", "fast", "other/s", 200)
    assert [attempt["target"] for attempt in line["attempts"]] == ["other/s"]
    (request,) = lines(log, "request")
    assert [attempt["target"] for attempt in request["attempts"]] == ["up/a"]
    assert await shadows(gateway, "fast", "ok") == 1
    assert await gateway.metric('gateway_attempts_total{kind="ok",target="other/s"}') is None
    completion = line["tokens"]["completion"]
    assert await gateway.metric('gateway_shadow_tokens_total{alias="fast",direction="completion"}') == completion
    assert (
        await gateway.metric('gateway_tokens_total{alias="fast",direction="completion",target="up/a"}')
        == (request["tokens"]["completion"])
    )


async def test_a_stream_is_sent_once_more_after_its_first_content(
    gateway: RunningGateway, upstream: ScriptedOpenAI, log: io.StringIO
) -> None:
    gate = asyncio.Event()
    upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=gate).script("s", chunks=3)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(gateway.chat("fast", stream=True))
        (line,) = await until(lambda: lines(log, "shadow"))
        assert not asking.done()
        gate.set()
    assert asking.result().events[-1] == "[DONE]"
    assert (line["stream"], line["status"]) == (True, 200)
    assert upstream.requests[1].body["stream"] is True


async def test_a_failing_shadow_touches_neither_client_nor_cooldown(
    gateway: RunningGateway, upstream: ScriptedOpenAI, log: io.StringIO
) -> None:
    upstream.script("a", reply="hello").script("a", status=503).script("a", reply="again")
    assert (await gateway.chat("own")).text == "hello"
    (line,) = await until(lambda: lines(log, "shadow"))
    assert (line["error"], line["attempts"][0]["status"]) == ("overloaded", 503)
    targets = (await gateway.get("/-/targets")).json
    assert {each["state"] for each in targets["targets"]} == {"ok"}
    assert (await gateway.chat("own")).text == "again"
    assert await shadows(gateway, "own", "overloaded", "up/a") == 1


async def test_a_broken_stream_of_a_shadow_is_a_failure(
    gateway: RunningGateway, upstream: ScriptedOpenAI, log: io.StringIO
) -> None:
    upstream.script("a", chunks=2).script("s", chunks=3, cut_after=1)
    assert (await gateway.chat("fast", stream=True)).events[-1] == "[DONE]"
    (line,) = await until(lambda: lines(log, "shadow"))
    assert line["attempts"][0]["kind"] == line["error"] != "ok"


async def test_a_failed_request_is_not_sent_again(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=400)
    assert (await gateway.chat("fast")).status == 400
    upstream.script("b", reply="second")
    upstream.reset_script("a").script("a", status=500)
    assert (await gateway.chat("pair")).text == "second"
    await until(lambda: "s" in upstream.calls)
    assert upstream.calls == ["a", "a", "b", "s"]


async def test_the_shadow_gets_what_the_hooks_made_for_the_step_that_answered(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="hello").script("s", reply="shadow")
    answer = await gateway.chat("hooked")
    assert answer.json["stamped"]
    await until(lambda: "s" in upstream.calls)
    sent = upstream.requests[1].body
    assert (sent["user"], sent["top_p"], sent["seed"]) == ("outer", 0.5, 7)


@pytest.mark.parametrize("model", ["pooled", "team/a"])
async def test_pools_and_wildcards_have_shadows_too(
    gateway: RunningGateway, upstream: ScriptedOpenAI, model: str
) -> None:
    for name in ("a", "b", "s", "x-a"):
        upstream.script(name, reply=name)
    assert (await gateway.chat(model)).text in {"a", "b"}
    await until(lambda: len(upstream.calls) == 2)
    assert upstream.calls[1] == ("x-a" if model == "team/a" else "s")


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("never", {}),
        ("kept", {}),
        ("fast", {"store": True}),
        ("fast", {"web_search_options": {}}),
        ("fast", {"tools": [{"type": "web_search"}]}),
    ],
)
async def test_what_is_kept_or_runs_tools_upstream_is_not_sent_again(
    gateway: RunningGateway, upstream: ScriptedOpenAI, model: str, body: dict[str, Any]
) -> None:
    upstream.script("a", reply="hello").script("s", reply="shadow")
    assert (await gateway.chat(model, **body)).status == 200
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert (await gateway.chat("fast", tools=tools)).status == 200  # one that is
    await until(lambda: "s" in upstream.calls)
    assert upstream.calls == ["a", "a", "s"]


async def test_embeddings_and_completions_are_sent_once_more(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", reply="hello").script("s", reply="shadow")
    await gateway.request("POST", "/v1/embeddings", json={"model": "fast", "input": "text"})
    await until(lambda: len(upstream.calls) == 2)
    await gateway.request("POST", "/v1/completions", json={"model": "fast", "prompt": "text"})
    await until(lambda: len(upstream.calls) == 4)
    assert [(request.path, request.body["model"]) for request in upstream.requests[1::2]] == [
        ("/v1/embeddings", "s"),
        ("/v1/completions", "s"),
    ]


async def test_a_bound_request_is_not_sent_again(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", reply="hello").script("s", reply="shadow")
    bound = [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}]
    for messages in (bound, HELLO):
        await gateway.request("POST", "/v1/messages", json={"model": "fast", "max_tokens": 9, "messages": messages})
    await until(lambda: "s" in upstream.calls)
    assert upstream.calls.count("s") == 1


async def test_no_more_than_a_few_are_in_flight_and_a_drain_drops_them(
    gateway: RunningGateway, upstream: ScriptedOpenAI, log: io.StringIO
) -> None:
    upstream.script("a", reply="hello").script("s", reply="late", stall_after=0)
    for _ in range(MAX_IN_FLIGHT + 2):
        assert (await gateway.chat("fast")).status == 200
    await until(lambda: upstream.calls.count("s") == MAX_IN_FLIGHT)
    assert await shadows(gateway, "fast", "dropped") == 2
    gateway.parts.shadows.drop()
    await until(lambda: len(lines(log, "shadow")) == MAX_IN_FLIGHT + 2)
    assert await shadows(gateway, "fast", "dropped") == MAX_IN_FLIGHT + 2
    assert (await gateway.chat("fast")).status == 200
    assert upstream.calls.count("s") == MAX_IN_FLIGHT
