"""Kept answers in Redis: as they were put, with their age, for as long as was said, and bounded."""

from __future__ import annotations

import asyncio
import math
import struct

import pytest

from gateway.engine.cache.memory import MemoryAnswers
from gateway.engine.cache.store import CacheStore, Entry
from gateway.state.cache import MAX_SHARED_BYTES, SHARED_ENTRY_BYTES, SharedCache
from gateway.state.link import Link
from tests.redis_server import RedisServer, SlowProxy, linked, until
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
    await redis.ask("PEXPIRE", f"gateway:{{kept}}:{KEY.hex()}", 20_000)
    aged = await there.get(KEY, fresh_s=50)
    assert aged is not None
    assert aged.age_s == pytest.approx(30, abs=2)
    assert await there.get(bytes(32), fresh_s=50) is None


async def test_redis_gets_no_large_answers_and_no_more_than_was_said_from_all(
    redis: RedisServer, replica: Replica
) -> None:
    links = [(await replica()).link for _ in range(2)]
    stores = [cache(link, max_bytes=4 * MIB) for link in links]
    stores[0].put(KEY, Entry(0, b"x" * (MAX_SHARED_BYTES + 1)), keep_s=50)
    for number in range(40):
        # The sooner they end, the sooner they go.
        stores[number % 2].put(bytes([number] * 32), Entry(0, b"x" * 200_000), keep_s=500 + number % 20)
        await links[number % 2].ask(("PING",))
    names = set(await redis.ask("KEYS", "gateway:{kept}:????????*"))
    left = [number for number in range(40) if number % 20 >= 10]
    assert names == {f"gateway:{{kept}}:{bytes([number] * 32).hex()}" for number in left}
    assert await redis.ask("HGET", "gateway:{kept}:bytes", "all") == str(20 * (200_000 + SHARED_ENTRY_BYTES))


async def test_what_is_put_again_or_has_ended_counts_once(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    store = cache(made.link)
    for number in range(8):
        store.put(bytes([number % 4] * 32), Entry(0, b"x" * 1000), keep_s=0.05 if number % 4 else 50)
    await asyncio.sleep(0.2)
    store.put(KEY, Entry(0, b"x" * 1000), keep_s=50)
    await made.link.ask(("PING",))
    assert await redis.ask("HGET", "gateway:{kept}:bytes", "all") == str(2 * (1000 + SHARED_ENTRY_BYTES))
    assert await redis.ask("ZCARD", "gateway:{kept}") == 2
    assert all([0 < await redis.ask("TTL", key) <= 110 for key in await redis.ask("KEYS", "gateway:{kept}*")])


async def test_an_entry_takes_no_more_of_redis_than_is_counted(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    store = cache(made.link)
    before = int((await redis.ask("INFO", "memory"))["used_memory"])
    for number in range(4000):
        store.put(number.to_bytes(32), Entry(0, b"x" * 40), keep_s=500)
        if number % 500 == 0:
            await made.link.ask(("PING",))
    await made.link.ask(("PING",))
    taken = int((await redis.ask("INFO", "memory"))["used_memory"]) - before
    assert 0.5 < taken / float(await redis.ask("HGET", "gateway:{kept}:bytes", "all")) <= 1


async def test_what_is_not_its_index_is_no_outage(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    store = cache(made.link)
    await redis.ask("HSET", "gateway:{kept}:bytes", "all", "many", KEY.hex(), "x")
    store.put(KEY, Entry(0, b"hello"), keep_s=50)
    await made.link.ask(("PING",))
    assert await redis.ask("HGET", "gateway:{kept}:bytes", "all") == str(5 + SHARED_ENTRY_BYTES)
    await redis.ask("SET", "gateway:{kept}", "x")
    store.put(KEY, Entry(0, b"hello"), keep_s=50)
    await made.link.ask(("PING",))
    assert made.link.is_up


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
    await redis.ask("SET", f"gateway:{{kept}}:{KEY.hex()}", found, "PX", 40_000)
    assert await cache(made.link).get(KEY, fresh_s=50) is None
    await redis.ask("DEL", f"gateway:{{kept}}:{KEY.hex()}")
    await redis.ask("HSET", f"gateway:{{kept}}:{KEY.hex()}", "a", "b")
    assert await cache(made.link).get(KEY, fresh_s=50) is None
    assert made.link.is_up


async def test_many_large_answers_over_a_slow_way_are_misses_and_no_outage(
    redis: RedisServer, replica: Replica
) -> None:
    here = await replica()
    store = cache(here.link)
    for number in range(20):
        store.put(bytes([number] * 32), Entry(0, b"x" * 200_000), keep_s=50)
        await here.link.ask(("PING",))
    async with SlowProxy(redis.port).listening() as proxy:
        link = Link(proxy.address, prefix="gateway", timeout_s=0.2, is_patient=True)
        async with linked(link):
            await until(lambda: link.is_up)
            proxy.delay_s = 0.02  # for each piece of 64 KiB, so that all take more than a second
            there = cache(link)
            found = await asyncio.gather(*[there.get(bytes([number] * 32), fresh_s=50) for number in range(20)])
            assert 0 < len([kept for kept in found if kept is not None]) < 20
            assert link.is_up
            await link.ask(("PING",))
            proxy.delay_s = 0.0
            redis.pause()
            assert await there.get(bytes(32), fresh_s=50) is None
            await until(lambda: not link.is_up)
            redis.go_on()


async def test_a_slow_way_for_kept_answers_or_its_end_is_no_outage_of_another_link(
    redis: RedisServer, replica: Replica
) -> None:
    """The other link is asked whether Redis answers there, and goes by that alone."""
    other = await replica(timeout_s=0.2)
    looked = []

    def look() -> None:
        looked.append(other.link.is_up)
        other.link.check()

    async with SlowProxy(redis.port).listening() as proxy:
        link = Link(proxy.address, prefix="gateway", timeout_s=0.2, is_patient=True)
        async with linked(link):
            await until(lambda: link.is_up)
            store = SharedCache(link, MemoryAnswers(MIB), max_bytes=MIB, on_late=look)
            assert await store.get(KEY, fresh_s=50) is None
            assert looked == [], "it came in time"
            proxy.delay_s = 2.0
            found = await asyncio.gather(*[store.get(bytes([number] * 32), fresh_s=50) for number in range(20)])
            assert (found, looked) == ([None] * 20, [True] * 20)
            await until(lambda: not link.is_up)
            assert await store.get(KEY, fresh_s=50) is None
    assert (other.link.is_up, other.errors, len(looked)) == (True, [], 20)


async def test_redis_gets_what_it_can_take_at_once(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    store = cache(made.link)
    for number in range(100):
        store.put(bytes([number] * 32), Entry(0, b"x" * 200_000), keep_s=50)
    await store.get(KEY, fresh_s=50)
    await made.link.ask(("PING",))
    assert made.link.is_up
    assert len(await redis.ask("KEYS", "gateway:{kept}:????????*")) == 4 * MIB // 200_000
    assert await store.get(bytes([99] * 32), fresh_s=50) is not None


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
