"""Content codings undone by the HTTP/1.1 client: in whatever pieces, never more at once than a step, never half."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest

from gateway.wire.http1.client import BodyTooLarge, Http1Client, ProtocolError, ReadError
from gateway.wire.http1.decoding import MAX_STEP_BYTES
from tests.raw_http import OK, Peer, answering, closing, post, serving, whole

LIMIT = 2**30


@pytest.fixture
async def client() -> AsyncIterator[Http1Client]:
    client = Http1Client()
    yield client
    await client.close()


def deflated(data: bytes, wbits: int) -> bytes:
    compressor = zlib.compressobj(wbits=wbits)
    return compressor.compress(data) + compressor.flush()


DATA = b"".join(b"%d," % number for number in range(20_000))
CODED = {
    "gzip": ("gzip", gzip.compress(DATA)),
    "x-gzip": ("X-GZip", gzip.compress(DATA)),
    "two-members": ("gzip", gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:])),
    "zlib": ("deflate", deflated(DATA, 15)),
    "raw": ("deflate", deflated(DATA, -15)),
    "identity": ("identity", DATA),
    # No codings, whatever their servers meant: HTTP clients ignore them.
    "none": ("none", DATA),
    "charset": ("UTF-8", DATA),
    "transfer": ("aws-chunked", DATA),
    "list-of-one": ("gzip, none", gzip.compress(DATA)),
    "list-of-none": ("none, identity", DATA),
}


@pytest.mark.parametrize("by", [None, 1000])
@pytest.mark.parametrize("name", CODED)
async def test_content_codings_are_undone(client: Http1Client, name: str, by: int | None) -> None:
    coding, body = CODED[name]
    answer = whole(body, headers=f"content-encoding: {coding}\r\n")
    async with serving(answering(answer, by=by)) as server:
        for _ in range(2):
            assert await (await post(client, server)).read(LIMIT) == DATA
        assert len(server.peers) == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(DATA)[:-1]),
        ("gzip", gzip.compress(DATA)[:500]),
        ("gzip", gzip.compress(DATA)[:3]),
        ("gzip", gzip.compress(DATA)[:-6] + b"abcdef"),
        ("gzip", gzip.compress(DATA) + b"more"),
        ("gzip", gzip.compress(b"") * 1000),
        ("gzip", DATA),
        ("deflate", deflated(DATA, 15)[:-1]),
        ("deflate", deflated(DATA, -15)[:-1]),
        ("deflate", deflated(DATA, 15) + b"more"),
    ],
)
async def test_a_broken_content_coding_is_no_body_and_costs_the_connection(
    client: Http1Client, coding: str, body: bytes, framing: str
) -> None:
    head = OK + f"content-encoding: {coding}\r\n".encode()
    answer = {
        "length": head + b"content-length: %d\r\n\r\n" % len(body) + body,
        "chunked": head + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
        "close": head + b"\r\n" + body,
    }[framing]
    handler = closing(answer) if framing == "close" else answering(answer)
    async with serving(handler) as server:
        response = await post(client, server)
        with pytest.raises(ReadError):
            await response.read(LIMIT)
        await server.peers[0].gone.wait()


@pytest.mark.parametrize("coding", ["br", "ZSTD", "compress", "gzip, br", "gzip, gzip"])
async def test_a_coding_that_was_not_asked_for_is_refused(client: Http1Client, coding: str) -> None:
    async with serving(answering(whole(b"??", headers=f"content-encoding: {coding}\r\n"))) as server:
        with pytest.raises(ProtocolError):
            await post(client, server)


async def test_an_empty_body_needs_no_content_coding(client: Http1Client) -> None:
    async with serving(answering(whole(b"", headers="content-encoding: gzip\r\n"))) as server:
        assert await (await post(client, server)).read(LIMIT) == b""


async def test_a_bomb_comes_out_in_small_pieces(client: Http1Client) -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    async with serving(answering(whole(bomb, headers="content-encoding: gzip\r\n"))) as server:
        response = await post(client, server)
        for _ in range(10):
            assert len(await response.readany()) <= MAX_STEP_BYTES
        response.close()
        with pytest.raises(BodyTooLarge):
            await (await post(client, server)).read(1_000_000)


async def test_cancelling_the_reading_of_a_bomb_closes_it(client: Http1Client) -> None:
    bomb = gzip.compress(bytes(50_000_000), 9)
    async with serving(answering(whole(bomb, headers="content-encoding: gzip\r\n"))) as server:
        response = await post(client, server)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(response.read(LIMIT))
            for _ in range(10):
                await asyncio.sleep(0)
            running.cancel()
        assert running.cancelled()
        await server.peers[0].gone.wait()


async def test_events_are_decoded_as_they_come(client: Http1Client) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
        compressor = zlib.compressobj(wbits=31)
        for event in (b"data: one\n\n", b"data: two\n\n"):
            piece = compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH)
            await peer.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
            await taken.wait()
        await peer.left()

    taken = asyncio.Event()
    async with serving(handle) as server:
        response = await post(client, server)
        assert await response.readany() == b"data: one\n\n"
        taken.set()
        assert await response.readany() == b"data: two\n\n"
        response.close()
