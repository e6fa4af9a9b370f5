"""Kept answers in Redis: as they were put, with their age, for as long as was said, and nothing without Redis."""

from __future__ import annotations

import asyncio

import pytest

from gateway.engine.cache.store import CacheStore, Entry
from gateway.state.cache import MAX_SHARED_BYTES, SharedCache
from tests.redis_server import RedisServer, until
from tests.unit.state.conftest import Replica

KEY = bytes(range(32))


async def test_what_one_replica_puts_the_other_gets(redis: RedisServer, replica: Replica) -> None:
    here, there = [SharedCache((await replica()).link) for _ in range(2)]
    store: CacheStore = here
    assert await store.get(KEY) is None
    here.put(KEY, Entry(3, b'{"a": "\xff"}'), keep_s=50)
    assert await here.get(KEY) is not None
    kept = await there.get(KEY)
    assert kept is not None
    assert kept.entry == Entry(3, b'{"a": "\xff"}')
    assert 0 <= kept.age_s < 5
    await redis.ask("PEXPIRE", f"gateway:kept:{KEY.hex()}", 20_000)
    aged = await there.get(KEY)
    assert aged is not None
    assert aged.age_s == pytest.approx(30, abs=2)
    assert await there.get(bytes(32)) is None


async def test_an_answer_is_forgotten_by_itself(replica: Replica) -> None:
    cache = SharedCache((await replica()).link)
    cache.put(KEY, Entry(0, b"short"), keep_s=0.05)
    async with asyncio.timeout(5):
        while await cache.get(KEY) is not None:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)


async def test_what_is_too_large_is_not_kept(redis: RedisServer, replica: Replica) -> None:
    cache = SharedCache((await replica()).link)
    cache.put(KEY, Entry(0, b"x" * MAX_SHARED_BYTES), keep_s=50)
    assert await cache.get(KEY) is not None
    cache.put(bytes(32), Entry(0, b"x" * (MAX_SHARED_BYTES + 1)), keep_s=50)
    assert await cache.get(bytes(32)) is None
    assert await redis.ask("EXISTS", f"gateway:kept:{bytes(32).hex()}") == 0


async def test_without_redis_there_is_nothing(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    cache = SharedCache(made.link)
    cache.put(KEY, Entry(0, b"hello"), keep_s=50)
    await redis.kill()
    await until(lambda: not made.link.is_up)
    assert await cache.get(KEY) is None
    cache.put(KEY, Entry(0, b"hello"), keep_s=50)
