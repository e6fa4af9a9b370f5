"""The store in Redis: what memory would answer, once for an id, and right again after everything that can go wrong."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.engine.limits import windows
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.store import Bucket, Costs, Full, Refused, Standing
from gateway.errors import StateUnavailable
from gateway.state.limits import FRESH_S, SharedStore
from gateway.state.link import Link, Refusal, Script
from gateway.state.owners import Owner
from tests.limiting import Clock, buckets
from tests.redis_server import RedisServer, linked, redis_server, until
from tests.unit.state.conftest import Replica, agreeing_server

ONE: Costs = {"requests": 1, "tokens": 100, "spend": 0.5, "concurrent": 1}
FOUR = ("60 requests/minute", "5000 tokens/hour", "2000 tokens/day", "5 concurrent")


async def used(server: RedisServer, of: str = "client/ann") -> dict[str, float]:
    """Return what the buckets of an owner hold, as Redis has them; those of minutes and hours as last written."""
    fields = await server.ask("HGETALL", f"gateway:{{{of}}}")
    found = {name: float(text.split()[0]) for name, text in fields.items() if "/" in name and ":" not in name}
    leases = await server.ask("ZCARD", f"gateway:{{{of}}}:leases")
    return found | ({"concurrent": leases} if leases else {})


async def test_it_takes_from_all_buckets_or_from_none(redis: RedisServer, replica: Replica) -> None:
    store = (await replica()).store
    three = buckets("60 requests/minute", "150 tokens/day", "2 concurrent")
    granted = await store.reserve("a", three, ONE)
    assert isinstance(granted, Standing)
    assert (granted.limit.text, granted.left) == ("150 tokens/day", 50)
    before = await used(redis)
    assert before == {"requests/minute": 1, "tokens/day": 100, "concurrent": 1}
    refused = await store.reserve("b", three, ONE)
    assert isinstance(refused, Refused)
    assert [full.limit.text for full in refused.full] == ["150 tokens/day"]
    assert refused.tightest.limit.text == "150 tokens/day"
    assert await used(redis) == before


async def test_to_reserve_or_settle_twice_does_nothing(redis: RedisServer, replica: Replica) -> None:
    store = (await replica()).store
    for _ in range(2):
        assert isinstance(await store.reserve("a", buckets(*FOUR), ONE), Standing)
        assert (await used(redis))["tokens/day"] == 100
    for _ in range(2):
        store.settle("a", {"tokens": 30})
        await store.close()
        assert (await used(redis))["tokens/day"] == 30
    assert isinstance(await store.reserve("b", buckets(*FOUR), ONE), Standing)
    store.release("b")
    await store.close()
    left = await used(redis)
    assert left["tokens/day"] == 30
    assert 0 < left["requests/minute"] <= 1, "it drains meanwhile"
    assert 0 < left["tokens/hour"] <= 30


async def test_every_key_expires_and_all_of_an_owner_are_in_one_slot(
    redis: RedisServer, replica: Replica, tmp_path: Path
) -> None:
    store = (await replica()).store
    for name in ("ann", "bob"):
        for reservation in (f"{name}-1", f"{name}-2"):
            await store.reserve(reservation, buckets(*FOUR, "9 spend/month", of=name), ONE)
        store.settle(f"{name}-1", {"tokens": 150})
    store.renew()
    await store.close()
    keys = await redis.ask("KEYS", "*")
    assert len(keys) == 2 * 3 + 1, "hash, leases and one reservation each, and the probe"
    assert [key for key in keys if not 0 < await redis.ask("TTL", key) <= 32 * 86400] == []
    async with redis_server(tmp_path, in_cluster=True) as node:
        for name in ("ann", "bob"):
            slots = {await node.ask("CLUSTER", "KEYSLOT", key) for key in keys if name in key}
            assert len(slots) == 1


async def test_redis_gets_scripts_again_that_it_has_lost(redis: RedisServer, replica: Replica) -> None:
    store = (await replica()).store
    await redis.ask("SCRIPT", "FLUSH")
    answers = await asyncio.gather(*[store.reserve(str(number), buckets(*FOUR), ONE) for number in range(9)])
    assert [isinstance(answer, Standing) for answer in answers] == [True] * 5 + [False] * 4
    await redis.ask("SCRIPT", "FLUSH")
    for number in range(5):
        store.settle(str(number), {"tokens": 10})
    await store.close()
    await until_settled(redis, {"tokens/day": 50})


async def until_settled(redis: RedisServer, expected: dict[str, float]) -> None:
    async with asyncio.timeout(5):
        while expected.items() - (await used(redis)).items():  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)


async def test_a_place_among_those_at_once_is_free_for_the_next_at_once(replica: Replica) -> None:
    store = (await replica()).store
    for number in range(50):
        assert isinstance(await store.reserve(str(number), buckets("1 concurrent"), ONE), Standing)
        assert isinstance(await store.reserve(f"{number}-more", buckets("1 concurrent"), ONE), Refused)
        store.settle(str(number), {})


async def test_two_replicas_never_let_more_in_than_fits(redis: RedisServer, replica: Replica) -> None:
    stores = [(await replica()).store for _ in range(2)]
    one = buckets("10000 tokens/day")
    asked = [store.reserve(f"{at}-{number}", one, ONE) for number in range(100) for at, store in enumerate(stores)]
    answers = await asyncio.gather(*asked)
    assert sum(isinstance(answer, Standing) for answer in answers) == 100
    assert await used(redis) == {"tokens/day": 10000}


async def test_nobody_waits_longer_than_the_timeout_for_a_redis_that_is_paused(
    redis: RedisServer, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests go on by this process' own buckets, which are added once; what Redis may have got counts for nothing."""
    made = await replica(timeout_s=0.05)
    store = made.store
    limits = buckets("1000 requests/minute", "2000 tokens/day", "40 concurrent")
    await store.reserve("before", limits, ONE)
    redis.pause()
    async with asyncio.timeout(5):  # on a busy machine; alone it is the link's 50 ms
        answers = await asyncio.gather(*[store.reserve(f"a{number}", limits, ONE) for number in range(15)])
    assert all(isinstance(answer, Standing) for answer in answers)
    for number in range(15):  # once it is known nobody waits
        assert isinstance(store.try_reserve(f"b{number}", limits, ONE), Standing if number < 5 else Refused)
    for number in range(10):
        store.settle(f"a{number}", {"tokens": 50})
    store.settle("before", {"tokens": 70})
    redis.go_on()
    await until(lambda: made.link.is_up)
    await until_settled(redis, {"tokens/day": 10 * 50 + 10 * 100 + 70, "concurrent": 10})
    for number in range(5):
        store.settle(f"a{10 + number}", {"tokens": 20})
        store.settle(f"b{number}", {"tokens": 20})
    await store.close()
    await until_settled(redis, {"tokens/day": 10 * 50 + 10 * 20 + 70})
    assert made.errors == ["timeout"] * 15
    assert await redis.ask("ZCARD", "gateway:{client/ann}:leases") == 0
    told = [record.message for record in caplog.records if record.name.startswith("gateway.state")]
    assert told == ["the state in Redis is out of reach", "the state in Redis is back"]


async def test_what_an_outage_adds_is_no_more_than_was_let_in_and_leaves_no_keys_for_long(
    redis: RedisServer, replica: Replica
) -> None:
    made = await replica()
    limits = buckets("100 tokens/minute", "1000 tokens/day")
    large: Costs = {"tokens": 300}
    await redis.kill()
    await until(lambda: not made.link.is_up)
    assert isinstance(made.store.try_reserve("a", limits, large), Standing), "never more than a bucket's whole amount"
    assert isinstance(made.store.try_reserve("c", buckets("5 tokens/day", of="bob"), {"tokens": 5}), Standing)
    made.store.settle("c", {"tokens": 5})
    await redis.start()
    await until(lambda: made.link.is_up)
    await until_settled(redis, {"tokens/minute": 100, "tokens/day": 300})
    (sums,) = [key for key in await redis.ask("KEYS", "*") if key.endswith(".outage")]
    assert await redis.ask("TTL", sums) <= 600


async def test_counts_begin_anew_in_a_redis_that_lost_them(redis: RedisServer, replica: Replica) -> None:
    """What it lost stays lost; the reservations of before settle nothing, and their leases are renewed."""
    made = await replica()
    store = made.store
    limits = buckets("2000 tokens/day", "5 concurrent")
    await store.reserve("lost", limits, ONE)
    await redis.kill()
    await until(lambda: not made.link.is_up)
    assert isinstance(store.try_reserve("local", limits, ONE), Standing)
    await redis.start()
    await until(lambda: made.link.is_up)
    await until_settled(redis, {"tokens/day": 100, "concurrent": 1})
    store.renew()
    await until_settled(redis, {"concurrent": 2})
    store.settle("lost", {"tokens": 500})
    store.settle("local", {"tokens": 40})
    await store.close()
    await until_settled(redis, {"tokens/day": 40})
    assert await redis.ask("ZCARD", "gateway:{client/ann}:leases") == 0


@pytest.mark.parametrize("on_error", ["allow", "deny"])
async def test_without_redis_all_are_let_in_or_none_as_declared(
    redis: RedisServer, replica: Replica, on_error: str
) -> None:
    made = await replica(on_error=on_error)
    await redis.kill()
    await until(lambda: not made.link.is_up)
    for number in range(9):
        if on_error == "deny":
            with pytest.raises(StateUnavailable):
                made.store.try_reserve(str(number), buckets("5 concurrent"), ONE)
        else:
            assert isinstance(made.store.try_reserve(str(number), buckets("5 concurrent"), ONE), Standing)
    await redis.start()
    await until(lambda: made.link.is_up)
    assert await used(redis) == {}


async def test_a_request_that_is_cancelled_takes_nothing(redis: RedisServer, replica: Replica) -> None:
    store = (await replica()).store
    asking = asyncio.get_running_loop().create_task(store.reserve("gone", buckets(*FOUR), ONE))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    store.release("gone")  # as the admission does
    await store.close()
    assert (await used(redis)).get("tokens/day", 0) == 0
    assert isinstance(await store.reserve("next", buckets(*FOUR), ONE), Standing)


async def test_a_key_of_another_type_is_told_and_decided_without(
    redis: RedisServer, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    made = await replica()
    await redis.ask("SET", "gateway:{client/ann}", "not ours")
    assert isinstance(await made.store.reserve("a", buckets(*FOUR), ONE), Standing)
    assert isinstance(await made.store.reserve("b", buckets(*FOUR, of="bob"), ONE), Standing)
    assert made.errors == ["refused"]
    assert made.link.is_up
    assert "WRONGTYPE" in str(
        next(record.__dict__["reason"] for record in caplog.records if record.levelno >= logging.ERROR)
    )


def doubles(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "text",
    [
        b"", b"garbage", b"nan nan nan", b"-1 0 1", b"1e999 1 1", b"1 1 1e300", b"5 1 0", b"nan nan", b"1 2 3 4",
        b"\xff" * 32, doubles(NAN, NAN), doubles(INF, -INF, -1, NAN), bytes(100_000),
    ],
)  # fmt: skip
async def test_values_of_another_program_count_as_absent(redis: RedisServer, replica: Replica, text: bytes) -> None:
    made = await replica()
    store = made.store
    names = "requests/minute", "lows:requests/minute", "tokens/hour", "lows:tokens/hour", "tokens/day", "rest"
    values = [each for name in names for each in (name, text)]
    records = text, doubles(*[NAN] * 6), doubles(1, 100, 100, 1, INF, NAN), doubles(-1, -1, -1, -1, 1, 0)
    for number, record in enumerate(records):
        await redis.ask("HSET", "gateway:{client/ann}", *values)
        assert isinstance(await store.reserve(f"a{number}", buckets(*FOUR), ONE), Standing)
        await redis.ask("HSET", "gateway:{client/ann}", *values)
        await redis.ask("SET", f"gateway:{{client/ann}}:r:a{number}", record)
        store.settle(f"a{number}", {"tokens": 10})
        await store.close()
    assert isinstance(await store.reserve("b", buckets(*FOUR), ONE), Standing)
    assert made.link.is_up
    assert made.errors == []


async def test_what_a_version_before_has_written_counts_during_a_rolling_restart(
    redis: RedisServer, replica: Replica
) -> None:
    """It kept serials and how low a bucket was elsewhere; so each gives back by what came to itself."""
    now_s = 1_796_053_954.5
    store = (await replica(clock=lambda: now_s)).store
    limits, cost = buckets("22 requests/day", "3600 tokens/hour"), {"requests": 1, "tokens": 100}
    hash_, lows = "gateway:{client/ann}", "gateway:{client/ann}:lows:tokens/hour"
    old = "1796053954511904"
    fields = ("requests/day", "20 1795996800", "tokens/hour", "41.5 1796053954.5 3600", "serial")
    await redis.ask("HSET", hash_, *fields, old)
    await redis.ask("ZADD", lows, 41.5, old)
    assert isinstance(await store.reserve("a", limits, cost), Standing)
    assert await used(redis) == {"requests/day": 21, "tokens/hour": 141.5}
    later = str(int(old) + 10**6)
    await redis.ask(
        "HSET", hash_, "requests/day", "22 1795996800", "tokens/hour", f"241.5 {now_s} 3600", "serial", later
    )
    await redis.ask("ZADD", lows, 141.5, later)
    assert isinstance(await store.reserve("b", limits, cost), Refused)
    store.settle("a", {"tokens": 40})
    await store.close()
    assert await used(redis) == {"requests/day": 22, "tokens/hour": 181.5}


async def test_what_a_script_fails_at_is_decided_without_and_takes_no_link_down(
    redis: RedisServer, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    made = await replica()
    await redis.ask("SET", "gateway:{client/ann}:leases", "not ours")
    for number in range(5):
        assert isinstance(await made.store.reserve(str(number), buckets(*FOUR), ONE), Standing)
    script = Script("common")
    for text in ("return 1 < nil", "return 'a' .. nil", "return nil + 1", "return redis.call('SET', nil, 1)"):
        with pytest.raises(Refusal):
            await made.link.ask(("EVAL", f"{script.text}\n{text}", 0))
    assert made.link.is_up
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_answers_of_another_form_are_an_outage() -> None:
    """As those of a proxy that has lost one: each goes to the next who asks."""
    async with agreeing_server() as address, linked(Link(address, prefix="gateway", timeout_s=0.5)) as link:
        store = SharedStore(link, on_error="local")
        await until(lambda: link.is_up)
        assert isinstance(await store.reserve("a", buckets(*FOUR), ONE), Standing)
        assert not link.is_up


async def test_a_clock_that_was_put_back_leaves_no_bucket_full(redis: RedisServer, replica: Replica) -> None:
    clock = Clock()
    store = (await replica(clock=clock.wall)).store
    of = buckets("2 requests/minute")
    clock.now_s += 1_000_000
    for number in range(2):
        assert isinstance(await store.reserve(str(number), of, ONE), Standing)
    clock.now_s -= 900_000
    assert isinstance(await store.reserve("back", of, ONE), Refused)
    clock.now_s += 31
    assert isinstance(await store.reserve("later", of, ONE), Standing)


async def test_places_of_requests_that_nobody_ended_are_free_after_a_minute(replica: Replica) -> None:
    clock = Clock()
    store = (await replica(clock=clock.wall)).store
    of = buckets("2 concurrent")
    for reservation, at_s in (("a", 0), ("b", 59.5)):
        clock.now_s = at_s
        assert isinstance(await store.reserve(reservation, of, ONE), Standing)
    clock.now_s = 59.9
    assert isinstance(await store.reserve("early", of, ONE), Refused)
    clock.now_s = 60.1
    assert isinstance(await store.reserve("c", of, ONE), Standing)
    assert isinstance(await store.reserve("d", of, ONE), Refused)


async def test_what_is_being_asked_for_gets_no_lease_by_a_renewal(redis: RedisServer, replica: Replica) -> None:
    store = (await replica()).store
    of = buckets("1 concurrent")
    await store.reserve("a", of, ONE)
    asking = asyncio.get_running_loop().create_task(store.reserve("b", of, ONE))
    await asyncio.sleep(0)
    store.renew()
    assert isinstance(await asking, Refused)
    store.settle("a", {})
    await store.close()
    assert await redis.ask("ZCARD", "gateway:{client/ann}:leases") == 0


async def test_keys_get_a_longer_life_when_they_need_it(redis: RedisServer, replica: Replica) -> None:
    """Most requests leave it as it is. The clock is the test's, that of expiry Redis' own."""
    clock = Clock()
    store = (await replica(clock=clock.wall)).store
    of = buckets("100 requests/minute", "1000 tokens/minute", "9 concurrent")
    keys = "gateway:{client/ann}", "gateway:{client/ann}:leases"
    lives = []
    for number, after_s in enumerate((0, 50, 400)):
        clock.now_s += after_s
        await store.reserve(str(number), of, ONE)
        lives.append([round(await redis.ask("TTL", key), -1) for key in keys])
        for key in keys:
            await redis.ask("EXPIRE", key, 100)
    assert lives == [[130, 240], [100, 100], [130, 240]]
    store.settle("2", {"tokens": 2000})
    await store.close()
    assert await redis.ask("TTL", keys[0]) > 170, "what was used needs longer than what was expected"


async def test_a_key_lives_for_as_long_as_what_is_used_takes_to_drain_by_a_lower_amount(
    redis: RedisServer, replica: Replica
) -> None:
    store = (await replica()).store
    await store.reserve("a", buckets("1000 requests/minute"), {"requests": 1000})
    assert isinstance(await store.reserve("b", buckets("10 requests/minute"), ONE), Refused)
    assert await redis.ask("TTL", "gateway:{client/ann}") > 5900


async def test_no_key_lives_for_ever_because_another_program_says_that_it_does(
    redis: RedisServer, replica: Replica
) -> None:
    store = (await replica()).store
    await redis.ask("HSET", "gateway:{client/ann}", "rest", doubles(1, INF, INF, 0))
    await store.reserve("a", buckets("5 concurrent"), ONE)
    for key in ("gateway:{client/ann}", "gateway:{client/ann}:leases"):
        assert await redis.ask("TTL", key) > 0


async def test_a_use_beyond_all_measure_leaves_a_bucket_full(replica: Replica) -> None:
    """It comes from the upstream."""
    store = (await replica()).store
    of = buckets("1000 tokens/hour", "1000 tokens/day")
    await store.reserve("a", of, ONE)
    store.settle("a", {"tokens": 1e300})
    await store.close()
    assert isinstance(answer := await store.reserve("b", of, ONE), Refused)
    assert len(answer.full) == 2


async def test_what_a_filling_bucket_remembers_is_bounded(redis: RedisServer, replica: Replica) -> None:
    clock = Clock()
    store = (await replica(clock=clock.wall, timeout_s=5)).store
    of = buckets("5000 tokens/hour")
    await asyncio.gather(*[store.reserve(str(number), of, {"tokens": 1}) for number in range(1300)])
    assert 700 < await redis.ask("HSTRLEN", "gateway:{client/ann}", "lows:tokens/hour") / 16 <= 1000
    for reservation, left in (("0", 1300), ("1299", 1299), ("700", 1298)):  # less goes back to the oldest
        store.release(reservation)
        await store.close()
        assert (await used(redis))["tokens/hour"] == left


async def test_thousands_of_places_are_free_at_once(replica: Replica) -> None:
    made = await replica(timeout_s=5)
    store = made.store
    of = buckets("9000 concurrent")
    await asyncio.gather(*[store.reserve(str(number), of, ONE) for number in range(9000)])
    for number in range(9000):
        store.settle(str(number), {})
    assert isinstance(await store.reserve("next", of, ONE), Standing)
    assert made.errors == []


async def test_what_is_seen_is_what_redis_last_told(replica: Replica) -> None:
    store = (await replica()).store
    await store.reserve("a", buckets(*FOUR), ONE)
    fills = {fill.key: fill for fill in store.look()}
    assert {key: (round(fill.used), fill.reservations) for key, fill in fills.items()} == {
        "client/ann requests/minute": (1, 1),
        "client/ann tokens/hour": (100, 1),
        "client/ann tokens/day": (100, 1),
        "client/ann concurrent": (1, 1),
    }
    day = fills["client/ann tokens/day"].free_in_s
    assert day is not None
    assert day == pytest.approx(86400 - time.time() % 86400, abs=5)


TEXTS = ["5 requests/minute", "300 tokens/minute", "2000 tokens/hour", "12 requests/day", "3 spend/day", "3 concurrent"]
Act = tuple[int, int, float, float]
"""Eighths of a second before, number of the reservation, tokens, and how the request ends: below 0 it is released."""
_acts = st.tuples(
    st.just(0) | st.integers(0, 300), st.integers(0, 7), st.integers(0, 400), st.integers(-3, 12).map(lambda n: n / 10)
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Played]:
    """One Redis for all sequences: each has a prefix of its own."""
    with asyncio.Runner() as runner:
        playing = _Played(runner)
        opened = playing.opened(tmp_path_factory.mktemp("redis"))
        runner.run(opened.__aenter__())
        yield playing
        runner.run(opened.__aexit__(None, None, None))


class _Played:
    """Sequences in both stores. The clock, which both have, moves in steps that a double holds exactly."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._count = 0

    @asynccontextmanager
    async def opened(self, folder: Path) -> AsyncIterator[None]:
        async with redis_server(folder) as server:
            self._link = Link(server.address, prefix="", timeout_s=5.0)
            SharedStore(self._link, on_error="deny")  # so that its scripts are there before the first is run
            async with linked(self._link):
                await until(lambda: self._link.is_up)
                yield

    def play(self, kept: Sequence[Bucket], acts: Sequence[Act]) -> None:
        self._runner.run(self._play(kept, acts))

    async def _play(self, kept: Sequence[Bucket], acts: Sequence[Act]) -> None:
        self._count += 1
        self._link.prefix = f"play-{self._count}"
        self._link.on_return.clear()
        clock = Clock()
        memory, shared = clock.store(), SharedStore(self._link, on_error="deny", clock=clock.wall)
        opened: dict[str, Costs] = {}
        together: dict[str, tuple[Costs, Standing | Refused]] = {}

        async def ask() -> None:
            """Ask for what nothing has come between, in one turn of the loop."""
            answers = await asyncio.gather(
                *[shared.reserve(each, kept, costs) for each, (costs, _) in together.items()]
            )
            for (_, here), there in zip(together.values(), answers, strict=True):
                _compare(here, there)
            together.clear()

        for eighths, number, tokens, end in acts:
            reservation = str(number)
            if eighths or reservation in opened or reservation in together:
                await ask()
            clock.now_s += eighths / 8
            shared.renew()
            if (costs := opened.pop(reservation, None)) is None:
                costs = {"requests": 1, "tokens": min(tokens, 300), "spend": tokens / 400, "concurrent": 1}
                here = memory.try_reserve(reservation, kept, costs)
                together[reservation] = costs, here
                if isinstance(here, Standing):
                    opened[reservation] = costs
                continue
            for store in (memory, shared):
                if end < 0:
                    store.release(reservation)
                else:
                    store.settle(reservation, {"tokens": costs["tokens"] * end, "spend": costs["spend"] * end})
            await shared.close()
        await ask()
        await self._look(kept, memory, clock)
        for at, bucket in enumerate(kept):
            free: Costs = {"requests": 0, "tokens": 0, "spend": 0, "concurrent": 1}
            _compare(memory.try_reserve(f"look{at}", [bucket], free), await shared.reserve(f"look{at}", [bucket], free))

    async def _look(self, kept: Sequence[Bucket], memory: MemoryStore, clock: Clock) -> None:
        """Compare what is seen, whoever asks for it."""
        owner, script = Owner(tuple(kept), self._link.prefix), Script("common", "buckets", "look")
        owner.read_look(await self._link.ask(owner.looking(script, clock.wall()), script), 0.0)
        here = {fill.key: fill for fill in memory.look()}
        for at, (key, _) in enumerate(kept):
            used, free_in_s = owner.present(at, 0.0)
            expected = here.get(key)
            assert used == pytest.approx(expected.used if expected else 0.0, abs=1e-3)
            if expected:
                assert free_in_s == pytest.approx(expected.free_in_s, abs=1e-3)


def _compare(here: Standing | Refused, there: Standing | Refused) -> None:
    assert type(here) is type(there)
    if isinstance(here, Refused) and isinstance(there, Refused):
        assert [full.limit for full in here.full] == [full.limit for full in there.full]
        assert [full.wait_s for full in there.full] == pytest.approx([full.wait_s for full in here.full], abs=1e-3)
        here, there = here.tightest, there.tightest
    assert isinstance(here, Standing)
    assert isinstance(there, Standing)
    assert there.limit == here.limit
    assert there[1:] == pytest.approx(here[1:], abs=1e-3)


@settings(max_examples=80, deadline=None)
@example(texts=TEXTS[:2], acts=[(0, 0, 1, 0), (0, 2, 1, 0), (1, 1, 1, 0), (0, 2, 0, 0), (0, 0, 0, 0)])
@example(
    texts=[TEXTS[1], TEXTS[5]],
    acts=[(0, 0, 125, 0), (43, 1, 1, 0), (158, 2, 0, 0), (78, 3, 0, 0), (0, 0, 0, 1.1), (0, 1, 0, 0)],
)
@given(texts=st.lists(st.sampled_from(TEXTS), min_size=1, unique=True), acts=st.lists(_acts, max_size=40))
def test_the_same_requests_get_the_same_answers_as_in_memory(
    played: _Played, texts: Sequence[str], acts: Sequence[Act]
) -> None:
    played.play(buckets(*texts), acts)


async def test_windows_are_those_of_the_calendar(redis: RedisServer) -> None:
    """Of every day on which a month or a year may begin or end, over four centuries."""
    about = [year * 31556952.0 + at * 2629746.0 for year in range(0, 400, 7) for at in range(13)]
    begins = [windows.window("month", now_s)[0] for now_s in about]
    text = (
        Script("common", "buckets").text
        + """
        local found = {}
        for at = 2, #ARGV do
          local begins, ends = window(tonumber(ARGV[1]), tonumber(ARGV[at]), nil)
          found[#found + 1] = begins .. ' ' .. ends
        end
        return found"""
    )
    for per in ("day", "month"):
        for off_s in (0.0, -1.0, 43210.5):
            moments = [begin_s + off_s for begin_s in begins if begin_s + off_s > 0]
            found = await redis.ask("EVAL", text, 0, {"day": -1, "month": -2}[per], *moments)
            expected = [windows.window(per, now_s) for now_s in moments]
            assert [tuple(map(float, each.split())) for each in found] == expected


@pytest.mark.parametrize(("on_error", "known"), [("local", True), ("allow", False), ("deny", False)])
async def test_what_is_in_the_way_is_known_here_only_while_this_process_decides(
    redis: RedisServer, replica: Replica, on_error: str, known: bool
) -> None:
    made = await replica(on_error=on_error)
    one = buckets("1 requests/day")
    assert made.store.full(one, ONE) is None, "nothing has been told"
    await redis.kill()
    await until(lambda: not made.link.is_up)
    assert made.store.full(one, ONE) == ()
    if on_error != "deny":
        assert isinstance(made.store.try_reserve("b", one, ONE), Standing)
    assert bool(made.store.full(one, ONE)) is known


async def test_what_redis_told_last_says_what_is_in_the_way(replica: Replica) -> None:
    store, other = (await replica()).store, (await replica()).store
    of = buckets("3 requests/minute", "250 tokens/day", "1 concurrent")
    assert isinstance(await other.reserve("a", of, ONE), Standing)
    assert store.full(of, ONE) is None, "Redis has told this one nothing"
    assert isinstance(await store.reserve("b", of, ONE), Refused)
    assert store.full(of, ONE) is None, "those at once come and go"
    more: Costs = {**ONE, "tokens": 200}
    midnight = pytest.approx(86400 - time.time() % 86400, abs=5)
    assert waits(store.full(of, more)) == {"250 tokens/day": midnight}
    assert waits(store.full(of, {**ONE, "requests": 3})) == {"3 requests/minute": pytest.approx(20, abs=1)}


async def test_what_own_requests_hold_of_a_budget_is_known_here(redis: RedisServer, replica: Replica) -> None:
    made, other = await replica(), (await replica()).store
    store, of = made.store, buckets("250 tokens/day", "250 tokens/hour")
    assert [store.would_fit(one, 200) for one in of] == [False, False]
    await other.reserve("a", of, {"tokens": 60})
    await store.reserve("b", of, {"tokens": 100})
    assert isinstance(await store.reserve("c", of, {"tokens": 200}), Refused)
    assert [store.would_fit(one, 190) for one in of] == [True, False]
    assert not store.would_fit(of[0], 191)
    store.settle("b", {"tokens": 100})
    assert not store.would_fit(of[0], 190)
    await redis.kill()
    await until(lambda: not made.link.is_up)
    store.try_reserve("d", of, {"tokens": 250})
    assert store.would_fit(of[0], 250)


async def test_where_a_request_has_given_something_back_redis_is_asked(replica: Replica) -> None:
    store = (await replica()).store
    of = buckets("2 requests/hour", "150 tokens/day")
    await store.reserve("a", of, ONE)
    assert waits(store.full(of, ONE)).keys() == {"150 tokens/day"}
    store.settle("a", {"tokens": 40})
    assert store.full(of, ONE) is None
    assert isinstance(await store.reserve("b", of, ONE), Refused), "Redis hears of it within FLUSH_S"
    assert store.full(of, ONE) is None, "so its answer is not for long"
    assert isinstance(await asyncio.wait_for(let_in(store, of), 5), Standing)
    assert "2 requests/hour" in waits(store.full(of, ONE)), "of requests nothing was given back"
    store.settle("c", {"tokens": 100})
    assert "2 requests/hour" in waits(store.full(of, ONE))


async def let_in(store: SharedStore, of: Sequence[Bucket]) -> Standing:
    """Ask again until there is room."""
    while not isinstance(standing := await store.reserve("c", of, ONE), Standing):  # noqa: ASYNC110 - Redis tells nobody
        await asyncio.sleep(0.01)
    return standing


def waits(full: Sequence[Full] | None) -> dict[str, float]:
    return {one.limit.text: one.wait_s for one in full or ()}


async def test_redis_is_asked_again_soon(replica: Replica) -> None:
    store, other = (await replica()).store, (await replica()).store
    one = buckets("1 requests/day")
    await other.reserve("a", one, ONE)
    assert isinstance(await store.reserve("b", one, ONE), Refused)
    other.release("a")
    assert store.full(one, ONE), "this process does not know"
    await until(lambda: store.full(one, ONE) is None, within_s=FRESH_S + 2)
    assert isinstance(await store.reserve("c", one, ONE), Standing)
