"""The edge of the HTTP/1.1 client's parser, fuzzed: whatever comes in whatever pieces, a response is right or an error.

The bytes go straight into a connection, without a socket, so that thousands of cases take a second.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import http.client
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.wire.http1.connection import Connection
from gateway.wire.http1.errors import Disconnected, Http1Error, ProtocolError, ReadError
from gateway.wire.http1.response import Response

LIMIT = 2**30


class Wire(asyncio.Transport):
    """A transport that leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.paused = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Drop what is sent."""

    def get_write_buffer_size(self) -> int:
        """Nothing ever waits."""
        return 0

    def is_closing(self) -> bool:
        """Return whether the connection has closed it."""
        return self.closed

    def abort(self) -> None:
        """Note the end."""
        self.closed = True

    def pause_reading(self) -> None:
        """Note that enough has come for now."""
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        """Note that more may come."""
        assert self.paused
        self.paused = False


class Owner:
    """Counts what the connection tells whoever keeps it."""

    freed_count = 0

    def opened(self, connection: Connection) -> None:
        """Nothing to note."""

    def freed(self, connection: Connection, headers: Mapping[str, str]) -> None:
        """The connection may be used again."""
        assert connection.usable
        self.freed_count += 1

    def went_stale(self, connection: Connection) -> None:
        """There are no others."""

    def lost(self, connection: Connection) -> None:
        """Nothing to note."""


@dataclass
class Outcome:
    """What a reader gets out of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    error: Http1Error | None
    kept: bool
    """The connection may be used again."""


def receive(pieces: list[bytes], *, eof: bool = True, before: bytes = b"") -> Outcome:
    """Let a connection get these pieces, then maybe the end, and read the response. Never waits: all is there.

    `before` is a response that it has got already, with which it was kept.
    """
    return asyncio.run(_receive(pieces, eof, before))


async def _receive(pieces: list[bytes], eof: bool, before: bytes) -> Outcome:
    owner, wire = Owner(), Wire()
    connection = Connection("k", owner)
    connection.connection_made(wire)
    if before:
        connection.send(b"head", b"body")
        connection.data_received(before)
        assert owner.freed_count == 1
        owner.freed_count = 0
    response = connection.send(b"head", b"body")
    for piece in pieces:
        if wire.closed:
            break
        connection.data_received(piece)
        if wire.paused:
            # A real transport would hold the rest back; here it is enough that it may go on.
            connection.go_on_reading()
    if eof and not wire.closed:
        connection.eof_received()
    connection.connection_lost(None) if wire.closed else None
    body, error = await _read(response)
    return Outcome(response.status, response.headers, body, error, owner.freed_count == 1)


async def _read(response: Response) -> tuple[bytes, Http1Error | None]:
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(5):
            await response.begun()
            while part := await response.readany():
                parts.append(part)
    except Http1Error as error:
        return b"".join(parts), error
    return b"".join(parts), None


# What responses look like

tokens = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_!#$%&'*+.^`|~", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
FRAMING = {"content-length", "transfer-encoding", "content-encoding", "connection", "upgrade", "keep-alive"}
fields = st.lists(st.tuples(tokens.filter(lambda name: name.lower() not in FRAMING), values), max_size=6)
bodies = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=20).map(lambda data: data * 500),
    st.just(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    st.just(b"0\r\n\r\n"),
)
statuses = st.integers(200, 599).filter(lambda status: status not in (204, 304))


@dataclass
class Sent:
    """A sound response: its bytes and what it says."""

    wire: bytes
    head_size: int
    framing: str
    status: int
    headers: dict[str, str]
    body: bytes
    coded: bool


@st.composite
def responses(draw: st.DrawFn) -> Sent:
    """Draw a response of any framing, content coding, number of informational ones before it."""
    status, body = draw(statuses), draw(bodies)
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    own = draw(fields)
    coding = draw(st.sampled_from([None, None, "gzip", "deflate"]))
    payload = {None: lambda data: data, "gzip": gzip.compress, "deflate": zlib.compress}[coding](body)
    lines = [f"{name}: {value}" for name, value in own]
    if coding:
        lines.append(f"Content-Encoding: {coding}")
    if framing == "length":
        lines.insert(draw(st.integers(0, len(lines))), f"Content-Length: {len(payload)}")
    elif framing == "chunked":
        lines.insert(draw(st.integers(0, len(lines))), "Transfer-Encoding: chunked")
    before = b"".join(
        b"HTTP/1.1 %d Wait\r\nlink: x\r\n\r\n" % draw(st.sampled_from([100, 102, 103]))
        for _ in range(draw(st.integers(0, 2)))
    )
    head = before + "\r\n".join([f"HTTP/1.1 {status} Some Words", *lines, "", ""]).encode("latin-1")
    wire = head + (_chunked(draw, payload) if framing == "chunked" else payload)
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        text = value.strip(" \t")
        headers[name.lower()] = f"{headers[name.lower()]}, {text}" if name.lower() in headers else text
    return Sent(wire, len(head), framing, status, headers, body, coding is not None)


def _chunked(draw: st.DrawFn, payload: bytes) -> bytes:
    cuts = sorted({0, len(payload), *draw(st.lists(st.integers(0, len(payload)), max_size=5))})
    wire = b""
    for start, end in pairwise(cuts):
        size = draw(st.sampled_from(["%x", "%X", "0%x"])) % (end - start)
        extension = draw(st.sampled_from(["", ";a=b", ';a="b c"']))
        wire += f"{size}{extension}\r\n".encode() + payload[start:end] + b"\r\n"
    return wire + b"0\r\n" + draw(st.sampled_from([b"", b"Expires: never\r\n"])) + b"\r\n"


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut data at these places, each taken modulo its length."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


cuts = st.lists(st.integers(0, 2**16), max_size=12)
damage = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 3), st.binary(max_size=6)), max_size=4)
"""Places, how many bytes are dropped there, and what comes instead."""


def damaged(data: bytes, damages: list[tuple[int, int, bytes]]) -> bytes:
    """Return the data with these changes."""
    for place, dropped, inserted in damages:
        place %= len(data) + 1
        data = data[:place] + inserted + data[place + dropped :]
    return data


async def test_a_connection_that_is_lost_before_its_first_request_says_so() -> None:
    wire = Wire()
    connection = Connection("k", Owner())
    connection.connection_made(wire)
    wire.abort()
    response = connection.send(b"head", b"body")
    with pytest.raises(Disconnected) as caught:
        await response.begun()
    assert not caught.value.reused


async def test_an_answer_with_a_known_head_before_the_request_was_sent_costs_the_connection() -> None:
    class Behind(Wire):
        unsent = 0

        def get_write_buffer_size(self) -> int:
            return self.unsent

    owner, wire = Owner(), Behind()
    connection = Connection("k", owner)
    connection.connection_made(wire)
    for unsent in (0, 1):
        wire.unsent = unsent
        response = connection.send(b"head", b"body")
        connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        assert (await _read(response), response.status) == ((b"hi", None), 200)
    assert (owner.freed_count, wire.closed) == (1, True)


@settings(deadline=None)
@given(responses(), cuts)
def test_a_sound_response_is_the_same_in_whatever_pieces_it_comes(sent: Sent, cuts: list[int]) -> None:
    outcome = receive(pieces_of(sent.wire, cuts), eof=sent.framing == "close")
    assert (outcome.error, outcome.status, outcome.body) == (None, sent.status, sent.body)
    assert outcome.headers == sent.headers
    assert outcome.kept == (sent.framing != "close")


@settings(max_examples=20, deadline=None)
@given(responses())
def test_a_sound_response_may_come_byte_by_byte(sent: Sent) -> None:
    outcome = receive([sent.wire[n : n + 1] for n in range(len(sent.wire))], eof=sent.framing == "close")
    assert (outcome.error, outcome.body) == (None, sent.body)


@settings(max_examples=300, deadline=None)
@given(fields, fields, st.tuples(st.binary(max_size=50), st.binary(max_size=50)), damage)
def test_a_head_means_the_same_on_a_connection_that_knows_it(
    first: list[tuple[str, str]],
    last: list[tuple[str, str]],
    bodies: tuple[bytes, bytes],
    damages: list[tuple[int, int, bytes]],
) -> None:
    start, end = ("".join(f"{name}: {value}\r\n" for name, value in some).encode("latin-1") for some in (first, last))
    before, sent = (
        b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n%s\r\n%s" % (start, len(body), end, body) for body in bodies
    )
    for data in filter(None, (sent, damaged(sent, damages))):
        alone, after = receive([data]), receive([data], before=before)
        assert dataclasses.replace(alone, error=None) == dataclasses.replace(after, error=None)
        assert type(alone.error) is type(after.error)


@settings(deadline=None)
@given(responses(), cuts, st.integers(0, 2**16))
def test_a_response_that_breaks_off_never_looks_whole(sent: Sent, cuts: list[int], place: int) -> None:
    place %= len(sent.wire)
    outcome = receive(pieces_of(sent.wire[:place], cuts))
    assert not outcome.kept
    assert sent.body.startswith(outcome.body)
    if place < sent.head_size:
        assert isinstance(outcome.error, Disconnected)
        assert outcome.error.reused is False
    elif sent.framing == "close" and not sent.coded:
        assert outcome.error is None
    elif sent.framing == "close" and place == sent.head_size:
        assert outcome.error is None, "an empty body needs no content coding"
    else:
        assert isinstance(outcome.error, ReadError)


@settings(deadline=None)
@given(responses(), cuts, st.binary(min_size=1, max_size=40))
def test_what_comes_behind_a_response_neither_changes_it_nor_stays(sent: Sent, cuts: list[int], more: bytes) -> None:
    assume(sent.framing != "close")
    # Blank lines before a next response are nobody's, in the parser's eyes.
    assume(more.strip(b"\r\n"))
    *pieces, last = pieces_of(sent.wire, cuts)
    outcome = receive([*pieces, last + more])
    assert (outcome.error, outcome.body, outcome.kept) == (None, sent.body, False)


@settings(max_examples=400, deadline=None)
@given(
    responses(), cuts, st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 3), st.binary(max_size=6)), max_size=4)
)
def test_a_damaged_response_is_read_as_others_read_it_or_refused(
    sent: Sent, cuts: list[int], damages: list[tuple[int, int, bytes]]
) -> None:
    wire = damaged(sent.wire, damages)
    outcome = receive(pieces_of(wire, cuts))
    assert outcome.error is None or isinstance(outcome.error, Disconnected | ProtocolError | ReadError)
    if outcome.error is None and outcome.status != 101 and not sent.coded:
        assert (outcome.status, outcome.body) == _as_others_read(wire)


def _as_others_read(wire: bytes) -> tuple[int, bytes]:
    """Return status and body as the standard library reads them."""
    while True:
        response = http.client.HTTPResponse(cast(Any, _Socket(wire)), method="POST")
        try:
            response.begin()
        except http.client.BadStatusLine as error:
            # Blank lines before a response are nobody's: the parser skips them, the library takes them for its start.
            assume(str(error).strip())
            raise
        if response.status >= 200:
            return response.status, response.read()
        wire = wire[wire.index(b"\r\n\r\n") + 4 :].lstrip(b"\r\n")


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        """Return all there is."""
        return io.BytesIO(self._data)


WORDS = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.0 200\r\n\r\n", b"HTTP/1.1 101 S\r\n\r\n",
    b"HTTP/1.1 204 N\r\n\r\n", b"content-length: 5", b"content-length: ", b"transfer-encoding: chunked\r\n\r\n",
    b"content-encoding: gzip\r\n", b"connection: upgrade\r\nupgrade: h2c\r\n", b"a: b\r\n", b"\x1f\x8b\x08\x00",
    b"\r\n", b"\r\n\r\n", b"5", b"0", b":",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(WORDS)), max_size=12))
def test_garbage_is_an_error_or_a_response_but_never_a_wait(pieces: list[bytes]) -> None:
    outcome = receive([piece for piece in pieces if piece])
    assert outcome.error is None or isinstance(outcome.error, Disconnected | ProtocolError | ReadError)
    if outcome.error is None:
        assert 200 <= outcome.status <= 999 or outcome.status == 101


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]), damage, cuts)
def test_a_damaged_coding_is_an_error_or_the_same_body(
    body: bytes, coding: str, damages: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    """Both have checksums over the body, so what is found sound has to be the body."""
    coded = gzip.compress(body, mtime=0) if coding == "gzip" else zlib.compress(body)
    payload = damaged(coded, damages)
    # With another first byte, deflate has no frame and so no checksum.
    assume(payload if coding == "gzip" else payload[:1] == coded[:1])
    wire = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {len(payload)}\r\n\r\n".encode() + payload
    outcome = receive(pieces_of(wire, cuts), eof=False)
    assert outcome.body == body if outcome.error is None else isinstance(outcome.error, ReadError)
    assert outcome.kept == (outcome.error is None)
