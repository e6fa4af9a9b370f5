"""Commands as Redis reads them, and its answers in whichever pieces they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.state.resp import Answer, Failure, Reader, packed

ANSWERS: list[tuple[bytes, Answer]] = [
    (b"+PONG\r\n", b"PONG"),
    (b"+\r\n", b""),
    (b":-12\r\n", -12),
    (b"$-1\r\n", None),
    (b"$0\r\n\r\n", b""),
    (b"$5\r\na\r\n$1\r\n", b"a\r\n$1"),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n$1\r\na\r\n:1\r\n*1\r\n$-1\r\n", [b"a", 1, [None]]),
    (b"-NOSCRIPT No matching script.\r\n", Failure("NOSCRIPT No matching script.")),
    (b"*2\r\n-WRONGTYPE no\r\n+OK\r\n", [Failure("WRONGTYPE no"), b"OK"]),
]


def test_a_command_is_a_list_of_its_arguments() -> None:
    assert packed(("SET", "kö", b"\x00\r\n", 2, 0.5)) == (
        b"*5\r\n$3\r\nSET\r\n$3\r\nk\xc3\xb6\r\n$3\r\n\x00\r\n\r\n$1\r\n2\r\n$3\r\n0.5\r\n"
    )


@pytest.mark.parametrize(("data", "answer"), ANSWERS)
def test_an_answer_whole(data: bytes, answer: Answer) -> None:
    assert Reader().feed(data) == [answer]


@given(st.lists(st.sampled_from(ANSWERS)), st.lists(st.integers(1, 9)))
def test_answers_in_pieces_are_the_same(rows: list[tuple[bytes, Answer]], sizes: list[int]) -> None:
    data, reader = b"".join(row[0] for row in rows), Reader()
    found: list[Answer] = []
    for size in sizes:
        found += reader.feed(data[:size])
        data = data[size:]
    assert found + reader.feed(data) == [row[1] for row in rows]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b":\r\n", b"*1\r\n" * 9 + b":1\r\n"])
def test_what_is_no_answer_of_redis(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no answer|invalid literal"):
        Reader().feed(data)
