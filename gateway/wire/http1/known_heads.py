"""Recognises a response head that a server has sent before: most send the same one until their clock changes.

A head that the parser accepted once is valid again if its bytes are equal; only the length of the body may differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: ([0-9]{1,15})(?=\r\n)", re.IGNORECASE)


class KnownHead:
    """A head, split at the length of its body."""

    __slots__ = ("_headers", "_rest", "_size", "_start")

    def __init__(self, start: bytes, rest: bytes, headers: Mapping[str, str]) -> None:
        self._start = start
        self._rest = rest
        self._size = len(start) + len(rest)
        self._headers = headers

    def read(self, data: bytes) -> tuple[dict[str, str], bytes] | None:
        """Return headers and body if `data` is exactly this head and a whole body; else None."""
        size = len(data) - self._size
        digits = len(str(size))
        # Near a power of ten this can be one digit off; then the parser reads the response.
        length = str(size - digits)
        head = self._start + length.encode() + self._rest
        if len(length) != digits or not data.startswith(head):
            return None
        return {**self._headers, "content-length": length}, data[len(head) :]


def known_head(data: bytes, headers: Mapping[str, str]) -> KnownHead | None:
    """Return the head of `data`, one whole accepted response; None if it is unlikely to come again."""
    if not data.startswith(b"HTTP/1.1 200 ") or "content-encoding" in headers:
        return None
    end = data.find(_END) + len(_END)
    length = _LENGTH.search(data, 0, end)
    return None if length is None else KnownHead(data[: length.start(1)], data[length.end(1) : end], headers)
