"""Which heads are of the common form, and that they mean what aiohttp reads in them."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import HttpVersion11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.server.request_head import MAX_BYTES, MAX_KEPT, Head, Heads, read_head

LINE = b"POST /v1/chat/completions HTTP/1.1"
HOST = b"Host: localhost"


def request(*lines: bytes, body: bytes = b"{}") -> bytes:
    return b"\r\n".join((LINE, HOST, *lines, b"", body))


def test_a_head_is_found_with_its_size_and_that_of_the_body() -> None:
    data = request(b"Content-Type: application/json", b"Content-Length: 2", b"X-A:  b \t")
    head = Head("/v1/chat/completions", {"host": "localhost", "content-type": "application/json", "x-a": "b"})
    assert Heads().find(data) == (head, len(data) - 2, 2)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(request(b"Content-Length: 2")[:-4], id="not whole"),
        pytest.param(request(), id="no length"),
        pytest.param(request(b"Content-Length: 2", b"Content-Length: 2"), id="two lengths"),
        pytest.param(request(b"Content-Length: 2", b"content-length: 3"), id="two lengths that differ"),
        pytest.param(request(b"Content-Length: 2", b"CONTENT-LENGTH: 3"), id="two lengths, one in capitals"),
        pytest.param(request(b"Content-Length: +2"), id="a sign"),
        pytest.param(request(b"Content-Length: 2, 2"), id="a list of lengths"),
        pytest.param(request(b"Content-Length: 2x"), id="a length with a letter"),
        pytest.param(request(b"Content-Length:2"), id="no blank before the length"),
        pytest.param(request(b"Content-Length: 1234567890123456"), id="a length beyond all measure"),
        pytest.param(request(b"Content-Length: 2", b"Transfer-Encoding: chunked"), id="two framings"),
        pytest.param(request(b"Transfer-Encoding: chunked", b"Content-Length: 2"), id="two framings, turned round"),
        pytest.param(request(b"Content-Length: 2", b"Transfer-Encoding: identity"), id="another coding"),
        pytest.param(request(b"Content-Length: 2", b"Expect: 100-continue"), id="an expectation"),
        pytest.param(request(b"Content-Length: 2", b"Connection: close"), id="the last request"),
        pytest.param(request(b"Content-Length: 2", b"Connection: keep-alive, te"), id="a list of options"),
        pytest.param(request(b"Content-Length: 2", b"Connection: Upgrade", b"Upgrade: websocket"), id="an upgrade"),
        pytest.param(request(b"Content-Length: 2", b"Upgrade: h2c"), id="an upgrade without its option"),
        pytest.param(request(b"Content-Length: 2", b"Content-Encoding: gzip"), id="a compressed body"),
        pytest.param(request(b"Content-Length: 2", b"X: 1", b"x: 2"), id="a field twice"),
        pytest.param(request(b"X: a", b" Content-Length: 2"), id="a folded line"),
        pytest.param(request(b"Content-Length: 2", b" X: a"), id="a line folded behind the length"),
        pytest.param(request(b"Content-Length: 2", b"X y: a"), id="a blank in a name"),
        pytest.param(request(b"Content-Length: 2", b"X : a"), id="a blank behind a name"),
        pytest.param(request(b"Content-Length: 2", b"X: a\0b"), id="a control character"),
        pytest.param(request(b"Content-Length: 2", b"X: a\rb"), id="a lone carriage return"),
        pytest.param(request(b"Content-Length: 2", b"X: a\nTransfer-Encoding: chunked"), id="a lone line feed"),
        pytest.param(request(b"Content-Length: 2", b"X: " + b"a" * MAX_BYTES), id="too long"),
        pytest.param(request(b"Content-Length: 2").replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(request(b"Content-Length: 2").replace(b"HTTP/1.1", b"HTTP/2.0"), id="HTTP/2.0"),
        pytest.param(request(b"Content-Length: 2").replace(b"HTTP/1.1", b"RTSP/1.0"), id="another protocol"),
        pytest.param(request(b"Content-Length: 2").replace(b"POST", b"GET"), id="another method"),
        pytest.param(request(b"Content-Length: 2").replace(b"POST", b"post"), id="a method in small letters"),
        pytest.param(request(b"Content-Length: 2").replace(HOST, b"X: a"), id="no host"),
        pytest.param(b"\r\n" + request(b"Content-Length: 2"), id="a blank line first"),
        pytest.param(request(b"Content-Length: 2").replace(b"POST ", b"POST  "), id="two blanks"),
        pytest.param(request(b"Content-Length: 2").replace(b"Host: localhost\r\n", b"\r\n"), id="an early end"),
    ],
)
def test_what_is_not_of_the_common_form_is_left(data: bytes) -> None:
    heads = Heads()
    assert heads.find(data) is None
    assert heads.find(data) is None, "nor is it remembered as anything else"


def test_a_length_within_a_value_is_no_length() -> None:
    assert Heads().find(request(b"X: Content-Length: 2")) is None
    found = Heads().find(request(b"X: Content-Length: 9", b"Content-Length: 2"))
    assert found is not None
    assert (found[0].headers["x"], found[2]) == ("Content-Length: 9", 2)


def test_requests_that_differ_in_the_length_only_share_a_head_and_others_do_not() -> None:
    heads = Heads()
    found = [heads.find(request(b"Authorization: a", b"Content-Length: %d" % size)) for size in (1, 22)]
    other = heads.find(request(b"Authorization: b", b"Content-Length: 1"))
    assert found[0] is not None
    assert found[1] is not None
    assert other is not None
    assert found[0][0] is found[1][0]
    assert (found[0][2], found[1][2]) == (1, 22)
    assert (found[0][0].headers["authorization"], other[0].headers["authorization"]) == ("a", "b")


def test_the_head_of_before_is_known_again_with_any_length() -> None:
    before = Heads().find(request(b"Content-Length: 2", b"X: a"))
    assert before is not None
    heads = Heads()
    found = heads.find(request(b"Content-Length: 123456789012345", b"X: a"), before[0])
    assert found is not None
    assert found[0] is before[0]
    assert found[1:] == (before[1] + 14, 123456789012345)
    assert not heads._kept


def test_no_more_heads_are_kept_than_may_be() -> None:
    heads = Heads()
    for number in range(3 * MAX_KEPT):
        assert heads.find(request(b"X-Request-Id: %d" % number, b"Content-Length: 2")) is not None
    assert len(heads._kept) <= MAX_KEPT


def test_bytes_beyond_ascii_in_a_value_come_as_aiohttp_hands_them_on() -> None:
    head = read_head(LINE + b"\r\nHost: x\r\nX: gr\xc3\xbc\xdf")
    assert head is not None
    assert head.headers == {"host": "x", "x": "gr\u00fc\udcdf"}


# Whatever is taken here, aiohttp would have read as the very same request

FIELDS = st.sampled_from(
    [
        b"Authorization: Bearer sk-1",
        b"Content-Type: application/json; charset=utf-8",
        b"X-Empty:",
        b"X-Tabs:\t a \t",
        b"X-Bytes: gr\xc3\xbc\xdf",
        b"Connection: Keep-Alive",
        b"Connection: close",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 3",
        b"Content-Length : 3",
        b" Content-Length: 3",
        b"Expect: 100-continue",
        b"Upgrade: websocket",
        b"",
    ]
)
EDITS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 3),
        st.sampled_from(
            [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\x7f", b"\x80", b"/", b"1", b",", b"G"]
        ),
    ),
    max_size=3,
)


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for position, removed, inserted in edits:
        data = data[:position] + inserted + data[position + removed :]
    return data


@given(st.lists(FIELDS, max_size=4), st.integers(0, 4), EDITS, st.sampled_from([b"2", b"17", b"0", b"", b"2 "]))
@settings(max_examples=500, deadline=None)
def test_what_came_before_changes_nothing(
    fields: list[bytes], place: int, edits: list[tuple[int, int, bytes]], length: bytes
) -> None:
    before = Heads().find(request(*fields[:place], b"Content-Length: 2", *fields[place:]))
    data = edited(request(*fields[:place], b"Content-Length: " + length, *fields[place:]), edits)
    assert Heads().find(data, None if before is None else before[0]) == Heads().find(data)


@given(st.lists(FIELDS, max_size=4), st.integers(0, 4), EDITS)
@settings(max_examples=1000, deadline=None)
async def test_what_is_taken_is_what_aiohttp_reads(
    fields: list[bytes], place: int, edits: list[tuple[int, int, bytes]]
) -> None:
    data = edited(request(*fields[:place], b"Content-Length: 2", *fields[place:]), edits)
    found = Heads().find(data)
    if found is None:
        return
    head, size, length = found
    data += b"x" * (size + length - len(data))
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    messages, is_upgraded, _ = parser.feed_data(data[: size + length])
    ((message, payload),) = messages
    headers = {name.lower(): value for name, value in message.headers.items()}
    assert headers == {**head.headers, "content-length": headers["content-length"]}
    assert int(headers["content-length"]) == length
    assert (message.method, message.path, message.version) == ("POST", head.path, HttpVersion11)
    assert not any((message.should_close, message.upgrade, message.chunked, message.compression, is_upgraded))
    assert payload.is_eof()
    assert payload.read_nowait() == data[size : size + length]
