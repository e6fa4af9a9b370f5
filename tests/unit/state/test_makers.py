"""Who made an id, as replicas tell each other, and what another program or version may have written there."""

from __future__ import annotations

import pytest

from gateway.engine.makers import Maker, Makers, key_of_id
from gateway.state.makers import StateMakers
from tests.redis_server import RedisServer
from tests.unit.state.conftest import Replica

MADE = Maker("up/m", "an account", "smart")


async def test_what_one_replica_was_told_the_other_finds(replica: Replica) -> None:
    here, there = [StateMakers((await replica()).link, Makers()) for _ in range(2)]
    here.put(key_of_id("resp_1", "ann"), MADE)
    assert await there.found("resp_1", client="ann") == MADE
    assert await there.found("resp_1", client="bob") is None


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", "[1,2,3]", '["a","b"]', '["a","b","c","d"]', "[" * 5000])
async def test_what_no_gateway_of_this_version_wrote_is_nobody(redis: RedisServer, replica: Replica, text: str) -> None:
    makers = StateMakers((await replica()).link, Makers())
    makers.put(key_of_id("resp_1", "ann"), MADE)
    assert await StateMakers((await replica()).link, Makers()).found("resp_1", client="ann") == MADE
    (name,) = await redis.ask("KEYS", "gateway:made:*")
    await redis.ask("SET", name, text)
    assert await StateMakers((await replica()).link, Makers()).found("resp_1", client="ann") is None
