"""Kept answers in Redis: as they were put, with their age, for as long as was said, and bounded."""

from __future__ import annotations

import asyncio
import math
import struct

import pytest

from gateway.engine.cache.memory import ENTRY_BYTES, MemoryAnswers
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
    assert await store.get(KEY, fresh_s=50) is None
    here.put(KEY, Entry(3, b'{"a": "\xff"}'), keep_s=50)
    assert await here.get(KEY, fresh_s=50) is not None

    await redis.ask("PING")
    kept = await there.get(KEY, fresh_s=50)
    assert kept is not None
    assert kept.entry == Entry(3, b'{"a": "\xff"}')
    assert 0 <= kept.age_s < 5
    await redis.ask("PEXPIRE", f"gateway:kept:{KEY.hex()}", 20_000)
    aged = await there.get(KEY, fresh_s=50)
    assert aged is not None
    assert aged.age_s == pytest.approx(30, abs=2)
    assert await there.get(bytes(32), fresh_s=50) is None


async def test_redis_gets_no_large_answers_and_no_more_than_was_said(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    store = cache(made.link, max_bytes=4 * MIB)
    store.put(KEY, Entry(0, b"x" * (MAX_SHARED_BYTES + 1)), keep_s=50)
    for number in range(40):
        store.put(bytes([number] * 32), Entry(0, b"x" * 200_000), keep_s=50)
        await made.link.ask(("PING",))
    names = set(await redis.ask("KEYS", "gateway:kept:*"))
    assert names == {f"gateway:kept:{bytes([number] * 32).hex()}" for number in range(20, 40)}


async def test_a_younger_answer_in_redis_is_better_than_an_old_one_here(replica: Replica) -> None:
    here, there = [cache((await replica()).link) for _ in range(2)]
    there.put(KEY, Entry(0, b"old"), keep_s=50)
    await asyncio.sleep(0.1)
    here.put(KEY, Entry(0, b"new"), keep_s=50)
    await here.get(bytes(32), fresh_s=50)
    for fresh_s, content in ((50, b"old"), (0.01, b"new")):
        kept = await there.get(KEY, fresh_s=fresh_s)
        assert kept is not None
        assert kept.entry.content == content


async def test_equal_questions_at_once_are_one(redis: RedisServer, replica: Replica) -> None:
    here, there = [cache((await replica()).link) for _ in range(2)]
    here.put(KEY, Entry(0, b"x" * 200_000), keep_s=50)
    await here.get(bytes(32), fresh_s=50)
    await redis.ask("CONFIG", "RESETSTAT")
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(there.get(KEY, fresh_s=50)) for _ in range(300)]
        await asyncio.sleep(0)
        asking[0].cancel()
    assert all(task.result() is not None for task in asking[1:])
    assert (await redis.ask("INFO", "commandstats"))["cmdstat_getrange"]["calls"] == 1


def value(keep_s: float, content: bytes) -> bytes:
    return struct.pack("<Id", 0, keep_s) + content


@pytest.mark.parametrize(
    "found",
    [
        b"short", value(50, b""), value(math.inf, b"{}"), value(math.nan, b"{}"), value(-1e300, b"{}"),
        value(50, b"x" * (MAX_SHARED_BYTES + 1)), value(50, b"x" * 20_000_000),
    ],
)  # fmt: skip
async def test_what_no_gateway_has_put_there_is_no_answer(redis: RedisServer, replica: Replica, found: bytes) -> None:
    made = await replica()
    await redis.ask("SET", f"gateway:kept:{KEY.hex()}", found, "PX", 40_000)
    assert await cache(made.link).get(KEY, fresh_s=50) is None
    await redis.ask("DEL", f"gateway:kept:{KEY.hex()}")
    await redis.ask("HSET", f"gateway:kept:{KEY.hex()}", "a", "b")
    assert await cache(made.link).get(KEY, fresh_s=50) is None
    assert made.link.is_up


async def test_redis_gets_what_it_can_take_at_once(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    store = cache(made.link)
    for number in range(100):
        store.put(bytes([number] * 32), Entry(0, b"x" * 200_000), keep_s=50)
    await store.get(KEY, fresh_s=50)
    assert made.link.is_up
    assert len(await redis.ask("KEYS", "gateway:kept:*")) == 4 * MIB // 200_000
    assert await store.get(bytes([99] * 32), fresh_s=50) is not None


async def test_small_answers_are_counted_with_what_they_take_beside_their_content(
    redis: RedisServer, replica: Replica
) -> None:
    made = await replica()
    store = cache(made.link, max_bytes=100_000)
    for number in range(200):
        store.put(bytes([number] * 32), Entry(0, b"x" * 10), keep_s=50)
    await store.get(KEY, fresh_s=50)
    assert len(await redis.ask("KEYS", "gateway:kept:*")) == 100_000 // (ENTRY_BYTES + 10)


async def test_without_redis_there_is_what_is_here(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    store, other = cache(made.link), cache(made.link)
    store.put(KEY, Entry(0, b"hello"), keep_s=50)
    await redis.kill()
    await until(lambda: not made.link.is_up)
    assert await other.get(KEY, fresh_s=50) is None
    assert await store.get(KEY, fresh_s=50) is not None
    other.put(KEY, Entry(0, b"hello"), keep_s=50)
    assert await other.get(KEY, fresh_s=50) is not None
