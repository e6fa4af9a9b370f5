"""What a client is told about repeating a failed request: `x-should-retry` and `retry-after`."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, ROUTES, RunningGateway, Start


@pytest.mark.parametrize(
    ("outcome", "status", "told"),
    [
        ({"status": 401}, 502, "false"),
        ({"status": 403}, 502, "false"),
        ({"status": 402}, 502, "false"),
        ({"status": 429, "error": {"code": "insufficient_quota"}}, 502, "false"),
        ({"status": 404, "error": {"code": "model_not_found"}}, 404, "false"),
        ({"status": 400}, 400, "false"),
        ({"status": 422}, 422, "false"),
        ({"status": 400, "error": {"code": "context_length_exceeded"}}, 400, "false"),
        ({"status": 400, "error": {"code": "content_filter"}}, 400, "false"),
        ({"status": 500}, 502, None),
        ({"status": 503}, 503, None),
        ({"status": 429}, 429, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_s_failure_says_whether_a_repeat_can_help(
    gateway: RunningGateway,
    upstream: ScriptedOpenAI,
    outcome: dict[str, Any],
    status: int,
    told: str | None,
    stream: bool,
) -> None:
    upstream.script("a", **outcome)
    answer = await gateway.chat("fast", stream=stream)
    assert (answer.status, answer.headers.get("x-should-retry")) == (status, told)


@pytest.mark.parametrize(
    ("first", "second", "status", "told"),
    [
        ({"status": 401}, {"status": 402}, 502, "false"),
        ({"status": 401}, {"status": 500}, 502, None),
        ({"status": 500}, {"status": 401}, 502, None),
        ({"status": 401}, {"status": 404}, 502, "false"),
        ({"status": 404}, {"status": 404}, 404, "false"),
        ({"status": 503}, {"status": 404}, 503, None),
    ],
)
async def test_a_repeat_is_ruled_out_only_where_every_target_of_the_chain_would_fail_again(
    gateway: RunningGateway,
    upstream: ScriptedOpenAI,
    first: dict[str, Any],
    second: dict[str, Any],
    status: int,
    told: str | None,
) -> None:
    upstream.script("a", **first).script("b", **second)
    answer = await gateway.chat("pair")
    assert (answer.status, answer.headers.get("x-should-retry")) == (status, told)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"json": {"model": "none", "messages": HELLO}}, 404),
        ({"json": {"model": "fast"}}, 400),
        ({"data": b"{,", "headers": {"content-type": "application/json"}}, 400),
        ({"data": b"x", "headers": {"content-type": "text/plain"}}, 415),
        ({"data": b"x" * 3000, "headers": {"content-type": "application/json"}}, 413),
        ({"json": {}, "headers": {"origin": "https://evil.example"}}, 403),
    ],
)
async def test_our_own_refusals_say_that_a_repeat_cannot_help(
    start: Start, options: dict[str, Any], status: int
) -> None:
    gateway = await start(max_body_bytes=2048)
    answer = await gateway.request("POST", "/v1/chat/completions", **options)
    assert (answer.status, answer.headers.get("x-should-retry")) == (status, "false")


async def test_a_body_that_comes_too_slowly_may_be_sent_again(start: Start) -> None:
    gateway = await start(client_s=0.05)

    async def body() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    headers = {"content-type": "application/json"}
    answer = await gateway.request("POST", "/v1/chat/completions", data=body(), headers=headers)
    assert (answer.status, "x-should-retry" in answer.headers) == (408, False)


@pytest.mark.parametrize(("limit_bytes", "shown"), [(2048, "2KiB"), (1001, "1001 bytes")])
async def test_a_body_that_is_too_large_is_told_the_limit_and_its_flag(
    start: Start, limit_bytes: int, shown: str
) -> None:
    gateway = await start(max_body_bytes=limit_bytes)
    headers = {"content-type": "application/json"}
    answer = await gateway.request("POST", "/v1/chat/completions", data=b" " * (limit_bytes + 1), headers=headers)
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert answer.error["message"] == f"the body is larger than {shown}, this gateway's --max-body"


async def test_rate_limits_tell_when_a_repeat_may_help(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", status=429, retry_after=60).script("b", status=429, retry_after=40)
    answer = await gateway.chat("pair")
    assert (answer.status, answer.headers["retry-after"], "x-should-retry" in answer.headers) == (429, "40", False)


async def test_when_all_targets_rest_the_client_is_told_the_seconds_left(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", status=503, retry_after=300)
    for _ in range(2):
        answer = await gateway.chat("fast")
        assert (answer.status, "x-should-retry" in answer.headers) == (503, False)
        assert 295 <= int(answer.headers["retry-after"]) <= 300
    assert upstream.calls == ["a"]


async def test_a_resting_target_with_a_refused_key_is_still_beyond_repeats(
    start: Start, upstream: ScriptedOpenAI
) -> None:
    gateway = await start(ROUTES.replace("timeout: 5s", "timeout: 5s, cooldown: {failures: 1}"))
    upstream.script("a", status=401)
    told = [(await gateway.chat("fast")).headers.get("x-should-retry") for _ in range(3)]
    assert told == ["false"] * 3


async def test_openai_s_client_asks_once_for_what_cannot_be_mended(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(ROUTES.replace("timeout: 5s", "timeout: 5s, cooldown: {failures: 100}"))
    upstream.script("a", status=401)
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=2) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="fast", messages=HELLO)  # type: ignore[arg-type] # plain dicts
        assert upstream.calls == ["a"]
        upstream.reset_script("a").script("a", status=500).script("a", reply="fine")
        completion = await client.chat.completions.create(model="fast", messages=HELLO)  # type: ignore[arg-type]
    assert (completion.choices[0].message.content, upstream.calls) == ("fine", ["a", "a", "a"])
