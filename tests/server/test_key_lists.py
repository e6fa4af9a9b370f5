"""A provider with several keys, from the file to the upstream's socket and to the operators' paths."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import litellm  # noqa: F401 - here, where its warnings are no errors: gateways load it in a thread
import pytest

from tests.keeping_responses import KeepingResponses
from tests.log_lines import logging_to
from tests.scripted_anthropic import ScriptedAnthropic
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import Answer, Client, RunningGateway, Start, until

A, B, C = (f"sk-{name}-0123456789abcdef" for name in "abc")
ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {for: 10m}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: ["${A}", "${B}", "${EMPTY:-}"]ADAPTER}
  else: {kind: openai, base_url: "BASE_URL", api_key: sk-else}
models:
  fast: {chain: [up/m, else/n], max_attempts: 2}
  alone: up/m
"""
ENVIRON = {"A": A, "B": B}
LIMITED: dict[str, Any] = {"status": 429, "retry_after": 120}


def short(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:4]


@pytest.fixture(params=["", ", adapter: litellm"], ids=["relay", "litellm"])
async def gateway(start: Start, request: pytest.FixtureRequest) -> RunningGateway:
    started: RunningGateway = await start(ROUTES.replace("ADAPTER", request.param), environ=ENVIRON)
    return started


async def rows(gateway: RunningGateway) -> dict[tuple[str, str | None], str]:
    """Return target and key → state of all targets."""
    told = (await gateway.get("/-/targets")).json["targets"]
    return {(row["target"], row.get("key")): row["state"] for row in told}


def counted(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.headers.get("x-gateway-target"), answer.headers.get("x-gateway-attempts")


async def test_keys_are_used_in_turn(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    for _ in range(4):
        assert counted(await gateway.chat("fast")) == (200, "up/m", "1")
    assert upstream.keys == [A, B, A, B]


async def test_one_keys_limit_is_the_other_keys_turn(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script_key(A, **LIMITED)
    assert counted(await gateway.chat("fast")) == (200, "up/m", "2")
    assert counted(await gateway.chat("fast")) == (200, "up/m", "1")
    assert upstream.keys == [A, B, B]
    assert await rows(gateway) == {("up/m", short(A)): "cooldown", ("up/m", short(B)): "ok", ("else/n", None): "ok"}


async def test_when_all_keys_are_refused_the_next_target_is_tried_and_the_target_rests(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script_key(A, **LIMITED).script_key(B, status=401)
    assert counted(await gateway.chat("fast")) == (200, "else/n", "3")
    assert counted(await gateway.chat("fast")) == (200, "else/n", "1")
    assert upstream.keys == [A, B, "sk-else", "sk-else"]
    assert await rows(gateway) == {
        ("up/m", short(A)): "cooldown", ("up/m", short(B)): "cooldown", ("else/n", None): "ok"
    }  # fmt: skip
    assert await gateway.metric('gateway_target_cooldown{target="up/m"}') == 1.0


async def test_a_stream_moves_to_the_other_key_before_its_first_content(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script_key(A, **LIMITED).script_key(B, chunks=["one ", "two"])
    answer = await gateway.chat("fast", stream=True)
    assert (answer.status, answer.events[-1], upstream.keys) == (200, "[DONE]", [A, B])


async def test_the_log_says_which_key_each_attempt_was_made_with_and_the_client_is_not_told(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    stream = io.StringIO()
    with logging_to(stream):
        upstream.script_key(A, **LIMITED).script_key(B, status=402)
        answer = await gateway.chat("alone")
        await until(lambda: '"event":"request"' in stream.getvalue())
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines() if '"event":"request"' in line]
    assert [(each["kind"], each["key"]) for each in line["attempts"]] == [
        ("rate_limit", short(A)), ("billing", short(B))
    ]  # fmt: skip
    assert (answer.status, [each["kind"] for each in answer.error["attempts"]]) == (429, ["rate_limit", "billing"])
    assert 60 < int(answer.headers["retry-after"]) <= 120
    assert all("key" not in each for each in answer.error["attempts"])


async def test_every_key_is_masked_whichever_was_sent(gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
    upstream.script("m", status=400, error={"message": f"not {A} and not {B}", "code": B})
    answer = await gateway.chat("alone")
    assert (answer.status, upstream.keys) == (400, [A])
    assert b"0123456789" not in answer.body
    for path in ("/-/config", "/-/targets", "/-/explain?model=alone"):
        told = (await gateway.get(path)).body
        assert b"0123456789" not in told
    assert b'"api_key":["${A}","${B}","${EMPTY:-}"]' in (await gateway.get("/-/config")).body


async def test_explain_knows_how_many_keys_there_are_and_whose_turn_it_is(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    told = (await gateway.get("/-/explain?model=fast&fail=up/m=rate_limit")).json
    assert [step["keys"] for step in told["chain"]] == [2, 1]
    calls = [(call["target"], call["then"]) for call in told["walk"]["calls"]]
    assert calls == [("up/m", "key"), ("up/m", "next"), ("else/n", "answers")]
    upstream.script_key(A, **LIMITED)
    await gateway.chat("fast")
    told = (await gateway.get("/-/explain?model=fast&fail=up/m=rate_limit")).json
    assert [call["target"] for call in told["walk"]["calls"]] == ["up/m", "else/n"]
    assert told["cooldowns"] == []


async def test_a_reload_keeps_the_rests_of_keys_that_stay(start: Start, upstream: ScriptedOpenAI) -> None:
    routes = ROUTES.replace("ADAPTER", "").replace("BASE_URL", upstream.base_url)
    gateway = await start(routes, environ={**ENVIRON, "C": C})
    upstream.script_key(A, **LIMITED)
    await gateway.chat("fast")
    for keys in ('"${B}", "${A}", "${C}"', '"${C}", "${A}"'):
        gateway.config.write_text(routes.replace('"${A}", "${B}", "${EMPTY:-}"', keys))
        assert (await gateway.request("POST", "/-/reload")).json["changed"] is True
        found = await rows(gateway)
        assert (found["up/m", short(A)], found["up/m", short(C)]) == ("cooldown", "ok")
        await gateway.chat("fast")
    assert upstream.keys == [A, B, C, C]


async def test_keys_of_files_are_read_again_when_they_change(
    start: Start, upstream: ScriptedOpenAI, tmp_path: Path
) -> None:
    (tmp_path / "one").write_text(A)
    (tmp_path / "two").write_text(B)
    gateway = await start(
        'version: 1\nproviders:\n  up: {kind: openai, base_url: "BASE_URL", api_key_file: [one, two]}\n'
        "models:\n  fast: up/m\n"
    )
    upstream.script_key(A, status=401)
    await gateway.chat("fast")
    (tmp_path / "one").write_text(C)
    for _ in range(2):
        await gateway.chat("fast")
    assert upstream.keys == [A, B, C, B]


async def test_a_wildcards_models_take_turns_of_their_own(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(ROUTES.replace("ADAPTER", "").replace("alone: up/m", '"x/*": "up/*"'), environ=ENVIRON)
    for model in ("x/a", "x/b", "x/a"):
        await gateway.chat(model)
    assert upstream.keys == [A, A, B]
    told = (await gateway.get("/-/targets")).json["targets"]
    attempts = {row["key"]: row["attempts"] for row in told if row["target"] == "up/*"}
    assert attempts == {short(A): {"ok": 2}, short(B): {"ok": 1}}


@pytest.mark.parametrize("path", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_claudes_keys_too_whether_relayed_or_translated(start: Start, path: str, stream: bool) -> None:
    async with ScriptedAnthropic() as claude:
        gateway = await start(
            f"version: 1\ndefaults: {{retries: 0}}\nproviders:\n"
            f'  anthropic: {{base_url: "{claude.base_url}", api_key: [{A}, {B}]}}\n'
            "models:\n  smart: anthropic/claude-m\n"
        )
        claude.script("claude-m", status=429).script("claude-m", reply="hi")
        asked = {"input": "hi"} if path == "responses" else {"messages": [{"role": "user", "content": "hi"}]}
        body = {"model": "smart", "max_tokens": 9, "stream": stream, **asked}
        answer = await gateway.request("POST", f"/v1/{path}", json=body)
        assert counted(answer) == (200, "anthropic/claude-m", "2")
        assert [request.headers["x-api-key"] for request in claude.requests] == [A, B]


async def test_a_sticky_pool_fixes_the_key_too(start: Start, upstream: ScriptedOpenAI) -> None:
    gateway = await start(
        f'version: 1\nproviders:\n  up: {{kind: openai, base_url: "BASE_URL", api_key: [{A}, {B}, {C}]}}\n'
        "models:\n  smart: [{pool: [up/m, up/n], pick: sticky, key: {header: x-session}}, up/last]\n"
    )
    sent: dict[str, set[tuple[str, str]]] = {}
    for _ in range(3):
        for session in map(str, range(12)):
            await gateway.chat("smart", headers={"x-session": session})
            sent.setdefault(session, set()).add((upstream.calls[-1], upstream.keys[-1]))
    assert [len(each) for each in sent.values()] == [1] * 12
    assert {key for each in sent.values() for _, key in each} == {A, B, C}
    ((model, key),) = sent["0"]
    upstream.script_key(key, **LIMITED)
    upstream.requests.clear()
    for _ in range(2):
        await gateway.chat("smart", headers={"x-session": "0"})
    others = upstream.keys[1:]
    assert (upstream.keys[0], len(set(others)), len(others), set(upstream.calls[-3:])) == (key, 1, 2, {model})


class TestBoundRequests:
    @pytest.fixture
    async def server(self) -> AsyncIterator[KeepingResponses]:
        async with KeepingResponses() as server:
            yield server

    @pytest.fixture
    async def gateway(self, start: Start, server: KeepingResponses) -> RunningGateway:
        started: RunningGateway = await start(
            f"version: 1\ndefaults: {{retries: 0}}\nproviders:\n"
            f'  one: {{kind: openai, base_url: "{server.url}/one/v1", api_key: [{A}, {B}, {C}]}}\n'
            "models:\n  smart: one/a\n"
        )
        return started

    async def test_a_response_is_continued_got_and_deleted_with_the_key_that_made_it(
        self, client_of: Client, server: KeepingResponses
    ) -> None:
        client = client_of("x")
        for key in (A, B):
            made = await client.responses.create(model="smart", input="hi")
            await client.responses.create(model="smart", input="and?", previous_response_id=made.id)
            async with client.responses.stream(model="smart", input="so?", previous_response_id=made.id) as events:
                async for _ in events:
                    pass
            await client.responses.retrieve(made.id)
            await client.responses.delete(made.id)
            assert server.keys == [f"Bearer {key}"] * 5
            server.keys.clear()

    async def test_a_bound_request_moves_to_no_other_key(
        self, client_of: Client, gateway: RunningGateway, server: KeepingResponses
    ) -> None:
        made = await client_of("x").responses.create(model="smart", input="hi")
        server["one"].status = 429
        answer = await gateway.request(
            "POST", "/v1/responses", json={"model": "smart", "input": "hi", "previous_response_id": made.id}
        )
        assert (answer.status, server.keys) == (429, [f"Bearer {A}"] * 2)
        server["one"].status = None
        await client_of("x").responses.create(model="smart", input="hi")
        assert server.keys[2:] == [f"Bearer {B}"]

    async def test_one_whose_maker_is_not_known_goes_out_with_the_first_key(
        self, client_of: Client, server: KeepingResponses
    ) -> None:
        await client_of("x").responses.create(model="smart", input="hi")
        with pytest.raises(Exception, match="not found"):
            await client_of("x").responses.create(model="smart", input="hi", previous_response_id="resp_unknown")
        assert server.keys == [f"Bearer {A}"] * 2
