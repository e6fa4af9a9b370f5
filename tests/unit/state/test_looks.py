"""What is known of buckets while nobody reserves: soon as Redis has it, and asked for only while something is used."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Sequence

import pytest

from gateway.engine.limits.store import Bucket, Costs, Refused, Standing
from gateway.state.limits import SharedStore
from gateway.state.link import Link
from gateway.state.looks import AT_ONCE, TURN_S, due
from gateway.state.owners import LOOK_S, Owner
from tests.limiting import buckets
from tests.redis_server import RedisServer, linked, until
from tests.unit.state.conftest import Replica, agreeing_server

ONE: Costs = {"requests": 1, "tokens": 100, "concurrent": 1}
SOON_S = LOOK_S + TURN_S + 4
"""Longer than it takes: several test processes share the processors."""


def seen(store: SharedStore) -> dict[str, float]:
    """Return what is used of each bucket in use."""
    return {fill.key.removeprefix("client/"): round(fill.used, 1) for fill in store.look()}


async def test_what_is_given_back_after_a_burst_is_seen_soon(replica: Replica) -> None:
    """By this process and by others, whoever reserved last."""
    stores = [(await replica()).store for _ in range(3)]
    of = buckets("1000 tokens/day", "9 concurrent", "60 requests/minute")
    for number in range(9):
        assert isinstance(await stores[number % 3].reserve(str(number), of, ONE), Standing)
    assert isinstance(await stores[0].reserve("more", of, ONE), Refused)
    assert [seen(store)["ann concurrent"] for store in stores] == [9, 8, 9]
    for number in range(9):
        stores[number % 3].settle(str(number), {"tokens": 2})
    for store in stores:
        await until(lambda: seen(store).keys() == {"ann tokens/day", "ann requests/minute"}, within_s=SOON_S)  # noqa: B023 - called at once
        assert seen(store)["ann tokens/day"] == 18
        assert 0 < seen(store)["ann requests/minute"] < 9


async def test_what_others_take_and_give_back_meanwhile_is_seen(redis: RedisServer, replica: Replica) -> None:
    """Also by what says that a provider has no room; whatever Redis has forgotten of scripts."""
    store, other = (await replica()).store, (await replica()).store
    of = buckets("1000 tokens/day", "2 concurrent")
    await store.reserve("a", of, ONE)
    await other.reserve("b", of, {**ONE, "tokens": 900})
    await redis.ask("SCRIPT", "FLUSH")
    assert store.full(of, ONE) is None
    await until(lambda: store.full(of, ONE) is not None, within_s=SOON_S)
    assert seen(store) == {"ann tokens/day": 1000, "ann concurrent": 2}
    other.settle("b", {"tokens": 300})
    await until(lambda: seen(store) == {"ann tokens/day": 400, "ann concurrent": 1}, within_s=SOON_S)
    assert store.full(of, ONE) is None


async def test_redis_is_asked_about_many_owners_in_turn(replica: Replica) -> None:
    made = await replica(timeout_s=5)
    names = [f"c{number}" for number in range(2 * AT_ONCE + 1)]
    for name in names:
        assert isinstance(await made.store.reserve(name, buckets("2 concurrent", of=name), ONE), Standing)
    assert len(seen(made.store)) == len(names)
    for name in names:
        made.store.release(name)
    await until(lambda: not seen(made.store), within_s=SOON_S)


async def test_what_an_outage_has_let_in_is_seen_once_redis_has_it(redis: RedisServer, replica: Replica) -> None:
    """And what a Redis without its data has lost is not."""
    made = await replica()
    for name in ("ann", "bob"):
        await made.store.reserve(name, buckets("1000 tokens/day", of=name), ONE)
    await redis.kill()
    await until(lambda: not made.link.is_up)
    assert isinstance(made.store.try_reserve("c", buckets("1000 tokens/day", of="cat"), ONE), Standing)
    made.store.settle("c", {"tokens": 30})
    await redis.start()
    await until(lambda: seen(made.store) == {"cat tokens/day": 30}, within_s=SOON_S)


async def test_a_redis_that_does_not_answer_is_looked_at_again_once_it_does(
    redis: RedisServer, replica: Replica
) -> None:
    """Nobody waits for it, so it is no outage and no error until somebody does."""
    made, other = await replica(timeout_s=0.1), (await replica(timeout_s=5)).store
    of = buckets("1000 tokens/day")
    await made.store.reserve("a", of, ONE)
    await other.reserve("b", of, ONE)
    owner = made.store._owner(of)
    redis.pause()
    await until(lambda: owner.look_s == math.inf, within_s=SOON_S)
    assert made.errors == []
    assert isinstance(await made.store.reserve("c", of, ONE), Standing)
    assert made.errors == ["timeout"]
    redis.go_on()
    made.store.settle("c", {"tokens": 5})
    await until(lambda: seen(made.store) == {"ann tokens/day": 205}, within_s=SOON_S)


async def test_a_key_of_another_type_is_told_and_not_asked_for_again(
    redis: RedisServer, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    made = await replica()
    of = buckets("1000 tokens/day")
    await made.store.reserve("a", of, ONE)
    await redis.ask("SET", "gateway:{client/ann}", "not ours")
    await until(lambda: any(record.levelno == logging.ERROR for record in caplog.records), within_s=SOON_S)
    assert made.store._owner(of).look_s == math.inf
    assert made.link.is_up
    assert made.errors == []


async def test_an_answer_of_another_form_is_an_outage() -> None:
    async with agreeing_server() as address, linked(Link(address, prefix="gateway", timeout_s=5)) as link:
        store = SharedStore(link, on_error="local")
        await until(lambda: link.is_up)
        assert isinstance(await store.reserve("a", buckets("1000 tokens/day"), ONE), Standing)
        await until(lambda: link.is_up, within_s=SOON_S)
        await until(lambda: not link.is_up, within_s=SOON_S)


async def test_an_edited_limit_is_seen_as_it_was_used_last(replica: Replica) -> None:
    store = (await replica()).store
    of: Sequence[Sequence[Bucket]] = buckets("200 tokens/day"), buckets("900 tokens/day")
    for number, at in enumerate((0, 1, 0)):
        await store.reserve(str(number), of[at], {"tokens": 50})
        assert [(fill.amount, fill.used) for fill in store.look()] == [(of[at][0].limit.amount, 50 * number + 50)]


def doubles(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


@pytest.mark.parametrize(
    ("at_s", "used", "again_s"),
    [
        (12, (0, 3), 14),
        (12, (0.5, 0), 14),
        (12, (0, 0), math.inf),
        (50, (0, 3), 52),
        (110, (0, 3), 115),
        (3610, (0, 3), 3790),
    ],
)
def test_an_owner_is_looked_at_less_often_the_longer_it_is_idle(
    at_s: float, used: tuple[float, float], again_s: float
) -> None:
    owner = Owner(tuple(buckets("60 requests/minute", "2000 tokens/day")), "gateway")
    assert owner.look_s == math.inf
    owner.read(doubles(0, 3600) + b"\1" + doubles(30, 100), 1, asked_s=10.0)
    assert owner.look_s == 12
    owner.read_look(doubles(0, 60) + doubles(*used), at_s)
    assert owner.look_s == again_s
    assert [owner.present(at, at_s)[0] for at in (0, 1)] == list(used)


def test_an_end_has_an_owner_be_looked_at_once_what_is_known_is_old() -> None:
    owner = Owner(tuple(buckets("2000 tokens/day")), "gateway")
    owner.read(doubles(3600) + b"\1" + doubles(100), 1, asked_s=10.0)
    owner.note_ended(10.5)
    assert owner.look_s == 12
    owner.note_ended(30)
    assert owner.look_s == 30
    owner.read_look(doubles(3600) + doubles(0), 29.9)
    assert owner.look_s == 30, "it was asked before the end was told"
    owner.read_look(doubles(3600) + doubles(0), 30)
    assert owner.look_s == math.inf


@pytest.mark.parametrize("answer", [None, 1, b"", b"OK", doubles(0, 1, 2), doubles(0)])
def test_an_answer_of_another_form_is_none(answer: bytes) -> None:
    with pytest.raises((struct.error, TypeError)):
        Owner(tuple(buckets("2000 tokens/day")), "gateway").read_look(answer, 0.0)


def test_those_that_wait_for_longest_come_first() -> None:
    owners = [Owner(tuple(buckets("2 concurrent", of=f"c{number}")), "gateway") for number in range(3 * AT_ONCE)]
    for number, owner in enumerate(owners):
        owner.look_s = float(len(owners) - number)
    assert due(owners, 0.5) == []
    assert set(due(owners, 5.5)) == set(owners[-5:])
    assert set(due(owners, 1e9)) == set(owners[-AT_ONCE:])
