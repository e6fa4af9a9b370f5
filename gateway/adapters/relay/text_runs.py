"""Telling at a glance that an event of a stream is like the one before it, but for its text.

Nearly all events of a chat stream are the same bytes around a piece of text. Once one of them has been parsed, the next
are compared with it: what begins and ends as it did, with a JSON string's inside between, is the same JSON object with
other text, and need not be parsed to know it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from gateway.wire.json import Json, JsonObject

_PLAIN_TEXT: Final = re.compile(rb'[^"\\\x00-\x1f]*')
_ODD_BYTE: Final = re.compile(rb"[\\\x00-\x1f]")
_ESCAPED_TEXT: Final = re.compile(rb'[^"\\\x00-\x1f]*+(?:\\["\\/bfnrt][^"\\\x00-\x1f]*+)*')
"""A text with short escapes only: what has others is parsed."""
_WINDOW_BYTES: Final = 32 * 1024
"""Events up to this size are looked at in one go, or else other work would wait."""
LoneText: TypeAlias = Callable[[JsonObject], tuple[str, Json]]
"""Returns the field of an event's choice that carries its text, and the text."""


class Shape:
    """The bytes around the text of an event that carries text and nothing else that matters."""

    __slots__ = ("_end", "_start")

    def __init__(self, start: bytes, end: bytes) -> None:
        """`start` ends with the quote before the text, `end` begins with the one behind it."""
        self._start = start
        self._end = end

    def measure(self, data: bytes, place: int) -> int:
        """Return how many bytes of `data`, from `place` on, are events like this one; not always all of them."""
        start, end = self._start, self._end
        at = place
        limit = place + _WINDOW_BYTES
        while at < limit and data.startswith(start, at):
            text_at = at + len(start)
            quote_at = data.find(b'"', text_at)
            if _ODD_BYTE.search(data, text_at, quote_at):
                found = _ESCAPED_TEXT.match(data, text_at)
                assert found is not None, "it matches nothing at least"
                quote_at = found.end()
            if quote_at < 0 or not data.startswith(end, quote_at):
                break
            at = quote_at + len(end)
        return at - place if at == place or _is_utf8(data[place:at]) else 0


def shape_of(event: bytes, data: JsonObject, lone_text: LoneText) -> Shape | None:
    """Return the shape of an event, given the object that it holds; None where it holds more than text."""
    choices = data.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or data.get("usage") or "error" in data:
        return None
    choice = choices[0]
    if not isinstance(choice, dict) or choice.get("finish_reason"):
        return None
    field, content = lone_text(choice)
    if not isinstance(content, str) or not content:
        return None
    if not event.startswith(b"data:") or not event.endswith(b"\n\n") or event.count(b"\n") != 2 or b"\r" in event:
        return None
    text = content.encode(errors="surrogatepass")
    if not _PLAIN_TEXT.fullmatch(text):
        return None
    # An escaped quote would not be spelled so: what is found is a key and its whole value, and there is but one.
    for separator in (b'":"', b'": "'):
        key = b'"' + field.encode() + separator
        around = event.split(key + text + b'"')
        if len(around) == 2:
            return Shape(around[0] + key, b'"' + around[1])
    return None


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
