"""Amazon's event-stream framing: whole in any pieces, and nothing that is broken is taken for a message."""

from __future__ import annotations

import warnings

import pytest

from gateway.wire.event_frames import MAX_FRAME_BYTES, BrokenFrame, Frame, FrameSplitter
from tests.event_frames import encode_frame, with_checksums

HEADERS = {":event-type": "contentBlockDelta", ":content-type": "application/json", ":message-type": "event"}
FRAMES = [Frame(HEADERS, b'{"a": 1}'), Frame({}, b""), Frame({"x": "\u00e9"}, b"\x00" * 5000)]
STREAM = b"".join(encode_frame(*frame) for frame in FRAMES)


def cut_all(splitter: FrameSplitter) -> list[Frame]:
    found = []
    while (frame := splitter.cut()) is not None:
        found.append(frame)
    return found


@pytest.mark.parametrize("size", [1, 3, 7, 100, len(STREAM)])
def test_messages_are_the_same_in_any_pieces(size: int) -> None:
    splitter = FrameSplitter()
    found: list[Frame] = []
    for start in range(0, len(STREAM), size):
        splitter.feed(STREAM[start : start + size])
        found += cut_all(splitter)
    assert found == FRAMES
    assert not splitter.is_torn


def test_botocore_reads_and_writes_the_same() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eventstream = pytest.importorskip("botocore.eventstream")
    buffer = eventstream.EventStreamBuffer()
    buffer.add_data(STREAM)
    assert [(message.headers, message.payload) for message in buffer] == [tuple(frame) for frame in FRAMES]


@pytest.mark.parametrize("place", range(len(encode_frame(HEADERS, b'{"a": 1}'))))
def test_one_wrong_byte_is_noticed(place: int) -> None:
    message = bytearray(encode_frame(HEADERS, b'{"a": 1}'))
    message[place] ^= 0x20
    splitter = FrameSplitter()
    splitter.feed(bytes(message))
    with pytest.raises(BrokenFrame):
        splitter.cut()


@pytest.mark.parametrize("left", [1, 4, 11, 12, 15, 40])
def test_a_message_without_its_end_is_torn(left: int) -> None:
    splitter = FrameSplitter()
    splitter.feed(encode_frame(HEADERS, b"{}")[:left])
    assert splitter.cut() is None
    assert splitter.is_torn


@pytest.mark.parametrize(
    ("total", "headers", "rest"),
    [
        (15, 0, b""),
        (MAX_FRAME_BYTES + 1, 0, b""),
        (20, 8, b"\x00" * 4),
        (200_000, 190_000, b""),
        (19, 3, b"\x05ab"),
        (20, 4, b"\x01a\x0b\x00"),
        (21, 5, b"\x01a\x07\x00\x09"),
        (20, 4, b"\x01\xff\x00\x00"),
    ],
)
def test_impossible_lengths_and_headers_are_broken(total: int, headers: int, rest: bytes) -> None:
    splitter = FrameSplitter()
    splitter.feed(with_checksums(total, headers, rest))
    with pytest.raises(BrokenFrame):
        splitter.cut()


def test_headers_of_other_types_are_passed_over() -> None:
    headers = (
        b"\x01a\x00" + b"\x01b\x02\x07" + b"\x01c\x08" + b"\x00" * 8 + b"\x01d\x06\x00\x02hi" + b"\x01e\x07\x00\x02ok"
    )
    splitter = FrameSplitter()
    splitter.feed(with_checksums(16 + len(headers), len(headers), headers))
    assert splitter.cut() == Frame({"e": "ok"}, b"")
