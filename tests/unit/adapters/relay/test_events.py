"""A relayed stream that is handed on as it comes: what is handed on, and where it goes back to being asked for."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest

from gateway.adapters.base import Chunk, ChunkStream
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.sse import MAX_EVENT_BYTES
from tests.raw_http import OK, Peer, Server, serving
from tests.relay_calls import a_call

HEAD = OK + b"content-type: text/event-stream\r\n"


def event(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"


class Flowing:
    """A stream, the peer it comes from, and what has been handed on."""

    def __init__(self, peer: Peer, stream: ChunkStream, *, enough_at: int | None = None) -> None:
        self.peer = peer
        self.stream = stream
        self.pushed: list[Chunk] = []
        self._enough_at = enough_at
        self._more = asyncio.Event()

    def push(self, chunks: list[Chunk]) -> bool:
        self.pushed += chunks
        self._more.set()
        return self._enough_at is None or len(self.pushed) < self._enough_at

    @property
    def raw(self) -> bytes:
        return b"".join(chunk.raw or b"" for chunk in self.pushed)

    async def come(self, raw: bytes) -> None:
        """Return once just this has been handed on."""
        while self.raw != raw:
            self._more.clear()
            await self._more.wait()


@pytest.fixture
async def adapter() -> AsyncIterator[RelayAdapter]:
    adapter = RelayAdapter()
    yield adapter
    await adapter.close()


async def flowing(
    adapter: RelayAdapter,
    test: Callable[[Flowing], Awaitable[None]],
    *,
    head: bytes = HEAD,
    enough_at: int | None = None,
) -> None:
    """Run `test` on a stream whose first event has been taken."""
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
            await anext(stream.chunks)
            await test(Flowing(await arrived, stream, enough_at=enough_at))
        finally:
            await stream.chunks.aclose()
            over.set()


def _url(server: Server) -> str:
    return f"http://127.0.0.1:{server.origin.port}/v1"


async def test_events_are_handed_on_in_their_own_bytes_until_the_stream_ends(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        async with asyncio.TaskGroup() as group:
            flows = group.create_task(flow.stream.flow(flow.push))
            sent = b""
            for piece in (event("a"), event("b") + event("c"), b": comment\n\n", event("d", "stop")):
                await flow.peer.send(piece)
                sent += piece
                await flow.come(sent)
            assert not flows.done()
            await flow.peer.send(b"data: [DONE]\n\n")
        with pytest.raises(StopAsyncIteration):
            await anext(flow.stream.chunks)

    await flowing(adapter, check)


async def test_half_an_event_waits_for_its_other_half(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(flow.stream.flow(flow.push))
            for byte in event("äb"):
                await flow.peer.send(bytes([byte]))
            await flow.come(event("äb"))
            await flow.peer.send(b"data: [DONE]\n\n")

    await flowing(adapter, check)


@pytest.mark.parametrize("bad", [b"data: {broken\n\n", b"data: [1]\n\n", b'{"error": {"message": "x"}}\n\n'])
async def test_what_breaks_the_stream_is_left_to_be_asked_for(adapter: RelayAdapter, bad: bytes) -> None:
    async def check(flow: Flowing) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(flow.stream.flow(flow.push))
            await flow.peer.send(event("a") + bad + event("never"))
        assert flow.raw == event("a")
        await flow.stream.flow(flow.push)  # returns at once: something is there to be asked for
        if b"error" in bad:
            assert (await anext(flow.stream.chunks)).data == {"error": {"message": "x"}}
        else:
            with pytest.raises(UpstreamError) as caught:
                await anext(flow.stream.chunks)
            assert caught.value.kind is Kind.BAD_RESPONSE

    await flowing(adapter, check)


async def test_a_lost_connection_ends_the_flow_and_is_told_when_asked(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(flow.stream.flow(flow.push))
            await flow.peer.send(event("a"))
            await flow.come(event("a"))
            flow.peer.writer.transport.abort()
        with pytest.raises(UpstreamError) as caught:
            await anext(flow.stream.chunks)
        assert caught.value.kind is Kind.BAD_RESPONSE

    await flowing(adapter, check, head=HEAD + b"content-length: 100000\r\n")


async def test_an_event_beyond_the_limit_breaks_the_stream(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(flow.stream.flow(flow.push))
            await flow.peer.send(b"data: " + b"x" * (MAX_EVENT_BYTES + 1), by=1 << 20)
        with pytest.raises(UpstreamError) as caught:
            await anext(flow.stream.chunks)
        assert caught.value.kind is Kind.BAD_RESPONSE

    await flowing(adapter, check)


async def test_who_has_enough_is_asked_no_more(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(flow.stream.flow(flow.push))
            await flow.peer.send(event("a"))
            await flow.come(event("a"))
            await flow.peer.send(event("b"))
        await flow.peer.send(event("c"))
        assert (await anext(flow.stream.chunks)).raw == event("c")
        assert flow.raw == event("a") + event("b")

    await flowing(adapter, check, enough_at=2)


async def test_a_cancelled_flow_leaves_the_stream_as_it_is(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await flow.stream.flow(flow.push)
        await flow.peer.send(event("a"))
        assert (await anext(flow.stream.chunks)).raw == event("a")

    await flowing(adapter, check)


async def test_a_fault_of_who_takes_surfaces_where_the_flow_is_waited_for(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        def fail(_: list[Chunk]) -> bool:
            raise ZeroDivisionError

        async def send() -> None:
            await flow.peer.send(event("a"))

        ends = await asyncio.gather(flow.stream.flow(fail), send(), return_exceptions=True)
        assert isinstance(ends[0], ZeroDivisionError)

    await flowing(adapter, check)


async def test_an_encoded_body_is_asked_for_piece_by_piece(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        await flow.stream.flow(flow.push)
        assert flow.pushed == []

    async def handle(peer: Peer) -> None:
        await peer.request()
        body = gzip.compress(event("first") + event("a", "stop") + b"data: [DONE]\n\n")
        await peer.send(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async with serving(handle) as server:
        stream = await adapter.stream(a_call(_url(server)))
        await check(Flowing(server.peers[0], stream))
        assert [chunk.raw async for chunk in stream.chunks] == [event("first"), event("a", "stop")]


async def test_what_came_with_the_end_of_a_stream_is_taken_at_once(adapter: RelayAdapter) -> None:
    rest = event("a") + event("b\n") + event("", "stop")

    async def handle(peer: Peer) -> None:
        body = event("first") + rest + b"data: [DONE]\n\n"
        for _ in range(2):
            await peer.request()
            await peer.send(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)

    async with serving(handle) as server:
        stream = await adapter.stream(a_call(_url(server)))
        assert (await anext(stream.chunks)).raw == event("first")
        assert not stream.ended()
        taken = stream.take()
        assert b"".join(chunk.raw or b"" for chunk in taken) == rest
        assert len(taken) < 3
        assert stream.ended()
        await stream.chunks.aclose()
        await (await adapter.stream(a_call(_url(server)))).chunks.aclose()
        assert len(server.peers) == 1, "the connection was given back"


async def test_a_stream_whose_response_goes_on_after_done_is_not_known_to_have_ended(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(flow.stream.flow(flow.push))
            await flow.peer.send(event("a", "stop") + b"data: [DONE]\n\n")
        assert flow.pushed == []
        assert [chunk.raw for chunk in flow.stream.take()] == [event("a", "stop")]
        assert not flow.stream.ended()
        with pytest.raises(StopAsyncIteration):
            await anext(flow.stream.chunks)

    await flowing(adapter, check)


async def test_events_before_one_beyond_the_limit_are_handed_on(adapter: RelayAdapter) -> None:
    async def check(flow: Flowing) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(flow.stream.flow(flow.push))
            await flow.peer.send(event("a") + b"data: " + b"x" * (MAX_EVENT_BYTES + 1), by=1 << 20)
        assert flow.raw == event("a")
        assert flow.stream.take() == []
        await flow.stream.flow(flow.push)
        with pytest.raises(UpstreamError) as caught:
            await anext(flow.stream.chunks)
        assert caught.value.kind is Kind.BAD_RESPONSE

    await flowing(adapter, check)
