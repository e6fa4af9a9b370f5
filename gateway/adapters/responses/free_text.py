"""Reads the free text out of a function's arguments while they arrive: `{"input": "…"}`, in pieces."""

from __future__ import annotations

import json
import re
from typing import Final

from gateway.adapters.responses.asked import INPUT
from gateway.wire.json import Json

_HEAD: Final = re.compile(rf'\s*\{{\s*"{INPUT}"\s*:\s*"')
_MAX_HEAD_CHARS: Final = 64
"""Arguments that are longer and have not begun as they should are not read before the end."""
_WHOLE: Final = re.compile(
    r'(?:[^"\\]+|\\["\\/bfnrt]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})+"
)
"""Characters of a JSON text that can be decoded without the next: no cut escape, no half of a surrogate pair."""
_MAX_ESCAPE_CHARS: Final = 12
"""What is longer and cannot be decoded is no text of JSON."""


class FreeText:
    """The text so far, for its deltas. What cannot be read as such a text waits for the end."""

    __slots__ = ("_buffer", "_is_open", "_is_over", "_told")

    def __init__(self) -> None:
        self._buffer = ""
        """Arguments that are not decoded yet."""
        self._is_open = False
        """The text has begun."""
        self._is_over = False
        """The text's closing quote has come, or something that is no text."""
        self._told: list[str] = []

    def feed(self, arguments: str) -> str:
        """Return the text that the next piece of the arguments adds."""
        if self._is_over:
            return ""
        buffer = self._buffer + arguments
        if not self._is_open:
            head = _HEAD.match(buffer)
            if head is None:
                self._buffer = buffer
                self._is_over = len(buffer) > _MAX_HEAD_CHARS
                return ""
            self._is_open = True
            buffer = buffer[head.end() :]
        part = _WHOLE.match(buffer)
        text, position = "", 0
        if part is not None:
            text, position = part.group(), part.end()
            if "\\" in text:
                text = json.loads(f'"{text}"', strict=False)  # some models write line breaks as they are
            self._told.append(text)
        self._is_over = buffer.startswith('"', position) or len(buffer) - position > _MAX_ESCAPE_CHARS
        self._buffer = buffer[position:]
        return text

    def end(self, arguments: str, text: Json) -> tuple[str, str]:
        """Return the whole text, and what of it was not told. `text` is that of whole `arguments`, or these as such."""
        told = "".join(self._told)
        if self._is_open and text == arguments:
            return told, ""  # cut within the text
        whole = text if isinstance(text, str) else ""
        return whole, whole[len(told) :] if whole.startswith(told) else ""
