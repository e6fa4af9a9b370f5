"""Nobody reads standard error: requests and probes go on, lines are dropped and counted, and none is torn."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import ROUTES, until
from tests.server.test_process import CODE, Server

DROPPED: Final = "gateway_log_lines_dropped_total"
REQUESTS: Final = 1500
"""More than a pipe and the lines that may wait for it hold."""
LONG: Final = "/" + "x" * 500


@asynccontextmanager
async def unread(tmp_path: Path, upstream: ScriptedOpenAI, *, kind: str) -> AsyncIterator[tuple[Server, int]]:
    """Run a server whose standard error nobody reads; yield it and the descriptor to read from."""
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES.replace("BASE_URL", upstream.base_url))
    if kind == "pipe":
        reading, theirs = os.pipe()
    else:
        reading, theirs = (end.detach() for end in socket.socketpair())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CODE, str(config), "{'port': 0}", stdout=PIPE, stderr=theirs
    )
    os.close(theirs)
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().partition(" ")[0]
        async with aiohttp.ClientSession() as session:
            yield Server(process, url, session), reading
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        os.close(reading)


async def ask_much(server: Server) -> None:
    async def ask(count: int) -> None:
        for _ in range(count):
            assert await server.get(LONG) == 404

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(ask(REQUESTS // 10))


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_requests_go_on_and_the_log_tells_later_what_it_lacks(
    tmp_path: Path, upstream: ScriptedOpenAI, kind: str
) -> None:
    async with unread(tmp_path, upstream, kind=kind) as (server, reading):
        await ask_much(server)
        async with server.chat("fast") as response:
            assert response.status == 200
        assert (await server.get("/healthz"), await server.get("/readyz")) == (200, 200)
        dropped = await server.metric(DROPPED)
        assert dropped > 0
        read = bytearray()
        os.set_blocking(reading, False)

        async def has_caught_up() -> bool:
            try:
                read.extend(os.read(reading, 1 << 20))
            except BlockingIOError:
                await asyncio.sleep(0.01)
            return b'"log lines were dropped"' in read and read.endswith(b"\n")

        await until(has_caught_up)
        assert await server.metric(DROPPED) == dropped
        server.process.send_signal(signal.SIGTERM)
        assert await server.process.wait() == 0
        read.extend(os.read(reading, 1 << 20))
    lines = [json.loads(line) for line in read.splitlines()]
    assert [line["lines"] for line in lines if line["event"] == "log lines were dropped"] == [dropped]
    assert len([line for line in lines if line.get("path", "").startswith("/xx")]) + dropped >= REQUESTS
    assert lines[-1]["event"] == "stopped"


async def test_the_process_ends_though_nobody_has_read_its_log(tmp_path: Path, upstream: ScriptedOpenAI) -> None:
    async with unread(tmp_path, upstream, kind="pipe") as (server, _):
        await ask_much(server)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.process.wait(), 5.0) == 0


async def test_the_reader_may_leave(tmp_path: Path, upstream: ScriptedOpenAI) -> None:
    async with unread(tmp_path, upstream, kind="pipe") as (server, reading):
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, reading)
        os.close(null)
        assert await server.get("/healthz") == 200
        async with server.chat("fast") as response:
            assert response.status == 200
        assert await server.get("/metrics") == 200
        assert await server.metric(DROPPED) > 0
        server.process.send_signal(signal.SIGTERM)
        assert await server.process.wait() == 0
