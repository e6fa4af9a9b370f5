"""Heads known again: the same bytes but for the length, or not at all."""

from __future__ import annotations

import pytest

from gateway.wire.http1.known_heads import KnownHead, known_head

HEADERS = {"date": "Wed, 25 Nov 2026 13:18:17 GMT", "content-length": "2", "x-a": "b"}
HEAD = b"HTTP/1.1 200 OK\r\nDate: Wed, 25 Nov 2026 13:18:17 GMT\r\nContent-Length: %s\r\nX-A: b\r\n\r\n"


def known() -> KnownHead:
    """Return the head that the cases are like."""
    head = known_head(HEAD % b"2" + b"hi", HEADERS)
    assert head is not None
    return head


@pytest.mark.parametrize("body", [b"", b"hi", b"x" * 1000, b"\r\n\r\n"])
def test_the_same_head_may_have_a_body_of_another_length(body: bytes) -> None:
    headers = {**HEADERS, "content-length": str(len(body))}
    assert known().read(HEAD % str(len(body)).encode() + body) == (headers, body)


def test_a_length_is_right_or_left_to_the_parser() -> None:
    head = known()
    found = [head.read(HEAD % str(size).encode() + b"x" * size) for size in range(1200)]
    assert [size for size, read in enumerate(found) if read is None] == [9, 98, 99, 997, 998, 999]
    assert all(read is None or (read[0]["content-length"], len(read[1])) == (str(n), n) for n, read in enumerate(found))


def test_what_was_read_is_the_readers_own() -> None:
    head = known()
    first = head.read(HEAD % b"2" + b"hi")
    assert first is not None
    first[0]["x-a"] = "changed"
    assert head.read(HEAD % b"2" + b"hi") == (HEADERS, b"hi")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"H",
        HEAD % b"2",
        HEAD % b"2" + b"h",
        HEAD % b"2" + b"hi!",
        HEAD % b"" + b"hi",
        HEAD % b"+2" + b"hi",
        HEAD % b" 2" + b"hi",
        HEAD % b"2 " + b"hi",
        HEAD % b"1_0" + b"x" * 10,
        HEAD % "٢".encode() + b"hi",
        HEAD % (b"0" * 15 + b"2") + b"hi",
        HEAD % b"2\r\nX: y" + b"hi",
        (HEAD % b"2" + b"hi").replace(b"17 GMT", b"18 GMT"),
        (HEAD % b"2" + b"hi").replace(b"X-A: b", b"X-A: c"),
        (HEAD % b"2" + b"hi").replace(b"X-A: b", b"X-A: b\r\nTransfer-Encoding: chunked"),
        (HEAD % b"2" + b"hi").replace(b"200 OK", b"500 OK"),
    ],
)
def test_anything_else_is_the_parsers(data: bytes) -> None:
    assert known().read(data) is None


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"HTTP/1.1 429 No\r\ncontent-length: 2\r\n\r\nhi", {"content-length": "2"}),
        (b"HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", {"content-length": "2"}),
        (b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", {"content-length": "2"}),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            {"transfer-encoding": "chunked"},
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nhi", {"content-length": "2"}),
        (b"HTTP/1.1 200 OK\r\n\r\n\r\ncontent-length: 2\r\n\r\n", {}),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nhi",
            {"content-encoding": "gzip", "content-length": "2"},
        ),
    ],
)
def test_only_the_plainest_heads_are_kept(data: bytes, headers: dict[str, str]) -> None:
    assert known_head(data, headers) is None
