"""What an owner's commands and answers are made of, and reservations that go together."""

from __future__ import annotations

import asyncio
import struct

import pytest

from gateway.engine.limits.store import Costs, Full, Refused, Standing
from gateway.state import limits
from gateway.state.limits import SharedStore
from gateway.state.link import Link
from gateway.state.owners import MAX_TOGETHER, Owner
from tests.limiting import buckets
from tests.redis_server import RedisServer, until
from tests.unit.state.conftest import Replica

ONE: Costs = {"requests": 1, "tokens": 100, "concurrent": 1}
TWO = tuple(buckets("60 requests/minute", "2000 tokens/day"))


def doubles(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


def test_an_answer_of_requests_at_once_tells_no_moment() -> None:
    of = tuple(buckets("4 concurrent", "60 requests/minute"))
    owner = Owner(of, "gateway")
    assert owner.read(doubles(0, 0) + b"\1" + doubles(3, 6), 1, asked_s=5.0) == [Standing(of[0].limit, 1, None)]
    assert owner.present(0, 15.0) == (3, None)


def test_an_answer_tells_of_each_reservation() -> None:
    owner = Owner(TWO, "gateway")
    answer = doubles(0, 3600) + b"\1" + doubles(30, 100) + b"\0" + doubles(30, 1999) + doubles(0, 3600)
    (minute, day) = [limit for _, limit in TWO]
    assert owner.read(answer, 2, asked_s=5.0) == [
        Standing(minute, 30, 30),
        Refused((Full(day, 3600),), Standing(day, 1, 3600)),
    ]
    assert [owner.present(at, 15.0) for at in (0, 1)] == [(20, 20), (1999, 3590)]


@pytest.mark.parametrize(
    "answer",
    [
        None, 1, b"", b"OK", doubles(0, 3600), doubles(0, 3600) + b"\1" + doubles(30), b"\1" + bytes(32),
        doubles(0, 3600) + b"\1" + doubles(30, 100, 0), doubles(0, 3600) + b"\0" + doubles(30, 100),
        doubles(0, 3600) + b"\0" + doubles(30, 100, 0, 0),
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_none(answer: bytes) -> None:
    with pytest.raises((struct.error, TypeError, IndexError, ValueError)):
        Owner(TWO, "gateway").read(answer, 1, asked_s=0.0)


async def scripts_run(redis: RedisServer) -> int:
    return int((await redis.ask("INFO", "commandstats"))["cmdstat_evalsha"]["calls"])


async def test_what_is_asked_in_one_turn_of_the_loop_is_one_script_for_each_owner(
    redis: RedisServer, replica: Replica
) -> None:
    store = (await replica()).store
    of = [buckets("5 concurrent", "2000 tokens/day", of=name) for name in ("ann", "bob")]
    await store.reserve("first", of[0], ONE)
    before = await scripts_run(redis)
    asked = [store.reserve(f"{at}-{number}", one, ONE) for number in range(6) for at, one in enumerate(of)]
    answers = await asyncio.gather(*asked)
    assert await scripts_run(redis) == before + 2
    assert [isinstance(one, Standing) for one in answers[::2]] == [True] * 4 + [False] * 2
    assert [isinstance(one, Standing) for one in answers[1::2]] == [True] * 5 + [False]
    await asyncio.gather(*[store.reserve(f"more-{number}", of[0], ONE) for number in range(MAX_TOGETHER + 1)])
    assert await scripts_run(redis) == before + 4, "Redis does nothing else meanwhile, so it is a hundred at most"


async def test_the_same_id_twice_in_one_script_takes_once(redis: RedisServer, replica: Replica) -> None:
    first, second = (await replica()).store, (await replica()).store
    of = buckets("150 tokens/day")
    answers = await asyncio.gather(*[store.reserve("same", of, ONE) for store in (first, first, second)])
    assert [isinstance(one, Standing) and one.left for one in answers] == [50, 50, 50]


async def test_one_that_is_cancelled_takes_nothing_from_those_beside_it(replica: Replica) -> None:
    store = (await replica()).store
    of = buckets("3 concurrent", "1000 tokens/day")
    tasks = [asyncio.get_running_loop().create_task(store.reserve(str(number), of, ONE)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in answers] == [Standing, asyncio.CancelledError, Standing]
    store.release("1")  # as the admission does
    await store.close()
    assert isinstance(standing := await store.reserve("3", of, ONE), Standing)
    assert standing.left == 0
    assert isinstance(await store.reserve("4", of, ONE), Refused)


async def test_what_waits_when_the_link_ends_is_decided_without(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    asking = asyncio.gather(*[made.store.reserve(str(number), TWO, ONE) for number in range(3)])
    await asyncio.sleep(0)
    link: Link = made.link
    link.distrust()
    answers = await asyncio.gather(asking, made.store.reserve("later", TWO, ONE))
    assert [type(one) for one in (*answers[0], answers[1])] == [Standing] * 4
    store: SharedStore = made.store
    assert {fill.reservations for fill in store.look()} == {4}
    assert made.errors == ["connection"] * 3


async def test_what_was_let_in_during_an_outage_goes_to_redis_together(redis: RedisServer, replica: Replica) -> None:
    made = await replica()
    of = buckets("900 concurrent", "90000 tokens/day")
    await redis.kill()
    await until(lambda: not made.link.is_up)
    for number in range(2 * MAX_TOGETHER + 1):
        assert isinstance(made.store.try_reserve(str(number), of, ONE), Standing)
    await redis.start()
    await until(lambda: made.link.is_up)
    standing = await made.store.reserve("next", of, {**ONE, "tokens": 0})
    assert await scripts_run(redis) == 3 + 1
    assert isinstance(standing, Standing)
    assert standing.left == 900 - 2 * MAX_TOGETHER - 2


async def test_leases_are_renewed_many_at_a_time(
    redis: RedisServer, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RENEWED_TOGETHER", 20)
    store = (await replica()).store
    of, leases = buckets("900 concurrent"), "gateway:{client/ann}:leases"
    await asyncio.gather(*[store.reserve(str(number), of, ONE) for number in range(50)])
    await redis.ask("DEL", leases)
    before = await scripts_run(redis)
    store.renew()
    async with asyncio.timeout(5):
        while await redis.ask("ZCARD", leases) < 50:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)
    assert await scripts_run(redis) == before + 3
