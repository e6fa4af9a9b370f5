"""Server-sent events as bytes: splits a stream into whole events, reads an event's fields, writes events.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. Events keep the
exact bytes they came in, blank line included, so that they can be passed on as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

DONE: Final = b"[DONE]"
"""The data of the event that ends an OpenAI-wire stream."""

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""The longest event a splitter takes unless told otherwise."""

MAX_LINES: Final = 10_000
"""Most lines of one event."""
MAX_SILENT_EVENTS: Final = 10_000
"""Most events without data in a row, such as blank lines and comments. More are a flood: no upstream's keepalive."""
MAX_SILENT_BYTES: Final = 1024 * 1024
"""Most bytes of events without data in a row, and of blanks before a body."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
# Atomic groups, so that CR LF never counts as two line ends.
_BLANK_LINE: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
BOM: Final = b"\xef\xbb\xbf"
"""A byte order mark. It may precede the first event, and is no part of it."""
_DATA_FIELDS: Final = frozenset({b"data", b"error"})
"""`error: {…}` is how llama.cpp's server writes `event: error` and its data."""
_FIELD_NAME: Final = re.compile(rb"[A-Za-z][\w.-]*")


class StrayText(ValueError):
    """An event has lines that are neither comments nor fields. `text` has these lines.

    The grammar ignores them, but some servers that fail within a stream write their error like this.
    """

    def __init__(self, text: bytes) -> None:
        super().__init__("an event has lines that are no fields")
        self.text = text


class EventTooLarge(ValueError):
    """An event is longer than the splitter's limit, or has more than MAX_LINES lines."""


class Splitter:
    """Splits a stream, fed in any pieces, into events. The events joined are the stream.

    A blank line after no event is an event of its own. With bare CR line ends an event is returned once the next byte
    has come, which could be an LF.
    """

    __slots__ = ("_data", "_find_end", "_limit", "_place", "_rest", "_searched")

    def __init__(self, *, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._data = b""
        self._place = 0
        """Offset of the next event in `_data`."""
        self._rest = bytearray()
        """An incomplete event; `_data` is empty then."""
        self._searched = 0
        self._find_end = _end_of_lf_event
        """Replaced at the first CR."""

    def split(self, data: bytes) -> list[bytes]:
        """Add `data`; return the whole events. Raises EventTooLarge, after which the splitter must not be used."""
        self.feed(data)
        events: list[bytes] = []
        while (event := self.cut()) is not None:
            events.append(event)
        return events

    def feed(self, data: bytes) -> None:
        """Add `data`."""
        if data.find(b"\r") >= 0:
            self._find_end = _end_of_any_event
        if self._rest:
            # Appended in place, so that a long event in small pieces is not copied for each piece.
            self._rest += data
            if self._find_end(self._rest, 0, self._searched) < 0:
                self._searched = _searched(self._rest)
                return
            data = bytes(self._rest)
            self._rest.clear()
        self._data = self._data[self._place :] + data if self._place < len(self._data) else data
        self._place = 0

    def cut(self) -> bytes | None:
        """Return the next whole event; None until more is fed. Raises EventTooLarge."""
        data, start = self._data, self._place
        if start < len(data):
            end = self._find_end(data, start, start)
            if end > 0:
                self._check(end - start)
                self._place = end
                return data[start:end]
            self._rest += data[start:]
            self._searched = _searched(self._rest)
            self._data, self._place = b"", 0
        if self._rest:
            self._check(len(self._rest))
        return None

    def cut_run(self, measure: Callable[[bytes, int], int]) -> bytes:
        """Return several whole events. `measure(data, start)` returns their length in bytes."""
        data, start = self._data, self._place
        self._place = end = start + measure(data, start)
        return data[start:end]

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise EventTooLarge(f"an event is longer than {self._limit} bytes")

    def flush(self) -> bytes | None:
        """Return the rest at the end of the stream: an event that may lack its blank line, or None."""
        rest = self._data[self._place :] + self._rest
        self._data, self._place, self._searched = b"", 0, 0
        self._rest.clear()
        return rest or None


def _searched(rest: bytearray) -> int:
    """Return where to search next for an event's end: three of the at most four bytes may have come already."""
    return max(0, len(rest) - 3)


def _end_of_lf_event(buffer: bytes | bytearray, start: int, searched: int) -> int:
    """Return the end of the event that begins at `start`, or -1. For streams without any CR."""
    if buffer.startswith(b"\n", start):
        return start + 1
    found = buffer.find(b"\n\n", searched)
    return found + 2 if found >= 0 else -1


def _end_of_any_event(buffer: bytes | bytearray, start: int, searched: int) -> int:
    found = _LINE_END.match(buffer, start) or _BLANK_LINE.search(buffer, searched)
    if found is None:
        return -1
    end = found.end()
    undecided = end == len(buffer) and buffer[end - 1] == 0x0D
    return -1 if undecided else end


def event_data(event: bytes) -> bytes | None:
    """Return an event's data, lines joined by LF; None for an event or a comment without data.

    Raises StrayText and EventTooLarge.
    """
    one_line = event.endswith(b"\n\n") and event.find(b"\n") == len(event) - 2 and event.find(b"\r") < 0
    if one_line and event.startswith(b"data:"):
        return event[6:-2] if event[5] == 0x20 else event[5:-2]
    if event.startswith(b"event: ") and event.endswith(b"\n\n") and event.count(b"\n") == 3 and event.find(b"\r") < 0:
        start = event.find(b"\n") + 1
        if event.startswith(b"data: ", start):
            return event[start + 6 : -2]
    if len(event) > MAX_LINES and event.count(b"\n") + event.count(b"\r") > 2 * MAX_LINES:
        raise EventTooLarge(f"an event has more than {MAX_LINES} lines")
    values, strays = [], []
    for line in event.removeprefix(BOM).splitlines():
        name, _, value = line.partition(b":")
        if name in _DATA_FIELDS:
            values.append(value.removeprefix(b" "))
        elif name.strip() and not _FIELD_NAME.fullmatch(name):
            strays.append(line)
    if strays:
        raise StrayText(b"\n".join(strays))
    return b"\n".join(values) if values else None


def is_done(data: bytes) -> bool:
    """Tell whether an event's data ends the stream, with blanks around it or more behind it, as OpenAI's SDKs do."""
    return data.lstrip().startswith(DONE)


def event_name(event: bytes) -> bytes | None:
    """Return an event's `event` field, or `error` if it has a field of that name; else None."""
    if event.startswith(b"event: ") and (end := event.find(b"\n")) > 0 and event.find(b"\r", 0, end) < 0:
        return event[7:end]
    for line in event.removeprefix(BOM).splitlines():
        name, _, value = line.partition(b":")
        if name == b"event":
            return value.removeprefix(b" ")
        if name == b"error":
            return name
    return None


def encode(data: bytes, *, name: bytes | None = None) -> bytes:
    """Return an event with `data`, which must be a single line, such as JSON from orjson."""
    return b"data: " + data + b"\n\n" if name is None else b"event: " + name + b"\ndata: " + data + b"\n\n"
