"""The HTTP/1.1 client against a server whose every byte is decided here: what it sends, reads and refuses."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.wire.http1.client import (
    BodyTooLarge,
    Disconnected,
    Http1Client,
    Http1Error,
    Origin,
    ProtocolError,
    ReadError,
    header_lines,
    request_head,
)
from gateway.wire.http1.connection import MAX_HEADER_BYTES, MAX_HEADERS, MAX_WAITING_BYTES, WRITE_BYTES
from tests.raw_http import OK, Peer, answering, closing, post, serving, until, whole

CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
LIMIT = 2**30
TRIES = 20


@pytest.fixture
async def client() -> AsyncIterator[Http1Client]:
    client = Http1Client()
    yield client
    await client.close()


# What is sent


async def test_a_request_is_its_head_its_length_and_its_body(client: Http1Client) -> None:
    async with serving(answering(whole(b"hi"))) as server:
        head = request_head("POST", "/v1/x?y=1", {"host": "h", "accept": "a/b"}) + header_lines({"x-request-id": "r1"})
        response = await client.request(server.origin, head, b'{"a":1}', connect_s=5.0)
        assert (response.status, await response.read(LIMIT)) == (200, b"hi")
    assert server.requests == [
        b'POST /v1/x?y=1 HTTP/1.1\r\nhost: h\r\naccept: a/b\r\nx-request-id: r1\r\ncontent-length: 7\r\n\r\n{"a":1}'
    ]


@pytest.mark.parametrize("size", [0, WRITE_BYTES, WRITE_BYTES + 1, 5_000_000])
async def test_a_body_of_any_size_arrives_whole(client: Http1Client, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with serving(answering(whole(b"hi"))) as server:
        for _ in range(2):
            assert await (await post(client, server, body)).read(LIMIT) == b"hi"
    assert [request.partition(b"\r\n\r\n")[2] for request in server.requests] == [body] * 2
    assert len(server.peers) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\rb"), ("x", "a\nb"), ("x", "a\r\nhost: evil"), ("x", "a\0b"), ("x", "a\x1fb"), ("x", "a\x7fb"),
        ("x", "\ud800"), ("", "a"), ("x y", "a"), ("x:", "a"), ("x\r\ny", "a"), ("é", "a"),
        ("Content-Length", "5"), ("transfer-encoding", "chunked"), ("Connection", "close"), ("TE", "trailers"),
    ],
)  # fmt: skip
def test_header_fields_that_would_be_read_differently_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"header field|surrogates") as caught:
        header_lines({name: value})
    assert value not in str(caught.value) or len(value) < 6


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\nx: y", "/a\0", "/é"])
def test_request_targets_that_would_be_read_differently_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="request target"):
        request_head("POST", target, {})


def test_values_may_hold_tabs_and_any_letters() -> None:
    assert header_lines({"x-a": "a\tb é"}) == "x-a: a\tb é\r\n".encode()


async def test_a_server_that_does_not_read_holds_back_a_long_request(client: Http1Client) -> None:
    async def read_nothing(peer: Peer) -> None:
        await peer.head()
        await may_read.wait()
        await peer.reader.readexactly(50_000_000)
        await peer.send(whole(b"hi"))

    may_read = asyncio.Event()
    body = bytes(50_000_000)
    async with serving(read_nothing) as server, asyncio.TaskGroup() as group:
        running = group.create_task(post(client, server, body))
        await until(lambda: any(not connection._writable for connection in client._all))
        (connection,) = client._all
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() <= 2 * WRITE_BYTES
        may_read.set()
        assert await (await running).read(LIMIT) == b"hi"


@pytest.mark.parametrize("status", ["413 Content Too Large", "200 OK"])
async def test_an_answer_before_the_request_was_sent_counts_and_costs_the_connection(
    client: Http1Client, status: str
) -> None:
    async def answer_at_once(peer: Peer) -> None:
        await peer.head()
        await peer.send(whole(b"early", status=status))
        await leave.wait()

    leave = asyncio.Event()
    async with serving(answer_at_once) as server:
        for connections in (1, 2):
            response = await post(client, server, bytes(20_000_000))
            assert (response.status, await response.read(LIMIT)) == (int(status[:3]), b"early")
            assert len(server.peers) == connections
        leave.set()


async def test_headers_before_the_request_was_sent_do_not_stop_it(client: Http1Client) -> None:
    async def echo_size(peer: Peer) -> None:
        await peer.head()
        await peer.send(CHUNKED)
        body = await peer.reader.readexactly(10_000_000)
        await peer.send(b"%x\r\n%d\r\n0\r\n\r\n" % (len(str(len(body))), len(body)))
        await peer.left()

    async with serving(echo_size) as server:
        assert await (await post(client, server, bytes(10_000_000))).read(LIMIT) == b"10000000"


# What is read


@pytest.mark.parametrize("by", [None, 1, 3])
@pytest.mark.parametrize(
    ("answer", "status", "body", "kept"),
    [
        (whole(b"hello"), 200, b"hello", True),
        (whole(b""), 200, b"", True),
        (whole(b"no", status="503 Busy"), 503, b"no", True),
        (CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", 200, b"hello world", True),
        (CHUNKED + b"0\r\n\r\n", 200, b"", True),
        (CHUNKED + b"1;a=b\r\nx\r\n0;c\r\nX-Trailer: t\r\n\r\n", 200, b"x", True),
        (OK.replace(b"OK", b"") + b"Transfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, b"x", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + whole(b"hi"), 200, b"hi", True),
        (whole(b"hi", headers="connection: close\r\n"), 200, b"hi", False),
        (whole(b"hi").replace(b"1.1", b"1.0"), 200, b"hi", False),
        (whole(b"hi", headers="connection: keep-alive\r\n").replace(b"1.1", b"1.0"), 200, b"hi", True),
    ],
)
async def test_a_response_ends_where_its_framing_says(
    client: Http1Client, answer: bytes, status: int, body: bytes, kept: bool, by: int | None
) -> None:
    async with serving(answering(answer, by=by)) as server:
        for _ in range(2):
            response = await post(client, server)
            assert (response.status, await response.read(LIMIT), await response.readany()) == (status, body, b"")
            assert "link" not in response.headers
            assert "x-trailer" not in response.headers
            response.close()
        assert len(server.peers) == (1 if kept else 2)


@pytest.mark.parametrize("by", [None, 1])
async def test_a_response_without_framing_ends_with_its_connection(client: Http1Client, by: int | None) -> None:
    async with serving(closing(OK + b"\r\nhello", by=by)) as server:
        for connections in (1, 2):
            assert await (await post(client, server)).read(LIMIT) == b"hello"
            assert len(server.peers) == connections


async def test_switching_protocols_is_a_response_and_costs_the_connection(client: Http1Client) -> None:
    for fields in (b"", b"connection: upgrade\r\nupgrade: x\r\n"):
        async with serving(answering(b"HTTP/1.1 101 Switching\r\n" + fields + b"\r\nother words")) as server:
            for connections in (1, 2):
                response = await post(client, server)
                assert (response.status, await response.read(LIMIT)) == (101, b"")
                assert len(server.peers) == connections


async def test_headers_have_lower_names_and_repeated_ones_are_joined(client: Http1Client) -> None:
    fields = "X-One: 1 \t\r\nx-two:2\r\nX-TWO:\t3\r\nX-Empty:\r\nX-Wide: \xe9\r\n".encode("latin-1").decode("latin-1")
    answer = f"HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n".encode("latin-1")
    async with serving(answering(answer)) as server:
        headers = (await post(client, server)).headers
    assert headers == {"x-one": "1", "x-two": "2, 3", "x-empty": "", "x-wide": "\xe9", "content-length": "0"}


async def test_each_piece_is_there_as_it_comes(client: Http1Client) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"3\r\none\r\n")
        await go_on.wait()
        await peer.send(b"3\r\ntwo\r\n0\r\n\r\n")
        await peer.left()

    go_on = asyncio.Event()
    async with serving(handle) as server:
        response = await post(client, server)
        assert (await response.readany(), response.ended) == (b"one", False)
        go_on.set()
        assert (await response.readany(), await response.readany(), response.ended) == (b"two", b"", True)


async def test_a_slow_reader_holds_the_server_back(client: Http1Client) -> None:
    block = bytes(range(256)) * 400

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-length: %d\r\n\r\n" % (len(block) * 500))
        for _ in range(500):
            await peer.send(block)
        await peer.left()

    async with serving(handle) as server:
        response = await post(client, server)
        await until(lambda: response.waiting_bytes > MAX_WAITING_BYTES)
        for _ in range(100):
            await asyncio.sleep(0)
        assert response.waiting_bytes <= 3 * MAX_WAITING_BYTES
        size = 0
        while part := await response.readany():
            start = size % 256
            assert part == (block + block)[start : start + 256] * (len(part) // 256) + part[len(part) // 256 * 256 :]
            size += len(part)
        assert size == len(block) * 500


async def test_a_body_longer_than_wanted_is_cut_off(client: Http1Client) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-length: 1000\r\n\r\n" + b"x" * 101)
        await peer.left()

    async with serving(handle) as server:
        with pytest.raises(BodyTooLarge):
            await (await post(client, server)).read(100)
        await server.peers[0].gone.wait()


# What is refused

UNSOUND = {
    "no-http": b"this is not HTTP\r\n\r\n",
    "http-0.9": b"<html>hello</html>",
    "rtsp": b"RTSP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "version-2": b"HTTP/2.0 200 OK\r\n\r\n",
    "version-1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "status-99": b"HTTP/1.1 099 Hm\r\ncontent-length: 0\r\n\r\n",
    "status-word": b"HTTP/1.1 OK\r\n\r\n",
    "status-long": b"HTTP/1.1 2000 OK\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
    "bare-lf-in-headers": OK + b"a: b\ncontent-length: 2\r\n\r\nhi",
    "bare-cr-in-headers": OK + b"a: b\rcontent-length: 2\r\n\r\nhi",
    "nul-in-value": OK + b"a: b\0c\r\ncontent-length: 2\r\n\r\nhi",
    "control-in-value": OK + b"a: b\x01c\r\ncontent-length: 2\r\n\r\nhi",
    "space-before-colon": OK + b"content-length : 2\r\n\r\nhi",
    "folded-value": OK + b"a: b\r\n c\r\ncontent-length: 2\r\n\r\nhi",
    "no-colon": OK + b"content-length 2\r\n\r\nhi",
    "no-name": OK + b": 2\r\n\r\nhi",
    "length-and-chunked": OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-and-length": OK + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two-lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
    "two-same-lengths": OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nhi",
    "length-list": OK + b"content-length: 2, 3\r\n\r\nhi!",
    "length-sign": OK + b"content-length: +2\r\n\r\nhi",
    "length-negative": OK + b"content-length: -1\r\n\r\nhi",
    "length-hex": OK + b"content-length: 0x2\r\n\r\nhi",
    "length-empty": OK + b"content-length:\r\n\r\nhi",
    "length-huge": OK + b"content-length: 99999999999999999999\r\n\r\nhi",
    "coding-unknown": OK + b"transfer-encoding: gzip\r\n\r\nhi",
    "coding-list": OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked-twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-then-identity": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\nhi",
    "chunked-hidden": OK + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked-1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk-size-word": CHUNKED + b"zz\r\nhi\r\n0\r\n\r\n",
    "chunk-size-prefix": CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
    "chunk-size-sign": CHUNKED + b"+2\r\nhi\r\n0\r\n\r\n",
    "chunk-size-blank": CHUNKED + b"2 \r\nhi\r\n0\r\n\r\n",
    "chunk-size-empty": CHUNKED + b"\r\nhi\r\n0\r\n\r\n",
    "chunk-size-huge": CHUNKED + b"fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    "chunk-size-lf": CHUNKED + b"2\nhi\r\n0\r\n\r\n",
    "chunk-longer": CHUNKED + b"2\r\nhi!\r\n0\r\n\r\n",
    "content-coding-unknown": OK + b"content-encoding: br\r\ncontent-length: 2\r\n\r\nhi",
    "content-coding-list": OK + b"content-encoding: gzip, gzip\r\ncontent-length: 2\r\n\r\nhi",
    "headers-long": OK + b"a: " + b"x" * MAX_HEADER_BYTES + b"\r\ncontent-length: 2\r\n\r\nhi",
    "headers-many": OK + b"a: b\r\n" * MAX_HEADERS + b"content-length: 2\r\n\r\nhi",
    "informational-many": b"HTTP/1.1 102 Processing\r\n\r\n" * 3000 + whole(b"hi"),
}


@pytest.mark.parametrize("by", [None, 7])
@pytest.mark.parametrize("name", UNSOUND)
async def test_an_unsound_response_is_none_and_costs_its_connection(
    client: Http1Client, name: str, by: int | None
) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(UNSOUND[name], by=by if len(UNSOUND[name]) < 1000 else None)
        await peer.left()

    async with serving(handle) as server:
        with pytest.raises(ProtocolError):
            await (await post(client, server)).read(LIMIT)
        await server.peers[0].gone.wait()


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 ",
        OK + b"x",
        OK + b"a: ",
        b"HTTP/1.1 102 Processing\r\n\r\n" + OK + b"a:",
        CHUNKED + b"1;",
        CHUNKED + b"1\r\nx\r\n0\r\n",
        CHUNKED + b"1\r\nx\r\n0\r\na: ",
    ],
)
async def test_what_never_ends_around_a_body_is_cut_off(client: Http1Client, endless: bytes) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(endless)
        while True:
            await peer.send(b"a" * 1000)

    async with serving(handle) as server:
        with pytest.raises(ProtocolError):
            await (await post(client, server)).read(LIMIT)
        await server.peers[0].gone.wait()


async def test_many_small_chunks_are_no_offence(client: Http1Client) -> None:
    async with serving(answering(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")) as server:
        assert await (await post(client, server)).read(LIMIT) == b"x" * 50_000


async def test_a_refusal_counts_though_its_body_is_unsound(client: Http1Client) -> None:
    broken = b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\nzz"
    unknown = whole(b"??", status="503 Busy", headers="content-encoding: br\r\n")
    for answer in (broken, unknown):
        async with serving(answering(answer)) as server:
            response = await post(client, server)
            assert response.status == 503
            with pytest.raises(Http1Error):
                await response.read(LIMIT)


@pytest.mark.parametrize("more", [whole(b"evil"), b"x", b"\0", b"HTTP/1.1 200 OK\r\n"])
@pytest.mark.parametrize("answer", [whole(b"hi"), CHUNKED + b"2\r\nhi\r\n0\r\n\r\n", b"HTTP/1.1 204 None\r\n\r\n"])
async def test_what_comes_behind_a_response_is_never_another_one(
    client: Http1Client, answer: bytes, more: bytes
) -> None:
    async with serving(answering(answer + more)) as server:
        for connections in (1, 2):
            assert await (await post(client, server)).read(LIMIT) in (b"hi", b"")
            assert len(server.peers) == connections


# Breaks


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_break_before_the_headers_says_so(client: Http1Client, sent: bytes, reset: bool) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        if reset:
            peer.reset()

    async with serving(handle) as server:
        with pytest.raises(Disconnected) as caught:
            await post(client, server)
        assert caught.value.reused is False


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("sent", "reused"), [(b"", True), (b"HTTP", False)])
async def test_a_break_without_a_byte_on_a_used_connection_is_told_apart(
    client: Http1Client, sent: bytes, reused: bool, reset: bool
) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole(b"hi"))
        await peer.request()
        await peer.send(sent)
        if reset and not sent:
            peer.reset()

    async with serving(handle) as server:
        await (await post(client, server)).read(LIMIT)
        with pytest.raises(Disconnected) as caught:
            await post(client, server)
        assert (caught.value.reused, len(server.peers)) == (reused, 1)


async def test_where_one_connection_has_gone_stale_the_others_are_not_tried(client: Http1Client) -> None:
    """As after a break in the network: each of them would fail one more request."""

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole(b"hi"))
        await peer.request()
        peer.reset()

    async with serving(handle) as server:
        for response in await asyncio.gather(*(post(client, server) for _ in range(3))):
            await response.read(LIMIT)
        with pytest.raises(Disconnected):
            await post(client, server)
        assert await (await post(client, server)).read(LIMIT) == b"hi"
        assert len(server.peers) == 4


async def test_after_a_stale_connection_the_next_one_is_new_even_if_others_became_free(client: Http1Client) -> None:
    """As llama.cpp's server does: it closes each connection after its answer and does not say so."""

    async def handle(peer: Peer) -> None:
        await peer.request()
        if peer is server.peers[0]:
            await slow.wait()
        await peer.send(whole(b"hi"))
        await peer.request()
        peer.reset()

    slow = asyncio.Event()
    async with serving(handle) as server, asyncio.TaskGroup() as group:
        waiting = group.create_task(post(client, server))
        await until(lambda: len(server.requests) == 1)
        await (await post(client, server)).read(LIMIT)
        with pytest.raises(Disconnected):
            await post(client, server)
        slow.set()
        assert await (await waiting).read(LIMIT) == b"hi"
        assert await (await post(client, server)).read(LIMIT) == b"hi"
        assert len(server.peers) == 3


async def test_connections_opened_after_a_stale_one_are_kept(client: Http1Client) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole(b"hi"))
        await peer.request()
        if len(server.peers) == 1:
            peer.reset()
        await peer.send(whole(b"hi"))

    async with serving(handle) as server:
        await (await post(client, server)).read(LIMIT)
        with pytest.raises(Disconnected):
            await post(client, server)
        for _ in range(2):
            await (await post(client, server)).read(LIMIT)
        assert len(server.peers) == 2


async def test_a_refusal_sent_before_the_body_was_read_arrives(client: Http1Client) -> None:
    """The server resets the connection of a body that it does not read; a write then fails first, half of the time."""
    refusal = whole(b"too large", status="413 Payload Too Large", headers="connection: close\r\n")

    def refuse(listening: socket.socket) -> None:
        for _ in range(TRIES):
            with listening.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(refusal)

    body = bytes(5_000_000)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(2)
        origin = Origin("http", "127.0.0.1", listening.getsockname()[1])
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(refuse, listening))
            for _ in range(TRIES):
                response = await client.request(origin, request_head("POST", "/v1", {}), body, connect_s=5.0)
                assert (response.status, await response.read(LIMIT)) == (413, b"too large")
                await until(lambda: not client._all)


async def test_a_server_that_closes_within_the_body_without_a_word_is_no_answer(client: Http1Client) -> None:
    def close(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            connection.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(2)
        origin = Origin("http", "127.0.0.1", listening.getsockname()[1])
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(close, listening))
            with pytest.raises(Disconnected):
                await client.request(origin, request_head("POST", "/v1", {}), bytes(5_000_000), connect_s=5.0)


async def test_a_long_body_leaves_no_descriptor_behind(client: Http1Client) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    async with serving(answering(whole(b"hi"))) as server:
        await (await post(client, server)).read(LIMIT)
        before = open_files()
        for _ in range(3):
            await (await post(client, server, bytes(5_000_000))).read(LIMIT)
        assert (open_files(), len(server.peers)) == (before, 1)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        OK + b"content-length: 9\r\n\r\npart",
        CHUNKED + b"4\r\npart\r\n",
        CHUNKED + b"9\r\npart",
        CHUNKED + b"4\r\npart\r\n0\r\n",
        CHUNKED + b"4\r\npart\r\n0\r\na: b\r\n",
    ],
)
async def test_a_break_in_the_body_comes_after_what_was_sent(client: Http1Client, sent: bytes, reset: bool) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        await received.wait()
        if reset:
            peer.reset()

    received = asyncio.Event()
    async with serving(handle) as server:
        response = await post(client, server)
        assert await response.readany() == b"part"
        received.set()
        for _ in range(2):
            with pytest.raises(ReadError):
                await response.readany()
        assert not response.ended


async def test_a_reset_is_no_end_of_a_body_without_framing(client: Http1Client) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"\r\npart")
        await received.wait()
        peer.reset()

    received = asyncio.Event()
    async with serving(handle) as server:
        response = await post(client, server)
        assert await response.readany() == b"part"
        received.set()
        with pytest.raises(ReadError):
            await response.readany()


def test_the_authority_of_an_address_has_brackets() -> None:
    assert Origin("http", "::1", 80).authority == "[::1]:80"
