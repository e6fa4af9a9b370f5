"""A relayed stream: what one `read` returns of what has come, and how the stream ends or breaks."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.adapters.events import Event, Stream
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.sse import MAX_EVENT_BYTES
from tests.raw_http import OK, Peer, Server, serving
from tests.relay_calls import a_call
from tests.streaming import events_of

HEAD = OK + b"content-type: text/event-stream\r\n"
DONE = b"data: [DONE]\n\n"


def event(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"


@pytest.fixture
async def adapter() -> AsyncIterator[RelayAdapter]:
    adapter = RelayAdapter()
    yield adapter
    await adapter.close()


@asynccontextmanager
async def begun(adapter: RelayAdapter, *, head: bytes = HEAD) -> AsyncIterator[tuple[Peer, Stream]]:
    """Give a stream whose first event was read, and the peer that it comes from."""
    arrived: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(head + b"\r\n" + event("first"))
        arrived.set_result(peer)
        await over.wait()

    async with serving(handle) as server:
        stream = await adapter.stream(a_call(_url(server)))
        try:
            assert _raw(await stream.read()) == event("first")
            yield await arrived, stream
        finally:
            await stream.aclose()
            over.set()


def _url(server: Server) -> str:
    return f"http://127.0.0.1:{server.origin.port}/v1"


def _raw(events: list[Event]) -> bytes:
    return b"".join(event.raw or b"" for event in events)


async def _broken(stream: Stream) -> Kind:
    with pytest.raises(UpstreamError) as caught:
        await stream.read()
    return caught.value.kind


async def test_events_are_handed_on_in_their_own_bytes_as_they_come(adapter: RelayAdapter) -> None:
    async with begun(adapter) as (peer, stream):
        for piece in (event("a"), event("b") + event("c"), b": comment\n\n", event("d", "stop")):
            await peer.send(piece)
            assert _raw(await stream.read()) == piece
        await peer.send(DONE)
        assert await stream.read() == []
        assert await stream.read() == []


async def test_half_an_event_waits_for_its_other_half(adapter: RelayAdapter) -> None:
    async with begun(adapter) as (peer, stream), asyncio.TaskGroup() as group:
        read = group.create_task(stream.read())
        for byte in event("äb"):
            assert not read.done()
            await peer.send(bytes([byte]))
        assert _raw(await read) == event("äb")


async def test_events_that_differ_in_their_text_come_as_one_run_that_can_be_taken_apart(adapter: RelayAdapter) -> None:
    async with begun(adapter) as (peer, stream):
        await peer.send(event("a") + event('"b"\n') + event("c"))
        [run] = await stream.read()
        assert run.is_run
        assert run.raw == event("a") + event('"b"\n') + event("c")
        singles = run.singly()
        assert [single.raw for single in singles] == [event("a"), event('"b"\n'), event("c")]
        texts = [single.data["choices"][0]["delta"]["content"] for single in singles if single.data is not None]
        assert texts == ["a", '"b"\n', "c"]


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'event: ping\ndata: {"a":1}\n\n', b"ping"),
        (b'data: {"a":1}\nevent: late\n\n', b"late"),
        (b'data: {"a":1}\n\n', None),
    ],
)
async def test_an_event_keeps_its_name(adapter: RelayAdapter, raw: bytes, name: bytes | None) -> None:
    async with begun(adapter) as (peer, stream):
        await peer.send(raw)
        assert await stream.read() == [Event({"a": 1}, raw, name)]


@pytest.mark.parametrize("bad", [b"data: {broken\n\n", b"data: [1]\n\n", b'{"error": {"message": "x"}}\n\n'])
async def test_what_comes_before_a_break_is_returned_before_it_is_told(adapter: RelayAdapter, bad: bytes) -> None:
    async with begun(adapter) as (peer, stream):
        await peer.send(event("a") + bad + event("never"))
        assert _raw(await stream.read()) == event("a")
        if b"error" in bad:
            assert await stream.read() == [Event({"error": {"message": "x"}})]
        else:
            assert await _broken(stream) is Kind.BAD_RESPONSE


async def test_a_lost_connection_breaks_the_stream(adapter: RelayAdapter) -> None:
    async with begun(adapter, head=HEAD + b"content-length: 100000\r\n") as (peer, stream):
        await peer.send(event("a"))
        assert _raw(await stream.read()) == event("a")
        peer.writer.transport.abort()
        assert await _broken(stream) is Kind.BAD_RESPONSE


async def test_an_event_beyond_the_limit_breaks_the_stream(adapter: RelayAdapter) -> None:
    async with begun(adapter) as (peer, stream), asyncio.TaskGroup() as group:
        read = group.create_task(_broken(stream))
        await peer.send(b"data: " + b"x" * (MAX_EVENT_BYTES + 1), by=1 << 20)
        assert await read is Kind.BAD_RESPONSE


async def test_events_before_one_beyond_the_limit_are_returned(adapter: RelayAdapter) -> None:
    async def read_all(stream: Stream, into: list[Event]) -> Kind:
        with pytest.raises(UpstreamError) as caught:
            await events_of(stream, into)
        return caught.value.kind

    async with begun(adapter) as (peer, stream), asyncio.TaskGroup() as group:
        seen: list[Event] = []
        read = group.create_task(read_all(stream, seen))
        await peer.send(event("a") + b"data: " + b"x" * (MAX_EVENT_BYTES + 1), by=1 << 20)
        assert await read is Kind.BAD_RESPONSE
        assert _raw(seen) == event("a")


async def test_a_read_that_is_cancelled_closes_the_stream(adapter: RelayAdapter) -> None:
    async with begun(adapter) as (_, stream):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await stream.read()
        assert await stream.read() == []


async def test_an_encoded_body_is_decoded(adapter: RelayAdapter) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        body = gzip.compress(event("first") + event("a", "stop") + DONE)
        await peer.send(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async with serving(handle) as server:
        stream = await adapter.stream(a_call(_url(server)))
        assert _raw(await events_of(stream)) == event("first") + event("a", "stop")


async def test_a_stream_that_has_ended_gives_its_connection_back(adapter: RelayAdapter) -> None:
    rest = event("a") + event("b\n") + event("", "stop")

    async def handle(peer: Peer) -> None:
        body = event("first") + rest + DONE
        for _ in range(2):
            await peer.request()
            await peer.send(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)

    async with serving(handle) as server:
        stream = await adapter.stream(a_call(_url(server)))
        assert _raw(await events_of(stream)) == event("first") + rest
        await (await adapter.stream(a_call(_url(server)))).aclose()
        assert len(server.peers) == 1, "the connection was given back"


async def test_a_stream_ends_with_done_though_its_response_goes_on(adapter: RelayAdapter) -> None:
    async with begun(adapter) as (peer, stream):
        await peer.send(event("a", "stop") + DONE)
        assert _raw(await stream.read()) == event("a", "stop")
        assert await stream.read() == []


async def test_an_end_that_has_come_whole_is_the_last_event(adapter: RelayAdapter) -> None:
    async def handle(peer: Peer) -> None:
        body = event("first", "stop") + DONE
        for _ in range(2):
            await peer.request()
            await peer.send(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)

    async with serving(handle) as server:
        stream = await adapter.stream(a_call(_url(server)))
        *_, last = await stream.read()
        assert last == Event(None, DONE, is_end=True)
        assert await stream.read() == []
        await (await adapter.stream(a_call(_url(server)))).aclose()
        assert len(server.peers) == 1, "the connection was given back"
