"""Recognises, without parsing, events of a stream that differ from an earlier one in their text only.

Nearly all events of a stream are the same bytes around a piece of text, and on some wires around a number or padding
too. Once one has been parsed, later ones are compared with it: an event with the same bytes around valid JSON strings
and numbers is the same object with other text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

import orjson

from gateway.wire.json import Json, JsonObject

_PLAIN_TEXT: Final = re.compile(rb'[^"\\\x00-\x1f]*')
_TEXT: Final = rb'[^"\\\x00-\x1f]*+(?:\\["\\/bfnrt][^"\\\x00-\x1f]*+)*'
"""Matches the inside of a JSON string that has short escapes only."""
_NUMBER: Final = rb"(?:0|[1-9][0-9]{0,15}+)"
_ODD_BYTE: Final = re.compile(rb"[\\\x00-\x1f]")
_WINDOW_BYTES: Final = 32 * 1024
"""Bytes given to the pattern at once, so that long data behind a short run is not copied each time."""
_MAX_HOLES: Final = 4
HOLE: Final = "\0"
"""The text of an event that `Pattern` fills. No other value behind it has this character."""
_WRITTEN_HOLE: Final = rb"\u0000"

Varying: TypeAlias = Callable[[JsonObject], Mapping[str, Json] | None]
"""Returns the fields in which events that carry text only differ, with their values; None for other events."""


@lru_cache(maxsize=2**_MAX_HOLES)
def _run_of(numbers: tuple[bool, ...]) -> re.Pattern[bytes]:
    """Return the pattern of runs whose holes are numbers or texts.

    It matches the parts around the holes, a NUL behind each, then events of these parts. One pattern serves all shapes
    with such holes, because compiling one takes longer than a stream.
    """
    parts = rb"([^\x00]*)\x00" * (len(numbers) + 1)
    event = b"\\1"
    for place, is_number in enumerate(numbers, 2):
        event += (_NUMBER if is_number else _TEXT) + b"\\%d" % place
    return re.compile(parts + b"((?:" + event + b")*)", re.DOTALL)


class Shape:
    """The bytes around the texts and numbers of an event that carries text only."""

    __slots__ = ("_first", "_holes", "_numbers", "_parts", "_pattern_head", "data", "names")

    def __init__(
        self, parts: list[bytes], numbers: tuple[bool, ...], names: tuple[str, ...] = (), data: JsonObject | None = None
    ) -> None:
        """`parts` are what stands around the holes, of which `numbers` tells whether each is a number or a text.

        A part begins with the quote behind a text, and ends with the quote before one. None contains NUL. `names` are
        the fields whose values are the holes, and `data` is the event that the shape was found in.
        """
        self.data: JsonObject = data or {}
        self.names = names
        self._parts = parts
        self._first = parts[0]
        self._holes = [
            (is_number, part[:1], part, len(part)) for is_number, part in zip(numbers, parts[1:], strict=True)
        ]
        self._numbers = numbers
        self._pattern_head = b"\0".join(parts) + b"\0"

    def measure(self, data: bytes, place: int) -> int:
        """Return the number of bytes of `data`, from `place` on, that are events of this shape. It may miss some."""
        first = self._first
        if not data.startswith(first, place):
            return 0
        # The usual single event without escapes is found faster without the pattern.
        at = place + len(first)
        for is_number, head, part, length in self._holes:
            end = data.find(head, at)
            if end < 0 or not data.startswith(part, end):
                break
            if not _is_number(data[at:end]) if is_number else _ODD_BYTE.search(data, at, end):
                break
            at = end + length
        else:
            if not data.startswith(first, at):
                run = data[place:at]
                return len(run) if _is_utf8(run) else 0
        found = _run_of(self._numbers).match(self._pattern_head + data[place : place + _WINDOW_BYTES])
        assert found is not None, "the pattern matches at least no events"
        run = found[len(self._numbers) + 2]
        return len(run) if _is_utf8(run) else 0

    def values(self, run: bytes, name: str) -> list[bytes]:
        """Return the values of one of the `names` in the events of a run as they are written, texts without quotes.

        No part is inside a value: each has quotes that would be escaped there, or the end of a line.
        """
        first, *between, last = self._parts
        found = run[len(first) : -len(last)].split(last + first)
        for part in between[: (place := self.names.index(name))]:
            found = [value.partition(part)[2] for value in found]
        if place < len(between):
            found = [value.partition(between[place])[0] for value in found]
        return found


class Pattern:
    """An encoded event whose text is still to be filled in."""

    __slots__ = ("_between", "_first", "_last")

    def __init__(self, event: bytes) -> None:
        """`event` has HOLE as a text."""
        self._first, _, self._last = event.rpartition(_WRITTEN_HOLE)
        self._between = self._last + self._first

    def filled(self, texts: list[bytes]) -> bytes:
        """Return an event for each of the texts, which are written as in a JSON string."""
        return self._first + self._between.join(texts) + self._last if texts else b""


class NumberedPattern:
    """The same where the events are numbered."""

    __slots__ = ("_between", "_first", "_last")

    def __init__(self, event: bytes) -> None:
        """`event` has HOLE as its number and as a text behind it, and nowhere else."""
        self._first, self._between, self._last = event.split(b'"' + _WRITTEN_HOLE + b'"')

    def filled(self, texts: list[bytes], number: int) -> bytes:
        """Return an event for each of the texts, the first with this number."""
        first, between, last = self._first, self._between, self._last
        return b"".join(
            [b'%b%d%b"%b"%b' % (first, place, between, text, last) for place, text in enumerate(texts, number)]
        )


def joined(texts: list[bytes]) -> str:
    """Return texts of runs, as they are written, as one."""
    text = orjson.loads(b'"%b"' % b"".join(texts))
    assert isinstance(text, str), "texts of runs are insides of strings"
    return text


def shape_of(event: bytes, data: JsonObject, varying: Varying) -> Shape | None:
    """Return the shape of an event with the decoded `data`; None if it carries more than text."""
    fields = varying(data)
    if not fields or len(fields) > _MAX_HOLES or "error" in data or data.get("usage"):
        return None
    lines = 3 if event.startswith(b"event: ") else 2
    begins = event.partition(b"\n")[2] if lines == 3 else event
    if not begins.startswith(b"data:") or event.count(b"\n") != lines:
        return None
    if event.find(b"\r") < 0:
        if not event.endswith(b"\n\n"):
            return None
    elif not event.endswith(b"\r\n\r\n") or not event.count(b"\r") == event.count(b"\r\n") == lines:
        return None  # Google's servers end lines so
    holes = []
    for name, value in fields.items():
        hole = _hole(event, name, value)
        if hole is None:
            return None
        holes.append((*hole, name))
    holes.sort()
    parts, at = [], 0
    for start, end, _, _ in holes:
        parts.append(event[at:start])
        at = end
    _, _, numbers, names = zip(*holes, strict=True)
    return Shape([*parts, event[at:]], numbers, names, data)


def _hole(event: bytes, name: str, value: Json) -> tuple[int, int, bool] | None:
    """Return where the value of a field begins and ends, and whether it is a number; None if that is not certain."""
    is_number = type(value) is int and value >= 0
    if is_number:
        written, ends = b"%d" % value, (b",", b"}")
    elif isinstance(value, str):
        text = value.encode(errors="surrogatepass")
        if not _PLAIN_TEXT.fullmatch(text):
            return None
        written, ends = b'"' + text + b'"', (b",", b"}")
    else:
        return None
    # A match cannot be inside a string, where quotes are escaped, so it is a key and its value. There must be just one.
    key = b'"' + name.encode() + b'":'
    if event.count(key) != 1:
        return None
    start = event.find(key) + len(key)
    if event.startswith(b" ", start):
        start += 1
    end = start + len(written)
    if not event.startswith(written, start) or not event.startswith(ends, end):
        return None
    return (start, end, True) if is_number else (start + 1, end - 1, False)


def _is_number(text: bytes) -> bool:
    return text.isdigit() and (len(text) == 1 or (text[0] != 0x30 and len(text) <= 16))


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
