"""A stop, from the first signal to the end: readiness, the delay, the listener, and open streams."""

from __future__ import annotations

import asyncio
import resource
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, ROUTES, save, until
from tests.server.test_process import Server, running


@pytest.fixture
def config(tmp_path: Path, upstream: ScriptedOpenAI) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES.replace("BASE_URL", upstream.base_url))
    return path


async def not_ready(server: Server) -> bool:
    return await server.get("/readyz") == 503


async def is_refused(server: Server) -> bool:
    """Tell whether a new connection is refused."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_during_the_delay_it_is_not_ready_and_serves_and_then_it_listens_no_more(
    config: Path, upstream: ScriptedOpenAI
) -> None:
    gate = asyncio.Event()
    upstream.script("a", chunks=["one ", "two"], stall_after=1, gate=gate)
    async with running(config, drain_delay_s=1.0) as server, server.chat("fast", stream=True) as response:
        await response.content.readuntil(b"\n\n")
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: not_ready(server))
        assert await server.get("/healthz") == 200
        async with server.chat("echo") as late:
            assert late.status == 200
        assert not await is_refused(server)
        await until(lambda: is_refused(server))
        gate.set()
        assert (await response.read()).endswith(b"data: [DONE]\n\n")
        assert await server.end(None) == 0
    assert [line["event"] for line in server.log if line["event"] in ("not ready", "draining", "stopped")] == [
        "not ready", "draining", "stopped",
    ]  # fmt: skip


async def test_a_second_signal_during_the_delay_ends_now(config: Path, upstream: ScriptedOpenAI) -> None:
    upstream.script("a", chunks=["one ", "two"], stall_after=1)
    async with (
        running(config, drain_delay_s=60.0, drain_s=60.0) as server,
        server.chat("fast", stream=True) as response,
    ):
        await response.content.readuntil(b"\n\n")
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: not_ready(server))
        server.process.send_signal(signal.SIGTERM)
        while b'"code":"shutting_down"' not in await response.content.readuntil(b"\n\n"):
            pass
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        assert await server.end(None) == 0


async def test_a_delay_without_requests_ends_in_time(config: Path) -> None:
    async with running(config, drain_delay_s=0.2) as server:
        assert await server.end() == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("delay_s", [0.0, 0.5])
async def test_no_open_stream_is_lost_in_a_drain(
    config: Path, upstream: ScriptedOpenAI, *, count: int, delay_s: float
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * count:
        if hard < 4 * count:
            pytest.skip(f"{hard} descriptors are too few")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4 * count, hard))
    gate = asyncio.Event()
    upstream.script("a", chunks=["one ", "two ", "three"], stall_after=1, gate=gate)
    begun = asyncio.Semaphore(0)
    save(config, ROUTES.replace("BASE_URL", upstream.base_url).replace("timeout: 5s", "timeout: 50s"))
    async with running(config, drain_delay_s=delay_s) as server:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:

            async def ask() -> bytes:
                body = {"model": "fast", "stream": True, "messages": HELLO}
                async with session.post(f"{server.url}/v1/chat/completions", json=body) as response:
                    first = await response.content.readuntil(b"one ")
                    begun.release()
                    return first + await response.read()

            asking = [group.create_task(ask()) for _ in range(count)]
            for _ in range(count):
                await begun.acquire()
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: not_ready(server))
            if delay_s:
                await until(lambda: is_refused(server))
            gate.set()
        answers = [task.result() for task in asking]
        assert await server.end(None) == 0
    whole = [answer for answer in answers if b"three" in answer and answer.endswith(b"data: [DONE]\n\n")]
    assert len(whole) == count
    assert '"whole":true' in server.err
