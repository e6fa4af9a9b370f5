"""A client that leaves before its answer leaves nothing in memory that only a garbage collection would free.

Full collections are rare in the server, and a request's body may be 32 MiB.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

import pytest

from gateway.server.request import Request
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import RunningGateway, Start, until
from tests.server.test_both_ways import AIOHTTP, ROUTES, request

HELD: Final = "x" * 100_000


def requests_in_memory() -> int:
    return sum(isinstance(each, Request) for each in gc.get_objects())


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("way", ["", AIOHTTP], ids=["ours", "aiohttp"])
async def test_a_request_whose_client_left_is_freed_at_once(
    start: Start, upstream: ScriptedOpenAI, way: str, *, stream: bool
) -> None:
    upstream.script("a", delay_s=30)
    gateway: RunningGateway = await start(ROUTES)
    gc.collect()
    gc.disable()
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(stream=stream, user=HELD).replace(b"WAY", way.encode()))
        await until(lambda: upstream.calls == ["a"])
        assert requests_in_memory() == 1
        writer.transport.abort()
        await until(lambda: upstream.disconnects == 1)
        await until(lambda: requests_in_memory() == 0)
    finally:
        gc.enable()
