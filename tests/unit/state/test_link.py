"""One connection: why it cannot be had is told once, without a password, and it is had again by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

import pytest

from gateway.engine.cache.memory import MemoryAnswers
from gateway.engine.cache.store import Entry
from gateway.engine.limits.store import Standing
from gateway.engine.makers import Maker, Makers, key_of_id
from gateway.errors import StateUnavailable
from gateway.state import link as module
from gateway.state.cache import SharedCache
from gateway.state.limits import SharedStore
from gateway.state.link import Command, Link, Script, Unreachable
from gateway.state.makers import StateMakers
from gateway.state.options import StateAddress, read_address
from gateway.state.owners import Held, Owner, Together
from tests.certificates import self_signed
from tests.limiting import buckets
from tests.paths import ROOT
from tests.redis_server import RedisServer, SlowProxy, linked, redis_server, until

SLOTS: Final = 16_384
"""Of a cluster."""


async def reason(address: StateAddress, caplog: pytest.LogCaptureFixture, *, timeout_s: float = 0.5) -> str:
    """Return why the log says that Redis cannot be asked, and check that it says so once."""
    link = Link(address, prefix="gateway", timeout_s=timeout_s)
    async with linked(link):
        await until(lambda: any(record.levelno == logging.ERROR for record in caplog.records))
        await asyncio.sleep(0.3)  # for another attempt
        assert not link.is_up
        with pytest.raises(Unreachable):
            await link.ask(("PING",))
    (record,) = (record for record in caplog.records if record.name == module.__name__)
    assert "secret" not in str(record.__dict__)
    return str(record.__dict__["reason"])


async def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    assert "Connect" in await reason(read_address("redis://:secret@127.0.0.1:1"), caplog)


async def test_a_wrong_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with redis_server(tmp_path, password="right") as server:
        wrong = read_address(server.url.replace("right", "secret"))
        assert (await reason(wrong, caplog)).startswith("AuthenticationError")


async def test_no_password_where_one_is_needed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with redis_server(tmp_path, password="secret") as server:
        assert "uthentication" in await reason(read_address(f"redis://127.0.0.1:{server.port}"), caplog)


async def test_the_right_password(tmp_path: Path) -> None:
    async with redis_server(tmp_path, password="secret") as server:
        link = Link(server.address, prefix="gateway", timeout_s=0.5)
        async with linked(link):
            await until(lambda: link.is_up)
            assert await link.ask(("GET", "gateway:probe")) == b"1"


async def test_a_user_needs_no_more_rights_than_the_page_of_the_state_says(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    page = (ROOT / "docs" / "state.md").read_text("utf-8")
    (line,) = re.findall(r"redis-cli ACL SETUSER (.*)", page)
    await redis.ask("ACL", "SETUSER", *shlex.split(line.replace("$PASSWORD", "secret")))
    user = read_address(f"redis://gateway:secret@127.0.0.1:{redis.port}/0")
    link = Link(user, prefix="gateway", timeout_s=0.5)
    store, answers = SharedStore(link, on_error="deny"), SharedCache(link, MemoryAnswers(10**6), max_bytes=10**6)
    makers = StateMakers(link, Makers())
    async with linked(link):
        await until(lambda: link.is_up)
        limits = buckets("9 requests/minute", "9 tokens/day", "9 concurrent")
        assert await store.reserve("a", limits, {"requests": 1, "tokens": 1, "concurrent": 1})
        store.renew()
        store.settle("a", {"tokens": 2})
        await store.close()
        answers.put(bytes(32), Entry(0, b"hello"), keep_s=9)
        await answers.get(bytes(range(32)), fresh_s=9)
        makers.put(key_of_id("resp_1", None), Maker("up/m", "account", "alias"))
        makers.forget("resp_1", client=None)
        for script in (Script("common", "tell_rest"), Script("common", "hear_rests")):
            await link.ask(script.command(["gateway:{rests}", "gateway:{rests}:news"], ["0", "me", "{}", 9]), script)
        assert await link.ask(("GET", "gateway:probe")) == b"1"
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_proxy_that_knows_neither_info_nor_script_will_do(redis: RedisServer) -> None:
    await redis.ask("ACL", "SETUSER", "default", "-info", "-script")
    link = Link(redis.address, prefix="gateway", timeout_s=0.5)
    store = SharedStore(link, on_error="deny")
    async with linked(link):
        await until(lambda: link.is_up)
        for number in range(2):
            assert await store.reserve(str(number), buckets("9 requests/minute"), {"requests": 1})
        assert await link.ask(("HGET", "gateway:{client/ann}", "requests/minute"))


async def test_a_user_that_may_run_no_scripts(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    await redis.ask("ACL", "SETUSER", "default", "-eval", "-evalsha")
    assert (await reason(redis.address, caplog)).startswith("NoPermissionError")


async def test_a_replica_takes_no_writes(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    await redis.ask("REPLICAOF", "127.0.0.1", "1")
    assert await reason(redis.address, caplog) == "ReadOnlyError: You can't write against a read only replica."


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), "READONLY You can't write against a read only replica."),
        (("CONFIG", "SET", "maxmemory", "1"), "OOM command not allowed when used memory > 'maxmemory'."),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else "",
)
async def test_what_redis_refuses_a_script_with_is_told_without_the_script(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, command: tuple[str, ...], text: str
) -> None:
    link = Link(redis.address, prefix="gateway", timeout_s=0.5)
    store = SharedStore(link, on_error="deny")
    async with linked(link):
        await until(lambda: link.is_up)
        await redis.ask(*command)
        with pytest.raises(StateUnavailable):
            await store.reserve("a", buckets("9 requests/minute"), {"requests": 1})
        await until(lambda: bool(caplog.records))
    assert caplog.records[0].__dict__["reason"] == text


async def test_a_redis_that_is_killed(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    link = Link(redis.address, prefix="gateway", timeout_s=0.5)
    async with linked(link):
        await until(lambda: link.is_up)
        await redis.kill()
        await until(lambda: bool(caplog.records))
    assert caplog.records[0].__dict__["reason"] == "the connection is lost"


async def test_a_node_of_a_cluster(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with redis_server(tmp_path, in_cluster=True) as node:
        assert "--state-prefix '{gateway}'" in await reason(node.address, caplog)


async def test_any_node_of_a_cluster_leads_to_the_one_that_has_the_keys_also_when_they_move(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        nodes = []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            nodes.append(await stack.enter_async_context(redis_server(tmp_path / name, in_cluster=True)))
        first, second = nodes
        await first.ask("CLUSTER", "ADDSLOTS", *range(SLOTS))
        await second.ask("CLUSTER", "MEET", "127.0.0.1", first.port)
        async with asyncio.timeout(20):
            while any([f"slots_ok:{SLOTS}" not in await node.ask("CLUSTER", "INFO") for node in nodes]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

        link = Link(second.address, prefix="{gateway}", timeout_s=0.5)
        store, makers = SharedStore(link, on_error="deny"), StateMakers(link, Makers())
        answers = SharedCache(link, MemoryAnswers(10**6), max_bytes=10**6)
        minute = buckets("9 requests/minute")
        await stack.enter_async_context(linked(link))
        await until(lambda: link.is_up)
        for reservation, owner in (("a", "ann"), ("b", "bob")):
            await store.reserve(reservation, buckets("9 requests/minute", of=owner), {"requests": 1})
        answers.put(bytes(32), Entry(0, b"hello"), keep_s=9)
        makers.put(key_of_id("resp_1", None), Maker("up/m", "account", "alias"))
        await answers.get(bytes(range(32)), fresh_s=9)
        keys = await first.ask("KEYS", "*")
        slot = await first.ask("CLUSTER", "KEYSLOT", "{gateway}")
        assert len(keys) > 5
        assert {await first.ask("CLUSTER", "KEYSLOT", key) for key in keys} == {slot}

        await first.ask("FLUSHALL")
        heir = await second.ask("CLUSTER", "MYID")
        for node in (second, first):
            await node.ask("CLUSTER", "SETSLOT", slot, "NODE", heir)
        with pytest.raises(StateUnavailable):  # an outage of a moment
            await store.reserve("c", minute, {"requests": 1})
        await until(lambda: link.is_up)
        assert await store.reserve("d", minute, {"requests": 1})
        assert await second.ask("KEYS", "*client/ann*")


async def test_something_that_is_no_redis(caplog: pytest.LogCaptureFixture) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await reason(read_address(f"redis://127.0.0.1:{port}"), caplog)


@pytest.mark.parametrize(
    "answer", [b":1\r\n", b"$many\r\n", b":1x\r\n", b"*1\r\n" * 50_000, b"-\xff\xfe\r\n", b"+OK\r\n" * 500]
)
async def test_answers_that_no_redis_gives_end_nothing_for_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: bytes
) -> None:
    """What stands there at first is no Redis; once one does, it is had."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.read(65536):
                writer.write(answer)
                await writer.drain()
        writer.close()

    async with redis_server(tmp_path) as right:
        await right.kill()
        link = Link(right.address, prefix="gateway", timeout_s=0.5)
        server = await asyncio.start_server(respond, "127.0.0.1", right.port)
        async with linked(link):
            async with server:
                await until(lambda: any(record.levelno == logging.ERROR for record in caplog.records), within_s=8)
            await right.start()
            await until(lambda: link.is_up, within_s=8)
            assert await link.ask(("ECHO", "1")) == b"1"


@pytest.mark.skipif("REDIS_SERVER" in os.environ, reason="the Valkey of `make test-valkey` is built without TLS")
async def test_tls_with_a_password_of_all_kinds_of_characters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = self_signed(tmp_path)
    async with redis_server(tmp_path, password="p@s/w?d&#1%", certificate=file) as server:
        url = f"rediss://:p%40s%2Fw%3Fd%26%231%25@localhost:{server.port}/0"
        link = Link(read_address(f"{url}?ssl_ca_certs={file}"), prefix="gateway", timeout_s=0.5)
        async with linked(link):
            await until(lambda: link.is_up)
            assert await link.ask(("ECHO", "1")) == b"1"
        assert "CERTIFICATE_VERIFY_FAILED" in await reason(read_address(url), caplog)


async def test_tls_is_asked_of_a_port_that_does_not_speak_it(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_S", 0.3)
    tls = read_address(f"rediss://:secret@127.0.0.1:{redis.port}")
    assert await reason(tls, caplog) == "no connection within 0.3 s: does this port speak TLS, as rediss:// says?"


async def test_a_redis_that_refuses_later_is_an_outage_until_it_does_not(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(redis.address, prefix="gateway", timeout_s=0.5)
    async with linked(link):
        await until(lambda: link.is_up)
        await redis.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(Unreachable):
            await link.ask(("SET", "gateway:x", "1"))
        assert not link.is_up
        await redis.ask("REPLICAOF", "NO", "ONE")
        await until(lambda: link.is_up)
    assert [record.message for record in caplog.records if record.name == module.__name__] == [
        "the state in Redis is out of reach",
        "the state in Redis is back",
    ]


async def test_an_outage_that_goes_on_for_another_reason_is_told_again(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOLD_S", 0.2)
    link = Link(redis.address, prefix="gateway", timeout_s=0.5)
    async with linked(link):
        await until(lambda: link.is_up)
        await redis.kill()
        await until(lambda: len(caplog.records) > 0)
        redis.password = "another"
        await redis.start()
        await until(lambda: "AuthenticationError" in str(caplog.records[-1].__dict__["reason"]))


async def test_commands_of_one_turn_are_answered_each(redis: RedisServer) -> None:
    link = Link(redis.address, prefix="gateway", timeout_s=0.5)
    async with linked(link):
        await until(lambda: link.is_up)
        answers = await asyncio.gather(*[link.ask(("ECHO", str(number))) for number in range(300)])
    assert answers == [str(number).encode() for number in range(300)]


async def test_a_slow_redis_is_not_waited_for(redis: RedisServer) -> None:
    """Through a proxy that holds each byte back for longer than the timeout, from some moment on."""
    async with SlowProxy(redis.port).listening() as proxy:
        errors: list[str] = []
        link = Link(proxy.address, prefix="gateway", timeout_s=0.1, count_error=errors.append)
        async with linked(link):
            await until(lambda: link.is_up)
            assert await link.ask(("PING",)) == b"PONG"
            proxy.delay_s = 0.3
            with pytest.raises(Unreachable):
                await link.ask(("PING",))
            assert errors == ["timeout"]
            proxy.delay_s = 0.0
            await until(lambda: link.is_up)
            assert await link.ask(("PING",)) == b"PONG"


async def test_a_process_that_is_busy_does_not_take_redis_for_slow(redis: RedisServer) -> None:
    async with SlowProxy(redis.port).listening() as proxy:
        link = Link(proxy.address, prefix="gateway", timeout_s=0.2)
        async with linked(link):
            await until(lambda: link.is_up)
            proxy.delay_s = 0.05
            answer = link.ask(("PING",))
            time.sleep(0.3)  # noqa: ASYNC251 - as a large body does
            assert await answer == b"PONG"


async def test_the_time_for_an_answer_begins_when_all_is_written(redis: RedisServer) -> None:
    """Thousands of commands that go together take a while."""
    script = Script("common", "buckets", "reserve")

    def slowly(owner: Owner, held: Sequence[Held]) -> Command:
        time.sleep(0.6)
        return owner.reserving(script, held, "0", "", ())

    async with SlowProxy(redis.port).listening() as proxy:
        link = Link(proxy.address, prefix="gateway", timeout_s=0.5)
        link.scripts.append(script)
        async with linked(link):
            await until(lambda: link.is_up)
            proxy.delay_s = 0.06  # both ways
            owner = Owner(tuple(buckets("5 requests/day")), "gateway")
            together = Together(owner, script, slowly, link.distrust)
            answer = together.add(Held("a", owner, {"requests": 1}, None))
            link.send(together)
            assert isinstance(await answer, Standing)


async def test_without_the_library_it_is_ready_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READY_S", 0.2)
    monkeypatch.setitem(sys.modules, "redis", None)
    link = Link(read_address("redis://127.0.0.1:1"), prefix="gateway", timeout_s=0.5)
    async with linked(link):
        await until(lambda: link.is_ready)
    assert "routes-gateway[redis]" in str(caplog.records[0].__dict__["reason"])


async def test_it_is_ready_once_redis_has_answered(redis: RedisServer) -> None:
    link = Link(redis.address, prefix="gateway", timeout_s=0.5)
    assert not link.is_ready
    async with linked(link):
        await until(lambda: link.is_up)
        assert link.is_ready
        await redis.kill()
        await until(lambda: not link.is_up)
        assert link.is_ready
