"""The splitter gives back exactly the bytes it was fed, cut after blank lines, however they were divided."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire import sse


def split(*pieces: bytes) -> list[bytes]:
    splitter = sse.Splitter()
    events = [event for piece in pieces for event in splitter.split(piece)]
    rest = splitter.flush()
    return events if rest is None else [*events, rest]


def divided(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


STREAMS = st.lists(
    st.sampled_from(
        [
            b"data: {}",
            b"data:x",
            b"data",
            b": hi",
            b"event: error",
            b"\n",
            b"\r\n",
            b"\r",
            b"\n\n",
            b"\xef\xbb\xbf",
            b"z",
        ]
    ),
    max_size=24,
).map(b"".join)


@settings(deadline=None)
@given(stream=STREAMS, cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=12))
def test_events_do_not_depend_on_how_the_stream_was_divided(stream: bytes, cuts: list[int]) -> None:
    assert split(*divided(stream, cuts)) == split(stream)


@settings(deadline=None)
@given(stream=STREAMS)
def test_one_byte_at_a_time_gives_the_same_events(stream: bytes) -> None:
    assert split(*(stream[n : n + 1] for n in range(len(stream)))) == split(stream)


@settings(deadline=None)
@given(stream=STREAMS | st.binary(max_size=200))
def test_the_events_joined_are_the_stream(stream: bytes) -> None:
    assert b"".join(split(stream)) == stream


@settings(deadline=None)
@given(stream=STREAMS)
def test_line_ends_do_not_change_where_events_end(stream: bytes) -> None:
    as_lf = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    as_crlf = as_lf.replace(b"\n", b"\r\n")
    as_cr = as_lf.replace(b"\n", b"\r")
    events = split(as_lf)
    assert [event.replace(b"\r\n", b"\n") for event in split(as_crlf)] == events
    assert [event.replace(b"\r", b"\n") for event in split(as_cr)] == events


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"", []),
        (b"data: a\n\ndata: b\n\n", [b"data: a\n\n", b"data: b\n\n"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"data: a\r\n\r\n", b"data: b\r\n\r\n"]),
        (b"data: a\r\rdata: b\r\r", [b"data: a\r\r", b"data: b\r\r"]),
        (b"data: a\n\r\ndata: b\r\n\n", [b"data: a\n\r\n", b"data: b\r\n\n"]),
        (b"data: a\ndata: b\n\n", [b"data: a\ndata: b\n\n"]),
        (b"data: a\r\ndata: b\r\n\r\n", [b"data: a\r\ndata: b\r\n\r\n"]),
        (b"\n\r\ndata: a\n\n", [b"\n", b"\r\n", b"data: a\n\n"]),
        (b"data: a\n\n\ndata: b\n\n", [b"data: a\n\n", b"\n", b"data: b\n\n"]),
        (b": hi\n\ndata: a", [b": hi\n\n", b"data: a"]),
        (b"data: a\n", [b"data: a\n"]),
    ],
)
def test_a_stream_is_cut_after_each_blank_line(stream: bytes, events: list[bytes]) -> None:
    assert split(stream) == events


def test_an_event_is_there_as_soon_as_its_last_byte_is() -> None:
    splitter = sse.Splitter()
    assert splitter.split(b"data: a\r\n\r") == []
    assert splitter.split(b"\n") == [b"data: a\r\n\r\n"]
    assert splitter.split(b"data: b\n") == []
    assert splitter.split(b"\n") == [b"data: b\n\n"]


def test_a_flush_leaves_the_splitter_empty() -> None:
    splitter = sse.Splitter()
    splitter.split(b"data: a")
    assert splitter.flush() == b"data: a"
    assert splitter.flush() is None
    assert splitter.split(b"data: b\n\n") == [b"data: b\n\n"]


def test_events_can_be_cut_one_by_one_and_in_runs() -> None:
    splitter = sse.Splitter()
    splitter.feed(b"data: a\n\ndata: b\n\ndata: c\n\nda")
    assert splitter.cut() == b"data: a\n\n"
    assert splitter.cut_run(lambda data, place: len(b"data: b\n\n")) == b"data: b\n\n"
    splitter.feed(b"ta: d\n\nd")
    assert splitter.cut_run(lambda data, place: 0) == b""
    assert splitter.cut() == b"data: c\n\n"
    assert splitter.cut() == b"data: d\n\n"
    assert splitter.cut() is None
    assert splitter.flush() == b"d"


@pytest.mark.parametrize("pieces", [[b"data: 12345\n\n"], [b"data: 1", b"2345"], [b"data: 1", b"2345\n\n"]])
def test_an_event_over_the_limit_is_refused(pieces: list[bytes]) -> None:
    splitter = sse.Splitter(limit=10)
    *before, last = pieces
    for piece in before:
        splitter.split(piece)
    with pytest.raises(sse.EventTooLarge, match="10 bytes"):
        splitter.split(last)


def test_the_limit_is_for_one_event_not_for_the_stream() -> None:
    splitter = sse.Splitter(limit=10)
    assert splitter.split(b"data: 12\n\n" * 50) == [b"data: 12\n\n"] * 50


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b'data:{"a":1}\n\n', b'{"a":1}'),
        (b'data: {"a":1}\r\n\r\n', b'{"a":1}'),
        (b'data: {"a":1}\r\r', b'{"a":1}'),
        (b"data:  x\n\n", b" x"),
        (b"data: [DONE]\n\n", sse.DONE),
        (b"data: [DONE]", sse.DONE),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\ndata:\n\n", b"a\n"),
        (b"data: a\nd", b"a"),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"event: error\ndata: a\nid: 7\n\n", b"a"),
        (b"event: error\ndata: a\n\n", b"a"),
        (b"event: error\ndata: a\rdata: b\n\n", b"a\nb"),
        (b"event: error\nid: 7\n\n", None),
        (b"event: error\ndata:a\n\n", b"a"),
        (b"data: a\n: a comment\n\n", b"a"),
        (b"\xef\xbb\xbfdata: a\n\n", b"a"),
        (b": comment\n\n", None),
        (b"\n", None),
        (b"database: a\n\n", None),
        (b"event: ping\n\n", None),
        (b'error: {"code": 500}\n\n', b'{"code": 500}'),
        (b"data: a\n  \t\n\n", b"a"),
        (b"retry: 10\nx-trace.id: 7\n\n", None),
    ],
)
def test_an_events_data_is_read(event: bytes, data: bytes | None) -> None:
    assert sse.event_data(event) == data


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (b'{"error": {"code": 500}}\n\n', b'{"error": {"code": 500}}'),
        (b'{\n  "error": "x"\n}\n\n', b'{\n  "error": "x"\n}'),
        (b'data: a\r\n{"error": 1}\r\n\r\n', b'{"error": 1}'),
        (b"Internal Server Error\n\n", b"Internal Server Error"),
        (b" data: a\n\n", b" data: a"),
    ],
)
def test_lines_that_are_no_fields_are_not_skipped(event: bytes, text: bytes) -> None:
    with pytest.raises(sse.StrayText) as caught:
        sse.event_data(event)
    assert caught.value.text == text


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (b"error: a\n\n", b"error"),
        (b"event: error\ndata: a\n\n", b"error"),
        (b"event: ping\rdata: a\n\n", b"ping"),
        (b"event: ping", b"ping"),
        (b"data: a\r\nevent:error\r\n\r\n", b"error"),
        (b"data: event: error\n\n", None),
        (b"data: a\n\n", None),
    ],
)
def test_an_events_name_is_read(event: bytes, name: bytes | None) -> None:
    assert sse.event_name(event) == name


@settings(deadline=None)
@given(data=st.binary(max_size=50).filter(lambda data: b"\n" not in data and b"\r" not in data))
def test_what_is_encoded_is_read_back(data: bytes) -> None:
    event = sse.encode(data)
    assert split(event) == [event]
    assert sse.event_data(event) == data
