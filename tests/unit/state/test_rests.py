"""News of rests as the scripts keep them. What they do to targets, `tests/server/test_shared_state.py` plays."""

from __future__ import annotations

from typing import Any

from gateway.state.link import Link, Script
from tests.redis_server import RedisServer
from tests.unit.state.conftest import Replica

KEYS = ["gateway:{rests}", "gateway:{rests}:news"]
TELL, HEAR = Script("common", "tell_rest"), Script("common", "hear_rests")


async def tell(link: Link, target: str, rest: str, *, for_s: float = 60) -> None:
    await link.ask(TELL.command(KEYS, [target, "me", rest, for_s]), TELL)


async def hear(link: Link, since: str = "0") -> tuple[str, list[Any]]:
    newest, *news = await link.ask(HEAR.command(KEYS, [since]), HEAR)
    return newest.decode(), news[::4]


async def test_only_what_is_new_is_told(replica: Replica) -> None:
    link = (await replica()).link
    await tell(link, "a", "{}")
    newest, news = await hear(link)
    assert news == [b"a"]
    assert await hear(link, newest) == (newest, [])
    await tell(link, "b", "{}")
    await tell(link, "a", "")
    assert (await hear(link, newest))[1] == [b"b", b"a"]


async def test_what_another_program_wrote_is_dropped(redis: RedisServer, replica: Replica) -> None:
    link = (await replica()).link
    await redis.ask("HSET", KEYS[0], "serial", "many", "x", "neither this", "y", "", "z", "1 nan me {}")
    await redis.ask("ZADD", KEYS[1], 1, "x", 2, "y", 3, "z", 4, "nobody")
    assert await hear(link, "7") == ("0", [])
    assert await redis.ask("ZCARD", KEYS[1]) == 0
    await tell(link, "a", "{}")
    assert (await hear(link))[1] == [b"a"]
    assert link.is_up
