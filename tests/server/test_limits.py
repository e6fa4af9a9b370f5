"""Limits of load: requests in flight, one target's share of them, connections, and slow clients."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.adapters.upstream_response import no_response
from gateway.server.aiohttp_server import MAX_SURPLUS
from gateway.wire.http1.errors import ConnectError
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, Answer, RunningGateway, Start, until
from tests.server.test_process import running

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 20s}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  two: {kind: openai, base_url: "BASE_URL", api_key: [sk-1, sk-2]}
models:
  hangs: up/a
  pair: [up/a, up/b]
  fine: up/b
  keys: two/a
  echo: mock/echo
  "any/*": "up/*"
"""


class TestInFlight:
    async def test_what_is_too_much_gets_503_at_once_in_the_words_of_its_wire(
        self, start: Start, upstream: ScriptedOpenAI
    ) -> None:
        gateway = await start(ROUTES, max_in_flight=2)
        gate = asyncio.Event()
        upstream.script("a", stall_after=0, gate=gate).script("b", stall_after=0, gate=gate)
        async with asyncio.TaskGroup() as group:
            held = [group.create_task(gateway.chat(model)) for model in ("hangs", "fine")]
            await upstream.wait_for_calls(2)
            chat = await gateway.chat("echo")
            body = {"model": "echo", "max_tokens": 1, "messages": HELLO}
            messages = await gateway.request("POST", "/v1/messages", json=body)
            for answer in (chat, messages):
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert "--max-in-flight" in answer.error["message"]
            assert (chat.error["code"], messages.json["type"]) == ("too_many_requests", "error")
            for path in ("/healthz", "/readyz", "/metrics", "/-/targets", "/v1/models"):
                assert (await gateway.get(path)).status == 200
            assert await gateway.metric("gateway_in_flight") == 2
            gate.set()
        assert [task.result().status for task in held] == [200, 200]
        assert (await gateway.chat("echo")).status == 200

    async def test_without_the_flag_nothing_is_refused(self, gateway: RunningGateway, upstream: ScriptedOpenAI) -> None:
        gate = asyncio.Event()
        upstream.script("a", stall_after=0, gate=gate)
        async with asyncio.TaskGroup() as group:
            held = [group.create_task(gateway.chat("fast")) for _ in range(20)]
            await upstream.wait_for_calls(20)
            assert (await gateway.chat("echo")).status == 200
            gate.set()
        assert {task.result().status for task in held} == {200}


async def hold(gateway: RunningGateway, group: asyncio.TaskGroup, *models: str) -> list[asyncio.Task[Answer]]:
    return [group.create_task(gateway.chat(model)) for model in models]


class TestRoomForOthers:
    async def test_a_hanging_target_is_passed_over_once_it_has_half(
        self, start: Start, upstream: ScriptedOpenAI
    ) -> None:
        gateway = await start(ROUTES, max_in_flight=4)
        gate = asyncio.Event()
        upstream.script("a", stall_after=0, gate=gate)
        async with asyncio.TaskGroup() as group:
            held = await hold(gateway, group, "hangs", "pair")
            await upstream.wait_for_calls(2)
            refused = await gateway.chat("hangs")
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert refused.headers["x-gateway-attempts"] == "0"
            assert refused.error["code"] == "upstream_failed"
            assert refused.error["attempts"] == [{"target": "up/a", "kind": "overloaded", "status": None, "ms": 0.0}]
            other = await gateway.chat("pair")
            assert (other.status, other.headers["x-gateway-target"]) == (200, "up/b")
            assert other.headers["x-gateway-attempts"] == "1"
            assert (await gateway.chat("fine")).status == 200
            stream = await gateway.chat("hangs", stream=True)
            assert stream.status == 503
            [target] = [one for one in (await gateway.get("/-/targets")).json["targets"] if one["target"] == "up/a"]
            assert (target["state"], target["in_flight"]) == ("ok", 2)
            gate.set()
        assert {task.result().status for task in held} == {200}
        assert upstream.calls.count("a") == 2
        assert await gateway.metric('gateway_attempts_total{kind="overloaded",target="up/a"}') == 3
        assert (await gateway.chat("hangs")).status == 200

    async def test_a_stream_has_its_place_to_its_end(self, start: Start, upstream: ScriptedOpenAI) -> None:
        gateway = await start(ROUTES, max_in_flight=2)
        gate = asyncio.Event()
        upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=gate)
        body = {"model": "hangs", "stream": True, "messages": HELLO}
        async with gateway.session.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
            await response.content.readuntil(b"one ")
            assert (await gateway.chat("hangs")).status == 503
            gate.set()
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
        upstream.reset_script("a")
        assert (await gateway.chat("hangs")).status == 200

    async def test_a_target_that_is_alone_may_have_all(self, start: Start, upstream: ScriptedOpenAI) -> None:
        alone = ROUTES.partition("  pair:")[0]
        gateway = await start(alone, max_in_flight=4)
        gate = asyncio.Event()
        upstream.script("a", stall_after=0, gate=gate)
        async with asyncio.TaskGroup() as group:
            held = await hold(gateway, group, *["hangs"] * 4)
            await upstream.wait_for_calls(4)
            assert (await gateway.chat("hangs")).error["code"] == "too_many_requests"
            gate.set()
        assert {task.result().status for task in held} == {200}

    @pytest.mark.parametrize(
        ("held", "asked"),
        [(("any/x", "any/y"), "any/z"), (("keys", "keys"), "keys")],
        ids=["wildcard", "several keys"],
    )
    async def test_the_models_of_a_wildcard_and_the_keys_of_a_target_count_together(
        self, start: Start, upstream: ScriptedOpenAI, held: tuple[str, ...], asked: str
    ) -> None:
        gateway = await start(ROUTES, max_in_flight=4)
        gate = asyncio.Event()
        for model in "axy":
            upstream.script(model, stall_after=0, gate=gate)
        async with asyncio.TaskGroup() as group:
            holding = await hold(gateway, group, *held)
            await upstream.wait_for_calls(2)
            answer = await gateway.chat(asked)
            assert (answer.status, answer.error["attempts"][0]["kind"]) == (503, "overloaded")
            assert (await gateway.chat("fine")).status == 200
            gate.set()
        assert {task.result().status for task in holding} == {200}

    async def test_the_smallest_limit_leaves_each_target_one(self, start: Start) -> None:
        gateway = await start(ROUTES, max_in_flight=1)
        assert (await gateway.chat("fine")).status == 200


class TestConnections:
    async def test_one_too_many_is_told_and_closed_while_probes_are_answered(self, start: Start) -> None:
        gateway = await start(ROUTES, max_connections=3)
        kept = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(3)]
        kept[0][1].write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await kept[0][0].readuntil(b"\r\n\r\n")  # from now on this one is aiohttp's
        for path in ("/healthz", "/readyz", "/metrics", "/-/config"):
            answer = await fresh(gateway, "GET", path)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        for path in ("/v1/chat/completions", "/v1/messages", "/nothing"):
            answer = await fresh(gateway, "POST", path, json={"model": "echo", "max_tokens": 1, "messages": HELLO})
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert (answer.headers["connection"], "--max-connections" in answer.error["message"]) == ("close", True)
        kept[1][1].close()

        async def is_served() -> bool:
            return (await fresh(gateway, "GET", "/v1/models")).status == 200

        await until(is_served)
        for _, writer in kept:
            writer.close()

    async def test_far_more_are_closed_at_once_and_the_first_ones_go_on(self, start: Start) -> None:
        gateway = await start(ROUTES, max_connections=1)
        first = await gateway.chat("echo")
        assert first.status == 200  # its connection is kept
        more = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(MAX_SURPLUS + 5)]
        async with asyncio.timeout(3):
            closed = [await reader.read() for reader, _ in more[MAX_SURPLUS:]]
        assert closed == [b""] * 5
        assert (await gateway.chat("echo")).status == 200
        for _, writer in more:
            writer.close()
        for _, writer in more[:MAX_SURPLUS]:
            await writer.wait_closed()

        async def is_told() -> bool:
            try:
                return (await fresh(gateway, "GET", "/readyz")).status == 200
            except aiohttp.ClientError:
                return False

        await until(is_told)
        assert await gateway.metric('gateway_refused_total{reason="connection_closed"}') == 5


async def test_a_process_tells_one_too_many_too(tmp_path: Path, upstream: ScriptedOpenAI) -> None:
    """Its event loop is another one than the tests'."""
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES.replace("BASE_URL", upstream.base_url))
    async with running(config, max_connections=1) as server:
        async with server.chat("echo") as first:
            assert first.status == 200
        async with aiohttp.ClientSession() as session:
            statuses = []
            for path in ("/v1/models", "/readyz"):
                async with session.get(server.url + path) as response:
                    statuses.append(response.status)
        assert statuses == [503, 200]
        async with server.chat("echo") as again:
            assert again.status == 200
        assert await server.end() == 0


async def fresh(gateway: RunningGateway, method: str, path: str, **options: Any) -> Answer:
    """Ask on a connection of its own."""
    async with aiohttp.ClientSession() as session, session.request(method, gateway.url + path, **options) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, await response.read())


@pytest.mark.parametrize(
    ("number", "counts"),
    [("EMFILE", False), ("ENFILE", False), ("EADDRNOTAVAIL", False), ("ECONNREFUSED", True), ("EHOSTUNREACH", True)],
)
def test_a_want_of_our_own_is_no_fault_of_the_target(number: str, *, counts: bool) -> None:
    error = ConnectError("no connection could be made")
    error.__cause__ = OSError(getattr(errno, number), "x")
    assert no_response(error).counts is counts
