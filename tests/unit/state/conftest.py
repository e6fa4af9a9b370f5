"""A real Redis for the tests of this folder, and stores over it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from gateway.state.limits import SharedStore
from gateway.state.link import Link
from gateway.state.options import StateAddress, read_address
from tests.redis_server import RedisServer, linked, redis_server, until

TIMEOUT_S = 0.5
"""Longer than the flag's own: several test processes share the processors."""

Replica: TypeAlias = "Callable[..., Any]"


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


class OneReplica:
    """A link with its store, and the errors that were counted."""

    def __init__(self, server: RedisServer, **more: Any) -> None:
        self.errors: list[str] = []
        timeout_s = more.pop("timeout_s", TIMEOUT_S)
        address = more.pop("address", server.address)
        self.link = Link(address, prefix="gateway", timeout_s=timeout_s, count_error=self.errors.append)
        self.store = SharedStore(self.link, **{"on_error": "local", **more})


@pytest.fixture
async def replica(redis: RedisServer) -> AsyncIterator[Replica]:
    """Make replicas that are up, unless told `up=False`."""
    async with AsyncExitStack() as stack:

        async def make(*, up: bool = True, **more: Any) -> OneReplica:
            made = OneReplica(redis, **more)
            await stack.enter_async_context(linked(made.link))
            if up:
                await until(lambda: made.link.is_up)
            return made

        yield make


@asynccontextmanager
async def agreeing_server() -> AsyncIterator[StateAddress]:
    """Answer OK to every command, as a proxy might."""

    async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(65536):
            writer.write(b"+OK\r\n" * len(re.findall(rb"\*\d+\r\n\$", asked)))
        writer.close()

    server = await asyncio.start_server(agree, "127.0.0.1", 0)
    async with server:
        yield read_address(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
