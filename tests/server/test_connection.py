"""Our own connections on the wire: requests in any pieces, any order and any number are answered as aiohttp would."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.server.body import BodiesInFlight
from gateway.server.connection import MAX_WAITING_BYTES, TURN_BYTES, ClientConnection, ClientConnections
from gateway.server.request import Request
from gateway.server.response import ResponseWriter
from gateway.telemetry.report import CallReport
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start, until

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(gateway: RunningGateway) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def request(model: str = "fast", *, head: str = "", messages: Any = HELLO, **more: Any) -> bytes:
    body = orjson.dumps({"model": model, "messages": messages, **more})
    lines = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}"
    return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
    return int(lines[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


@pytest.mark.parametrize("step", [1, 7, 100, 333])
async def test_a_request_may_come_in_any_pieces(gateway: RunningGateway, step: int) -> None:
    data = request(note="grüße")
    async with connected(gateway) as (reader, writer):
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
            await asyncio.sleep(0)
        assert (await answer(reader))[0] == 200


async def test_the_body_may_come_behind_the_head(gateway: RunningGateway) -> None:
    head, _, body = request().partition(b"\r\n\r\n")
    async with connected(gateway) as (reader, writer):
        for _ in range(3):
            writer.write(head + b"\r\n\r\n")
            await asyncio.sleep(0.02)
            writer.write(body[:10])
            await asyncio.sleep(0.02)
            writer.write(body[10:])
            status, headers, _ = await answer(reader)
            assert (status, headers["x-gateway-target"]) == (200, "up/a")


async def test_requests_sent_at_once_are_answered_in_their_order(
    gateway: RunningGateway, upstream: ScriptedOpenAI
) -> None:
    upstream.script("a", reply="one").script("a", reply="two").script("a", reply="three")
    async with connected(gateway) as (reader, writer):
        writer.write(request() * 2 + request()[:50])
        writer.write(request()[50:])
        texts = [orjson.loads((await answer(reader))[2])["choices"][0]["message"]["content"] for _ in range(3)]
    assert texts == ["one", "two", "three"]


async def test_a_connection_may_ask_for_anything_at_any_time(gateway: RunningGateway) -> None:
    get = b"GET /v1/models/fast HTTP/1.1\r\nHost: localhost\r\n\r\n"
    unknown = request().replace(b"/v1/chat/completions", b"/v1/nothing")
    chunked = request().replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX-Length")
    head, _, body = chunked.partition(b"\r\n\r\n")
    chunked = b"%b\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (head, len(body), body)
    async with connected(gateway) as (reader, writer):
        writer.write(request() + request("no such") + get + request() + unknown + chunked + request())
        assert [(await answer(reader))[0] for _ in range(7)] == [200, 404, 200, 200, 404, 200, 200]


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(start: Start) -> None:
    gateway = await start(client_s=0.05)
    async with connected(gateway) as (reader, writer):
        writer.write(request()[:-5])
        status, _, body = await answer(reader)
        assert (status, orjson.loads(body)["error"]["code"]) == (408, "body_timeout")
        writer.write(request()[-5:] + request())  # what is left of the body, and another request
        assert (await answer(reader))[0] == 200


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_large_body_is_read_to_its_end_and_no_further(loop: str) -> None:
    size = 3_000_000
    head = b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    small = b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"

    async def send() -> None:
        async with serving(Reading, max_body_bytes=size) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            for mark in (b"a", b"b"):
                writer.write(head + mark * 70_000)
                await writer.drain()
                await asyncio.sleep(0.01)
                writer.write(mark * (size - 70_000) + small + b"c")
                for _ in range(2):
                    assert (await answer(reader))[0] == 200
            bodies = [each.body for each in served.requests]
            assert [None if body is None else (body[:1], len(body)) for body in bodies] == [
                (b"a", size), (b"c", 1), (b"b", size), (b"c", 1),
            ]  # fmt: skip
            writer.close()
            await writer.wait_closed()

    with asyncio.Runner(loop_factory=pytest.importorskip(loop).new_event_loop) as runner:
        runner.run(send())


async def test_the_rest_of_a_large_body_that_was_refused_is_dropped(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("team sk-1\n")
    gateway = await start(client_keys_file=keys)
    large = request(messages=[{"role": "user", "content": "x" * 3_000_000}])
    async with connected(gateway) as (reader, writer):
        for _ in range(2):
            writer.write(large[:100_000])
            assert (await answer(reader))[0] == 401
            writer.write(large[100_000:] + request(head="Authorization: Bearer sk-1\r\n"))
            assert (await answer(reader))[0] == 200


async def test_who_may_not_ask_is_told_so_before_the_body_has_come(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("team sk-1\n")
    gateway = await start(client_keys_file=keys)
    good = request(head="Authorization: Bearer sk-1\r\n")
    async with connected(gateway) as (reader, writer):
        for wrong in (request(), request(head="Authorization: Bearer sk-2\r\n")):
            writer.write(wrong[:-5])
            assert (await answer(reader))[0] == 401
            writer.write(wrong[-5:] + good)
            assert (await answer(reader))[0] == 200


async def test_a_body_beyond_the_limit_is_refused(start: Start) -> None:
    gateway = await start(max_body_bytes=1000)
    async with connected(gateway) as (reader, writer):
        writer.write(request(note="a" * 1000))
        assert (await answer(reader))[0] == 413


async def test_a_client_that_leaves_within_its_body_is_counted(gateway: RunningGateway) -> None:
    async with connected(gateway) as (_, writer):
        writer.write(request()[:-5])
        await until(lambda: _in_flight(gateway))
    gone = 'gateway_requests_total{alias="",operation="chat",status="499"}'
    assert await until(lambda: gateway.metric(gone)) == 1


LONG = "a" * 12_000_000
"""More than the system keeps for a client that does not read."""


@pytest.mark.parametrize("head", ["", "TE: trailers\r\n"], ids=["ours", "aiohttp"])
async def test_a_client_that_does_not_take_its_answer_is_let_go(start: Start, head: str) -> None:
    gateway = await start(client_s=0.5)
    body = request("echo", head=head, messages=[{"role": "user", "content": LONG}])
    async with connected(gateway) as (reader, writer):
        writer.write(body)
        gone = 'gateway_requests_total{alias="echo",operation="chat",status="499"}'
        assert await until(lambda: gateway.metric(gone)) == 1
        with suppress(ConnectionError):
            assert len(await reader.read(-1)) < len(LONG)


async def _in_flight(gateway: RunningGateway) -> bool:
    return await gateway.metric("gateway_in_flight") == 1


# The connection alone, with an answer and a successor of the test's own


class Successor(asyncio.Protocol):
    """In aiohttp's place."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


class Served:
    """A server of one path, and what came of its connections."""

    def __init__(self, *, keepalive_s: float = 60.0, size: int = 2, max_body_bytes: int = 100) -> None:
        self.successors: list[Successor] = []
        self.requests: list[Request] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.connections = ClientConnections(
            {"/v1": self._answer},
            self._succeed,
            max_body_bytes=max_body_bytes,
            keepalive_s=keepalive_s,
            in_flight=BodiesInFlight(),
        )
        self._size = size
        self.port = 0

    def _succeed(self) -> Any:
        self.successors.append(Successor())
        return self.successors[-1]

    async def _answer(self, request: Request) -> bool:
        self.requests.append(request)
        await self.gate.wait()
        ResponseWriter(request, CallReport(), client_s=1.0).send_whole(200, None, {}, b"x" * self._size)
        return request.keep_alive


@asynccontextmanager
async def serving(
    kind: type[Served] = Served, *, connection: type[ClientConnection] = ClientConnection, **options: Any
) -> AsyncIterator[Served]:
    served = kind(**options)
    server = await asyncio.get_running_loop().create_server(lambda: connection(served.connections), "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        await served.connections.stopped(1.0)


ASK = b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


async def test_only_what_is_of_the_common_form_is_answered_here() -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(ASK)
        assert (await answer(reader))[0] == 200
        other = b"GET /v1 HTTP/1.1\r\n\r\n"
        writer.write(ASK + other)
        assert (await answer(reader))[0] == 200
        await until(lambda: served.successors and served.successors[0].data == other)
        assert served.connections.open == set()
        writer.write(ASK)
        await until(lambda: served.successors[0].data == other + ASK)
        writer.close()


@pytest.mark.parametrize("length", [b"0", b"101"])
async def test_a_body_of_no_size_or_too_great_a_size_is_not_for_here(length: bytes) -> None:
    async with serving() as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(ASK.replace(b"2", length))
        await until(lambda: served.successors)
        assert served.requests == []
        writer.close()


async def test_an_idle_connection_is_closed() -> None:
    async with serving(keepalive_s=0.01) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(ASK)
        assert (await answer(reader))[0] == 200
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_after_a_long_time_without_any_is_not_idle() -> None:
    async with serving() as served:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            await until(lambda: served.connections.open)
            writer.write(ASK)
            assert (await answer(reader))[0] == 200
            writer.close()
            await until(lambda: served.connections._sweep_handle is None)
            served.connections.now_s -= 1000


async def test_a_client_that_takes_no_answer_is_not_idle_for_ever() -> None:
    async with serving(size=12_000_000) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1000)
        writer.write(ASK)
        (connection,) = await until(lambda: served.connections.open)
        await until(lambda: served.requests and connection.task is None)
        for _ in range(2):
            connection.close_if_idle(served.connections.loop.time() + 1000, keepalive_s=60)
        await until(lambda: not served.connections.open)
        with suppress(ConnectionError):
            assert len(await reader.read()) < 12_000_000
        writer.close()


async def test_nothing_follows_an_answer_that_was_given_up() -> None:
    class Closing(Served):
        async def _answer(self, request: Request) -> bool:
            request.transport.write(b"x" * 12_000_000)
            request.transport.close()
            return await super()._answer(request)

    async with serving(Closing) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(ASK)
        assert await reader.read() == b"x" * 12_000_000
        writer.close()


async def test_a_header_field_cannot_bring_another_one_with_it() -> None:
    class Unsafe(Served):
        async def _answer(self, request: Request) -> bool:
            with pytest.raises(ValueError, match="'x-a' has control characters"):
                ResponseWriter(request, CallReport(), client_s=1.0).send_whole(200, None, {"x-a": "1\r\nx-b: 2"}, b"")
            return await super()._answer(request)

    async with serving(Unsafe) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(ASK)
        _, headers, _ = await answer(reader)
        assert not {"x-a", "x-b"} & headers.keys()
        writer.close()


async def test_a_body_that_nobody_waits_for_is_not_kept() -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(ASK.replace(b"2\r\n\r\n{}", b"100\r\n\r\n{"))
        assert (await answer(reader))[0] == 200
        (connection,) = served.connections.open
        writer.write(b"a" * 50)
        await until(lambda: connection._missing_bytes == 49)
        assert connection._parts == []
        writer.write(b"a" * 49 + ASK)
        assert (await answer(reader))[0] == 200
        writer.close()


async def test_a_busy_connection_is_not_idle() -> None:
    async with serving(keepalive_s=0.01) as served:
        served.gate.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(ASK)
        await until(lambda: served.requests)
        (connection,) = served.connections.open
        connection.close_if_idle(served.connections.loop.time() + 1000, keepalive_s=0.01)
        served.gate.set()
        assert (await answer(reader))[0] == 200
        writer.close()


async def test_a_client_that_asks_and_asks_without_waiting_is_read_no_further() -> None:
    async with serving() as served:
        served.gate.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        count = 4 * MAX_WAITING_BYTES // len(ASK)
        writer.write(ASK * count)
        (connection,) = await until(lambda: served.connections.open)
        await until(lambda: connection._is_paused)
        served.gate.set()
        for _ in range(count):
            assert (await answer(reader))[0] == 200
        assert len(served.requests) == count
        writer.close()


async def test_a_client_that_takes_no_answers_gets_no_more_of_them() -> None:
    count = 200
    async with serving(size=500_000) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1000)
        writer.write(ASK * count)
        await until(lambda: served.requests)
        (connection,) = served.connections.open
        await until(lambda: connection._drained is not None and connection.task is None)
        assert len(served.requests) < count
        for _ in range(count):
            assert (await answer(reader))[0] == 200
        writer.close()


async def test_stopping_closes_what_is_idle_and_waits_for_the_rest() -> None:
    async with serving() as served:
        served.gate.clear()
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", served.port)
        busy, busy_writer = await asyncio.open_connection("127.0.0.1", served.port)
        busy_writer.write(ASK)
        await until(lambda: served.requests and len(served.connections.open) == 2)
        served.connections.stop()
        assert await idle.read() == b""
        asyncio.get_running_loop().call_later(0.01, served.gate.set)
        await served.connections.stopped(5.0)
        status, headers, _ = await answer(busy)
        assert (status, headers["connection"]) == (200, "close")
        assert await busy.read() == b""
        idle_writer.close()
        busy_writer.close()


async def test_what_takes_too_long_to_stop_is_cut_off() -> None:
    async with serving() as served:
        served.gate.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(ASK)
        await until(lambda: served.requests)
        await served.connections.stopped(0.01)
        assert await reader.read() == b""
        writer.close()


class Reading(Served):
    """Reads the body of each request."""

    async def _answer(self, request: Request) -> bool:
        await request.channel.read_body()
        return await super()._answer(request)


def test_long_bodies_take_turns_with_the_event_loop() -> None:
    """The server's event loop alone would read 8 MiB of each connection in one turn."""
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_send_long_bodies())


async def _send_long_bodies() -> None:
    number, size = 5, 16 * 1024 * 1024
    turns = [0]
    one_read = 0

    def count(size_bytes: int) -> None:
        nonlocal one_read
        turns[-1] += size_bytes
        one_read = max(one_read, size_bytes)

    class Counted(ClientConnection):
        def data_received(self, data: bytes) -> None:
            count(len(data))
            super().data_received(data)

        def body_read(self, size_bytes: int) -> None:
            count(size_bytes)
            super().body_read(size_bytes)

    async def count_turns() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(0)

    def send(port: int, mark: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + mark * size)
            return client.recv(100)

    async with serving(Reading, connection=Counted, max_body_bytes=size) as served, asyncio.TaskGroup() as group:
        counting = group.create_task(count_turns())
        marks = [b"%d" % place for place in range(number)]
        answers = await asyncio.gather(*(asyncio.to_thread(send, served.port, mark) for mark in marks))
        counting.cancel()
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * number
    assert sorted(
        (body[:1], body[:] == body[:1] * size) for body in (each.body for each in served.requests) if body
    ) == [(mark, True) for mark in marks]
    assert sum(turns) > number * size
    assert max(turns) <= TURN_BYTES + (number + 1) * one_read
