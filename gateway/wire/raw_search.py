"""Finds texts in a long value of a large body, which is not decoded: in steps, each shorter than a millisecond."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final, NamedTuple, TypeAlias

from gateway.wire.json import RawJson, json_in

WINDOW_BYTES: Final = 64 * 1024
"""Bytes that a step searches."""
MAX_FOUND: Final = 64
"""Occurrences of one name that are looked at."""
AROUND_BYTES: Final = 512
"""Bytes before and behind a text that may belong to its object."""
MAX_TEXT_BYTES: Final = 1024 * 1024
"""Longer texts behind a name are not read."""

_TEXT_FOLLOWS: Final = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*\[?[ \t\r\n]*"')


class Found(NamedTuple):
    """One occurrence of a text in quotes."""

    name: str
    place: int
    """Of its first quote, from the start of the value."""


Search: TypeAlias = Generator[None, None, list[Found]]


def find_names(value: RawJson, names: tuple[str, ...]) -> Search:
    """Return where a text that equals one of `names` is in the value, be it a field's name or a value itself.

    A text inside of another one has its quotes escaped, so it is not found; nor is one with escapes.
    """
    data = value.encoded
    found: list[Found] = []
    marks = {name: b'"%b"' % name.encode() for name in names}
    longest = max(map(len, marks.values()))
    for start in range(0, len(data), WINDOW_BYTES):
        window = bytes(data[start : start + WINDOW_BYTES + longest])
        for name, mark in marks.items():
            place = window.find(mark)
            while 0 <= place < WINDOW_BYTES and len(found) < MAX_FOUND * len(names):
                found.append(Found(name, start + place))
                place = window.find(mark, place + 1)
        yield
    return found


def text_behind(value: RawJson, found: Found, *, most: int = MAX_TEXT_BYTES) -> str | None:
    """Return the text of the field that was found, or the first one of its list; None if there is none.

    Also None for a text with more than `most` bytes.
    """
    data = value.encoded
    begin = found.place + len(found.name) + 2
    follows = _TEXT_FOLLOWS.match(data, begin, begin + AROUND_BYTES)
    if follows is None:
        return None
    for size in (AROUND_BYTES, MAX_TEXT_BYTES) if most > AROUND_BYTES else (most,):
        text = bytes(data[follows.end() : follows.end() + size])
        end = text.find(b'"')
        if end >= 0:
            decoded = json_in(b'"%b"' % text[:end])
            return decoded if isinstance(decoded, str) else None
    return None


def object_around(value: RawJson, found: Found) -> bytes | None:
    """Return the small object without others in it that the text was found in; None if it is not such a one."""
    data = value.encoded
    start = max(0, found.place - AROUND_BYTES)
    near = bytes(data[start : found.place + AROUND_BYTES])
    begin = near.rfind(b"{", 0, found.place - start)
    end = near.find(b"}", found.place - start)
    return None if begin < 0 or end < 0 else near[begin : end + 1]
