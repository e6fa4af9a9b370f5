"""Amazon's messages and lines of JSON as events, and what is none of them."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from gateway.adapters.events import Event
from gateway.adapters.litellm.sources import Cutter, FrameCutter, LineCutter
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire import sse
from tests.event_frames import encode_frame


def frame(name: str, payload: object, kind: str = "event") -> bytes:
    names = {"event": ":event-type", "exception": ":exception-type"}
    return encode_frame({":message-type": kind, names[kind]: name}, json.dumps(payload).encode())


def cut_all(cutter: Cutter, data: bytes, *, size: int = 7, end: bool = True) -> list[Event]:
    events = []
    for start in range(0, len(data), size):
        cutter.feed(data[start : start + size])
        while (event := cutter.cut()) is not None:
            events.append(event)
    if end:
        cutter.end()
        while (event := cutter.cut()) is not None:
            events.append(event)
    return events


def test_messages_become_events() -> None:
    data = frame("messageStart", {"role": "assistant"}) + frame("contentBlockDelta", {"delta": {"text": "hi"}})
    events = cut_all(FrameCutter(), data)
    assert [(event.name, event.data) for event in events] == [
        (b"messageStart", {"role": "assistant"}),
        (b"contentBlockDelta", {"delta": {"text": "hi"}}),
    ]


def test_a_chunk_has_its_json_in_base64() -> None:
    inner = b64encode(b'{"completion": "hi"}').decode()
    [event] = cut_all(FrameCutter(), frame("chunk", {"bytes": inner}))
    assert (event.data, event.raw) == ({"completion": "hi"}, b'{"completion": "hi"}')


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (
            frame("throttlingException", {"message": "slow down"}, "exception"),
            {"code": "throttlingException", "type": "throttlingException", "message": "slow down"},
        ),
        (
            frame("modelStreamErrorException", {"message": "oh no"}),
            {"code": "modelStreamErrorException", "type": "modelStreamErrorException", "message": "oh no"},
        ),
        (
            encode_frame({":message-type": "error", ":error-code": "500", ":error-message": "oh no"}, b""),
            {"code": "500", "type": "500", "message": "oh no"},
        ),
    ],
)
def test_a_failure_becomes_an_error_object(data: bytes, error: dict[str, str]) -> None:
    [event] = cut_all(FrameCutter(), data)
    assert event.data == {"error": error}


@pytest.mark.parametrize(
    "data",
    [
        frame("x", {})[:-1],
        frame("x", {})[:-1] + b"!",
        frame("x", []),
        encode_frame({":message-type": "event", ":event-type": "x"}, b"{"),
        frame("chunk", {"bytes": "!"}),
        frame("chunk", {"bytes": b64encode(b"[]").decode()}),
    ],
)
def test_what_is_torn_or_no_json_object_is_a_bad_response(data: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        cut_all(FrameCutter(), data)
    assert caught.value.kind is Kind.BAD_RESPONSE


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_lines_become_events(size: int) -> None:
    data = b'{"a": 1}\n\n{"b": "x"}\r\n{"done": true}'
    assert [event.data for event in cut_all(LineCutter(), data, size=size)] == [{"a": 1}, {"b": "x"}, {"done": True}]


@pytest.mark.parametrize("data", [b"[]\n", b"{\n", b'{"a": 1', b"\n" * (sse.MAX_SILENT_EVENTS + 1)])
def test_lines_that_are_no_objects_are_a_bad_response(data: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        cut_all(LineCutter(), data, size=4096)
    assert caught.value.kind is Kind.BAD_RESPONSE


def test_a_line_has_a_limit() -> None:
    cutter = LineCutter()
    with pytest.raises(UpstreamError):
        cutter.feed(b"x" * (sse.MAX_EVENT_BYTES + 1))
