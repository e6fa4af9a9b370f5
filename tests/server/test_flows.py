"""Streams that are handed on as they come, end to end: upstreams that lie, limits, clients that are behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson
import pytest

from gateway.errors import StreamBroken
from gateway.library.provider import Provider
from tests.raw_http import OK, Handler, Peer, serving
from tests.server.conftest import RunningGateway, Start, until
from tests.server.test_streams import raw_response, request_bytes

ROUTES = """\
version: 1
defaults: {retries: 0, timeout: TIMEOUT}
providers:
  up: {kind: openai, adapter: relay, base_url: "http://127.0.0.1:PORT/v1", api_key: sk-upstream}
models:
  fast: up/a
  held: {chain: [up/a], stream: {hold: full, max_bytes: 20000000}}
"""
HEAD = OK + b"content-type: text/event-stream\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(text: str, reason: str | None = None, *, index: int = 0) -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": reason}
    return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"


A, B, STOP = event("a"), event("b"), event("", "stop")
END = STOP + DONE


@asynccontextmanager
async def gateway_before(start: Start, handle: Handler, *, timeout: str = "5s") -> AsyncIterator[RunningGateway]:
    async with serving(handle) as server:
        yield await start(ROUTES.replace("TIMEOUT", timeout).replace("PORT", str(server.origin.port)))


def sending(*pieces: bytes) -> Handler:
    """Return a handler that sends each piece once the client can have seen the one before."""

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD)
        for piece in pieces:
            await peer.send(piece)
            await asyncio.sleep(0.002)

    return handle


def is_whole(data: bytes) -> bool:
    """Tell whether a response ended well, or broke off so that nobody can take it for whole."""
    assert data.startswith(b"HTTP/1.1 200 ")
    whole = data.endswith(DONE + b"\r\n0\r\n\r\n")
    assert whole or (b"stream_broken" in data and b"[DONE]" not in data and not data.endswith(b"0\r\n\r\n"))
    return whole


def ending(model: str) -> bytes:
    """Return a request after whose answer the connection closes."""
    return request_bytes(model).replace(b"content-type", b"connection: close\r\ncontent-type", 1)


@pytest.mark.parametrize("packets", ["each event", "all but the first", "all"])
@pytest.mark.parametrize(
    ("rest", "whole"),
    [
        ([B, event("c", "stop") + DONE], True),
        ([B, END + b"\x00 junk {{{\n\n"], True),
        ([B, STOP, b"data: [DONE]\r\n\r\n"], True),
        ([B, STOP, b"data:[DONE]\n\n"], True),
        ([B, STOP, b"data: [DONE]"], True),
        ([b"retry: 3000\n\n", B, b"id: 7\n\n", END], True),
        ([b'data: {"choices":\ndata: [{"index":0,"delta":{"content":"z"}}]}\n\n', END], True),
        ([event("b", index=1), A, event("", "stop", index=1), END], True),
        ([event("b", index=1), A, END], True),
        ([B, DONE], False),
        ([B, STOP, b'data: {"choices":[{"index":0,"del'], False),
        ([B, event("c").replace(b'"c"', b'"\xff"'), END], False),
        ([B, event("c").replace(b'"c"', b'"\x00"'), END], False),
        ([B, event("c").replace(b'"c"', b'"c"d"'), END], False),
        ([B, event("c").replace(b'"c"', b'"\\"'), END], False),
        ([B, b'data: {"error":"boom"}\n\n', END], False),
        ([B, b"event: error\ndata: boom\n\n", END], False),
        ([B, b'data: {"choices":"x"}\n\n', END], False),
        ([B, b'data: {"choices":[null]}\n\n', END], False),
        ([B, b'{"detail": "Internal Server Error"}'], False),
        ([B, b"<html>bad gateway</html>\n\n", END], False),
    ],
)
async def test_a_stream_is_whole_or_visibly_broken_however_it_is_cut_into_packets(
    start: Start, rest: list[bytes], whole: bool, packets: str
) -> None:
    pieces = {"each event": [A, *rest], "all but the first": [A, b"".join(rest)], "all": [A + b"".join(rest)]}[packets]
    async with gateway_before(start, sending(*pieces)) as gateway:
        data = await raw_response(gateway, ending("fast"))
        held = await raw_response(gateway, ending("held"))
    assert is_whole(data) is whole
    assert b"boom" not in data + held
    assert is_whole(held) if whole else held.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    ("timeout", "piece"),
    [
        ("{total: 400ms, idle: 5s}", A),
        ("{total: 5s, idle: 400ms}", b": still here\n\n"),
        ("{total: 5s, idle: 400ms}", b"x"),
    ],
    ids=["events beyond the total", "comments beyond idle", "one event that drips beyond idle"],
)
async def test_a_stream_that_never_ends_is_ended_by_its_limit(start: Start, timeout: str, piece: bytes) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + A + (b"data: " if piece == b"x" else b""))
        while True:
            await peer.send(piece)
            await asyncio.sleep(0.01)

    async with gateway_before(start, handle, timeout=timeout) as gateway:
        data = await raw_response(gateway, request_bytes("fast"))
    assert not is_whole(data)
    assert b'"kind":"timeout"' in data


async def test_a_client_that_is_behind_is_not_held_against_the_upstream(start: Start) -> None:
    """The client reads nothing for longer than the upstream may be silent, then all of it."""

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD)
        for _ in range(400):
            await peer.send(event("x" * 50_000))
        everything_sent.set()
        await peer.send(END)

    everything_sent = asyncio.Event()
    async with gateway_before(start, handle, timeout="300ms") as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
        writer.write(ending("fast"))
        data = await reader.readexactly(1000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await everything_sent.wait()
        data += await reader.read()
        writer.close()
        await writer.wait_closed()
    assert is_whole(data)
    assert len(data) > 20_000_000


async def test_a_client_that_leaves_while_it_is_behind_ends_the_upstream_call(start: Start) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD)
        try:
            while True:
                await peer.send(event("x" * 50_000))
        except ConnectionError:
            left.set()

    left = asyncio.Event()
    async with gateway_before(start, handle) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
        writer.write(request_bytes("fast"))
        await reader.readexactly(1000)
        writer.transport.abort()
        async with asyncio.timeout(1):
            await left.wait()
        sample = 'gateway_requests_total{alias="fast",operation="chat",status="499"}'
        assert await until(lambda: gateway.metric(sample)) == 1
        assert await gateway.metric("gateway_in_flight") == 0


async def test_a_drain_that_takes_too_long_cuts_a_flowing_stream_off_visibly(start: Start) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + A)
        await peer.send(B)
        await peer.left()

    async with gateway_before(start, handle) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request_bytes("fast"))
        data = await reader.readuntil(b'"b"')
        gateway.parts.lifecycle.draining = True
        gateway.parts.lifecycle.cut()
        data += await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b"shutting_down" in data
    assert b"[DONE]" not in data
    assert not data.endswith(b"0\r\n\r\n")


async def test_a_drain_that_takes_too_long_sends_no_second_response_after_a_stream_that_is_behind(start: Start) -> None:
    pieces = [event("x" * 50_000)] * 300
    async with gateway_before(start, sending(b"".join(pieces) + END)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
        writer.write(request_bytes("held"))
        data = await reader.readuntil(b'"xxx')
        gateway.parts.lifecycle.draining = True
        gateway.parts.lifecycle.cut()
        with suppress(ConnectionError):
            while more := await reader.read(1_000_000):
                data += more
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    assert data.count(b"HTTP/1.1 ") == 1
    assert not data.endswith(b"0\r\n\r\n")
    sample = 'gateway_requests_total{alias="held",operation="chat",status="503"}'
    assert await gateway.metric(sample) == 1


@pytest.mark.parametrize("whole", [True, False])
async def test_a_program_gets_each_chunk_of_a_relayed_stream(start: Start, whole: bool) -> None:
    """All chunks but the first come in one packet; the text of each is there."""
    pieces = [event(text) for text in "abcdef"]
    async with gateway_before(start, sending(pieces[0], b"".join(pieces[1:]) + (END if whole else b""))) as gateway:
        provider = Provider.from_file(gateway.config)
        text = ""
        try:
            async for chunk in provider.stream_chat("fast", [{"role": "user", "content": "hi"}]):
                text += chunk["choices"][0]["delta"]["content"]
            assert whole
        except StreamBroken:
            assert not whole
        finally:
            await provider.close()
    assert text == "abcdef"
