"""Streams that are no server-sent events: Amazon's messages, and a JSON object in each line."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Final, Protocol

from gateway.adapters.events import Event
from gateway.policy.failures import UpstreamError, no_answer
from gateway.wire import sse
from gateway.wire.event_frames import BrokenFrame, Frame, FrameSplitter
from gateway.wire.http1 import client as http1
from gateway.wire.json import JsonObject, json_in

FRAMES: Final = "application/vnd.amazon.eventstream"
LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

_PIECE: Final = "PayloadPart"
"""SageMaker's messages: pieces of a model's own stream, cut anywhere.

Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_PayloadPart.html
"""
_AT_ONCE: Final = 512
"""Events that one read returns at most."""


class Cutter(Protocol):
    """Cuts bytes into events. Raises UpstreamError for what is none."""

    def feed(self, data: bytes) -> None:
        """Add `data`."""

    def end(self) -> None:
        """Take note that nothing follows."""

    def cut(self) -> Event | None:
        """Return the next event; None until more is fed."""


class CutStream:
    """The events of one response, as a cutter finds them."""

    def __init__(self, response: http1.Response, headers: Mapping[str, str], cutter: Cutter) -> None:
        self.headers = headers
        self._response = response
        self._cutter = cutter
        self._is_over = False
        self._error: UpstreamError | None = None
        """The failure to raise after the events of the last `read`."""

    async def read(self) -> list[Event]:
        """Return the events that have come; wait if there are none. Raises UpstreamError, after all earlier events."""
        events: list[Event] = []
        is_sound = False
        try:
            if self._error is not None:
                raise self._error
            while True:
                while len(events) < _AT_ONCE and (event := self._cutter.cut()) is not None:
                    events.append(event)
                if events or self._is_over:
                    break
                data = await self._received()
                if data:
                    self._cutter.feed(data)
                else:
                    self._is_over = True
                    self._cutter.end()
            is_sound = bool(events)
        except UpstreamError as error:
            if not events:
                raise
            self._error = error
        finally:
            if not is_sound:
                self._response.close()
        return events

    async def aclose(self) -> None:
        """Close the response, read to its end or not."""
        self._response.close()

    async def _received(self) -> bytes:
        try:
            return await self._response.readany()
        except http1.Http1Error as error:
            raise no_answer() from error


class FrameCutter:
    """Cuts Amazon's messages, each with JSON."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter()

    def feed(self, data: bytes) -> None:
        """Add `data`."""
        self._splitter.feed(data)

    def end(self) -> None:
        """Raise UpstreamError if part of a message is left."""
        if self._splitter.is_torn:
            raise no_answer()

    def cut(self) -> Event | None:
        """Return the next message; one that tells a failure as its error object.

        Source: https://smithy.io/2.0/aws/amazon-eventstream.html
        """
        try:
            frame = self._splitter.cut()
        except BrokenFrame as error:
            raise no_answer() from error
        return None if frame is None else _message(frame)


def _message(frame: Frame) -> Event:
    headers, payload = frame
    value = json_in(payload)
    name = headers.get(":exception-type") or headers.get(":event-type", "")
    match headers.get(":message-type"):
        case "error":
            return Event(_failure(headers.get(":error-code", ""), headers.get(":error-message", "")))
        case "exception":
            return Event(_failure(name, _words(value)))
        case _ if name.endswith("Exception"):
            return Event(_failure(name, _words(value)))
    if name == "chunk" and isinstance(value, dict) and isinstance(encoded := value.get("bytes"), str):
        try:
            payload = binascii.a2b_base64(encoded)
        except binascii.Error as error:
            raise no_answer() from error
        value = json_in(payload)
    if name == _PIECE:
        return Event(None, payload, _PIECE.encode())
    if not isinstance(value, dict):
        raise no_answer()
    return Event(value, payload, name.encode())


def _words(value: object) -> str:
    message = value.get("message") or value.get("Message") if isinstance(value, dict) else None
    return message if isinstance(message, str) else ""


def _failure(code: str, message: str) -> JsonObject:
    return {"error": {"code": code or None, "type": code or None, "message": message or code}}


class LineCutter:
    """Cuts lines, each a JSON object."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        self._lines: list[bytes] = []
        """Whole lines that were not returned yet, the last one first."""
        self._blanks = 0

    def feed(self, data: bytes) -> None:
        """Add `data`."""
        self._rest += data
        end = self._rest.rfind(b"\n", self._searched)
        if end >= 0:
            self._lines = [*reversed(bytes(self._rest[:end]).split(b"\n")), *self._lines]
            del self._rest[: end + 1]
        self._searched = len(self._rest)
        if len(self._rest) > sse.MAX_EVENT_BYTES:
            raise no_answer()

    def end(self) -> None:
        """Take the rest for the last line."""
        self._lines.insert(0, bytes(self._rest))
        self._rest.clear()

    def cut(self) -> Event | None:
        """Return the object of the next line that has one."""
        while self._lines:
            line = self._lines.pop().strip()
            if line:
                self._blanks = 0
                value = json_in(line)
                if not isinstance(value, dict):
                    raise no_answer()
                return Event(value, line)
            self._blanks += 1
            if self._blanks > sse.MAX_SILENT_EVENTS:
                raise no_answer()
        return None
