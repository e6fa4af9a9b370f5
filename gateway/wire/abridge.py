"""Decodes a long answer part by part as it arrives, without the middle of its long texts and lists of numbers.

Decoding 10 MB at once keeps the event loop for 10 to 60 ms and takes as much memory again. What is left out here is
checked instead, and what remains is small: texts of some kilobytes, and few numbers of a list.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from gateway.wire.json import Json, json_in

LONG_BYTES: Final = 8 * 1024
"""A stretch without quotes has at least this size to be shortened."""
_AROUND: Final = 64
"""Bytes at both ends of a stretch that stay, and within which a place to cut is looked for."""
_LONGEST_ESCAPE: Final = 6
_QUOTE: Final = b'"'
_NOT_IN_NUMBERS: Final = (b"[", b"]", b"{", b"}", b"\\", b"n", b"N", b",,")
"""Brackets, and what faulty servers write among numbers: `nan`, `inf`, `NaN`, nothing. `null` is kept with them."""
_NOT_IN_TEXTS: Final = (b"\n", b"\r", b"\t", b"\0")
"""The control characters that a faulty server may write into a text."""
_BEGINS_WITH_NUMBERS: Final = re.compile(rb"[\s:\[]*[0-9+.eE, -]{16}")
_CUT: Final = b"~"
"""Stands for what was left out of a text. Anywhere else it is not JSON, so a cut in the wrong place is noticed."""


class Abridged:
    """A JSON value that is shortened as it arrives."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def feed(self, part: bytes) -> None:
        """Take the next part. A few hundred kilobytes take less than a millisecond."""
        place = kept = 0
        size = len(part)
        is_ascii = part.isascii()
        while place < size:
            quote = part.rfind(_QUOTE, place, place + LONG_BYTES)
            if quote >= 0:  # no stretch before it is long
                place = quote + 1
                continue
            end = part.find(_QUOTE, place + LONG_BYTES)
            end = size if end < 0 else end
            if end - place >= LONG_BYTES:
                start, stop, mark = _middle(part, place, end, is_ascii=is_ascii)
                if start < stop:
                    self._kept += (part[kept:start], mark)
                    kept = stop
            place = end + 1
        self._kept.append(part[kept:])

    def value(self) -> Json:
        """Return the shortened value; None if it is not JSON, which the whole may be."""
        return json_in(b"".join(self._kept))


def _middle(part: bytes, start: int, end: int, *, is_ascii: bool) -> tuple[int, int, bytes]:
    """Return what can be left out of a stretch without quotes, and what takes its place; nothing if in doubt."""
    if _BEGINS_WITH_NUMBERS.match(part, start, end):
        close = part.rfind(b"]", start, end)
        first = part.find(b",", start, end) + 1
        last = part.rfind(b",", start, end if close < 0 else close) + 1
        if is_ascii and 0 < first < last and _has_none(part, first, last, _NOT_IN_NUMBERS):
            return first, last, b""
    else:
        first, last = _cut(part, start + _AROUND), _cut(part, end - 2 * _AROUND)
        if 0 < first < last and _is_text(part, first, last, is_ascii=is_ascii):
            return first, last, _CUT
    return 0, 0, b""


def _cut(part: bytes, place: int) -> int:
    """Return the first place from `place` on that is neither within an escape nor within a character; 0 if none is."""
    for cut in range(place, place + _AROUND):
        if part.find(b"\\", cut - _LONGEST_ESCAPE, cut) < 0 and part[cut] & 0xC0 != 0x80:
            return cut
    return 0


def _is_text(part: bytes, start: int, end: int, *, is_ascii: bool) -> bool:
    """Tell whether this is a piece of a JSON text."""
    if is_ascii and part.find(b"\\", start, end) < 0:  # such as base64: ten times as fast
        return _has_none(part, start, end, _NOT_IN_TEXTS)
    try:
        orjson.loads(b'"%b"' % part[start:end])
    except ValueError:
        return False
    return True


def _has_none(part: bytes, start: int, end: int, marks: tuple[bytes, ...]) -> bool:
    return all(part.find(mark, start, end) < 0 for mark in marks)
