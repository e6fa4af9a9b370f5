"""Telling at a glance that an event of a stream is like the one before it, but for its text.

Nearly all events of a chat stream are the same bytes around a piece of text. Once one of them has been parsed, the next
are compared with it: what begins and ends as it did, with text between that needs no escapes, is the same JSON object
with other text, and need not be parsed to know it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gateway.types import JsonObject

_PLAIN_TEXT: Final = re.compile(rb'[^"\\\x00-\x1f]*')
_KEYS: Final = (b'"content":"', b'"content": "')


class Shape:
    """The bytes around the text of an event that carries text and nothing else that matters."""

    __slots__ = ("_end", "_length", "_start")

    def __init__(self, start: bytes, end: bytes) -> None:
        self._start = start
        self._end = end
        self._length = len(start) + len(end)

    def alike(self, events: Iterable[bytes]) -> list[bytes]:
        """Return the first of `events` that are like this one; an empty list when the first is not."""
        start, end, length = self._start, self._end, self._length
        found: list[bytes] = []
        for event in events:
            if not (event.startswith(start) and event.endswith(end) and len(event) >= length):
                break
            found.append(event)
        first, last = len(start), -len(end)
        # Joined by what cannot be part of a longer character: each text must be sound by itself.
        text = b" ".join([event[first:last] for event in found])
        return found if _PLAIN_TEXT.fullmatch(text) and _is_utf8(text) else []


def shape_of(event: bytes, data: JsonObject) -> Shape | None:
    """Return the shape of an event, given the object that it holds; None where it holds more than text."""
    choices = data.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or data.get("usage") or "error" in data:
        return None
    choice = choices[0]
    if not isinstance(choice, dict) or choice.get("finish_reason"):
        return None
    delta = choice.get("delta")
    content = delta.get("content") if isinstance(delta, dict) else None
    if not isinstance(content, str) or not content:
        return None
    if not event.startswith(b"data:") or not event.endswith(b"\n\n") or event.count(b"\n") != 2 or b"\r" in event:
        return None
    text = content.encode(errors="surrogatepass")
    if not _PLAIN_TEXT.fullmatch(text):
        return None
    # An escaped quote would not be spelled so: what is found is a key and its whole value, and there is but one.
    for key in _KEYS:
        if event.count(key + text + b'"') == 1:
            start, end = event.split(key + text + b'"')
            return Shape(start + key, b'"' + end)
    return None


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
