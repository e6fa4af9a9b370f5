"""What a gateway has in common with others, over two links to one Redis: a request waits for it once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.engine.cache.memory import MemoryAnswers
from gateway.engine.cache.store import Entry
from gateway.engine.limits.store import Costs, Standing
from gateway.engine.makers import Makers
from gateway.server.shared_state import SharedState
from gateway.state.cache import SharedCache
from gateway.state.options import StateOptions
from gateway.telemetry.metrics import Metrics
from tests.limiting import buckets
from tests.redis_server import RedisServer, redis_server, until

TIMEOUT_S = 1.0
LIMITS = buckets("9 requests/minute")
NOTHING: Costs = {"requests": 0}
KEPT = bytes(range(32))


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
async def shared(redis: RedisServer) -> AsyncIterator[tuple[SharedState, SharedCache]]:
    """Return a state that is up, and the cache over it. It asks for nothing by itself."""
    state = SharedState(StateOptions(address=redis.address, timeout_s=TIMEOUT_S), Metrics())
    cache = state.cache(MemoryAnswers(10**6), max_bytes=10**6)
    begin = asyncio.Event()
    begin.set()
    task = asyncio.get_running_loop().create_task(state.run(begin))

    await until(lambda: state.limits.try_reserve("", LIMITS, NOTHING) is None)
    async with asyncio.timeout(5):
        while not await redis.ask("EXISTS", f"gateway:{{kept}}:{KEPT.hex()}"):
            cache.put(KEPT, Entry(0, b"hello"), keep_s=60)
    yield state, cache
    task.cancel()
    await asyncio.wait([task])


async def test_a_redis_that_stands_still_is_waited_for_once(
    redis: RedisServer, shared: tuple[SharedState, SharedCache]
) -> None:
    """The link for limits looks while the one for kept answers waits, though nobody asks it for anything."""
    state, cache = shared
    order: list[str] = []
    redis.pause()
    asyncio.get_running_loop().call_later(1.5 * TIMEOUT_S, order.append, "one and a half timeouts")
    assert await cache.get(bytes(32), fresh_s=9) is None
    assert isinstance(await state.limits.reserve("a", LIMITS, {"requests": 1}), Standing)
    order.append("let in")
    assert order == ["let in"]
    assert isinstance(state.limits.try_reserve("b", LIMITS, {"requests": 1}), Standing), "nobody waits any more"
    redis.go_on()
    await until(lambda: state.seen().is_up)


async def test_who_asks_for_limits_alone_waits_for_one_timeout_too(
    redis: RedisServer, shared: tuple[SharedState, SharedCache]
) -> None:
    """Such as the second call of a request: what it asks next, and for whom, is decided here at once."""
    state, _ = shared
    redis.pause()
    makers = state.makers(Makers())
    assert await makers.found("resp_1", client=None) is None
    assert isinstance(state.limits.try_reserve("a", LIMITS, {"requests": 1}), Standing)
    assert isinstance(state.limits.try_reserve("b", buckets("9 requests/day", of="x"), {"requests": 1}), Standing)
    redis.go_on()
