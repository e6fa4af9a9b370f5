"""Kept answers in Redis: as they were put, with their age, for as long as was said, and bounded."""

from __future__ import annotations

import pytest

from gateway.engine.cache.memory import MemoryAnswers
from gateway.engine.cache.store import CacheStore, Entry
from gateway.state.cache import MAX_SHARED_BYTES, SharedCache
from gateway.state.link import Link
from tests.redis_server import RedisServer, until
from tests.unit.state.conftest import Replica

KEY = bytes(range(32))
MIB = 1024 * 1024


def cache(link: Link, *, max_bytes: int = 64 * MIB) -> SharedCache:
    return SharedCache(link, MemoryAnswers(max_bytes), max_bytes=max_bytes)


async def test_what_one_replica_puts_the_other_gets(redis: RedisServer, replica: Replica) -> None:
    here, there = [cache((await replica()).link) for _ in range(2)]
    store: CacheStore = here
    assert await store.get(KEY) is None
    here.put(KEY, Entry(3, b'{"a": "\xff"}'), keep_s=50)
    assert await here.get(KEY) is not None

    await redis.ask("PING")
    kept = await there.get(KEY)
    assert kept is not None
    assert kept.entry == Entry(3, b'{"a": "\xff"}')
    assert 0 <= kept.age_s < 5
    await redis.ask("PEXPIRE", f"gateway:kept:{KEY.hex()}", 20_000)
    aged = await there.get(KEY)
    assert aged is not None
    assert aged.age_s == pytest.approx(30, abs=2)
    assert await there.get(bytes(32)) is None


async def test_redis_gets_no_large_answers_and_no_more_than_was_said(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    store = cache(made.link, max_bytes=4 * MIB)
    store.put(KEY, Entry(0, b"x" * (MAX_SHARED_BYTES + 1)), keep_s=50)
    for number in range(40):
        store.put(bytes([number] * 32), Entry(0, b"x" * 200_000), keep_s=50)
        await made.link.ask(("PING",))
    names = set(await redis.ask("KEYS", "gateway:kept:*"))
    assert names == {f"gateway:kept:{bytes([number] * 32).hex()}" for number in range(20, 40)}


async def test_without_redis_there_is_what_is_here(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    store, other = cache(made.link), cache(made.link)
    store.put(KEY, Entry(0, b"hello"), keep_s=50)
    await redis.kill()
    await until(lambda: not made.link.is_up)
    assert await other.get(KEY) is None
    assert await store.get(KEY) is not None
    other.put(KEY, Entry(0, b"hello"), keep_s=50)
    assert await other.get(KEY) is not None
