"""Recognises, without parsing, events of a stream that differ from an earlier one in their text only.

Nearly all events of a chat stream are the same bytes around a piece of text. Once one has been parsed, later ones are
compared with it: an event with the same start and end around valid JSON string text is the same object with other text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from gateway.wire.json import Json, JsonObject

_PLAIN_TEXT: Final = re.compile(rb'[^"\\\x00-\x1f]*')
_RUN: Final = re.compile(
    rb'([^\x00]*)\x00([^\x00]*)\x00((?:\1[^"\\\x00-\x1f]*+(?:\\["\\/bfnrt][^"\\\x00-\x1f]*+)*\2)*)'
)
"""Matches start, NUL, end, NUL, then events with this start and end whose text has short escapes only.

One pattern serves all shapes, because compiling one takes longer than a stream.
"""
_ODD_BYTE: Final = re.compile(rb"[\\\x00-\x1f]")
_WINDOW_BYTES: Final = 32 * 1024
"""Bytes given to the pattern at once, so that long data behind a short run is not copied each time."""
LoneText: TypeAlias = Callable[[JsonObject], tuple[str, Json]]
"""Returns the name of the text field in an event's choice, and the text."""


class Shape:
    """The bytes around the text of an event that carries text only."""

    __slots__ = ("_end", "_pattern_head", "_start")

    def __init__(self, start: bytes, end: bytes) -> None:
        """`start` ends with the quote before the text, `end` begins with the quote behind it. Neither contains NUL."""
        self._start = start
        self._end = end
        self._pattern_head = start + b"\0" + end + b"\0"

    def measure(self, data: bytes, place: int) -> int:
        """Return the number of bytes of `data`, from `place` on, that are events of this shape. It may miss some."""
        start, end = self._start, self._end
        if not data.startswith(start, place):
            return 0
        # The usual single event without escapes is found faster without the pattern.
        text_at = place + len(start)
        quote_at = data.find(b'"', text_at)
        event_end = quote_at + len(end)
        if (
            quote_at >= 0
            and not data.startswith(start, event_end)
            and data.startswith(end, quote_at)
            and not _ODD_BYTE.search(data, text_at, quote_at)
        ):
            run = data[place:event_end]
        else:
            found = _RUN.match(self._pattern_head + data[place : place + _WINDOW_BYTES])
            assert found is not None, "the pattern matches at least no events"
            run = found[3]
        return len(run) if _is_utf8(run) else 0


def shape_of(event: bytes, data: JsonObject, lone_text: LoneText) -> Shape | None:
    """Return the shape of an event with the decoded `data`; None if it carries more than text."""
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
    # A match cannot be inside a string, where quotes are escaped, so it is a key and its value. There must be just one.
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
