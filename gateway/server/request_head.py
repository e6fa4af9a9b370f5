"""The heads of model requests as SDKs send them. They are kept: a client sends the same one each time.

Only what can be read in one way is taken: a POST of HTTP/1.1 whose body has one length and no coding, and that no web
page has sent. For anything else there is aiohttp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

MAX_BYTES: Final = 8 * 1024
"""A longer head is aiohttp's: it knows what is too long."""
MAX_KEPT: Final = 256
"""So many heads are kept. They may hold client keys, as the connections they came from do."""

_END: Final = b"\r\n\r\n"
_HEAD: Final = re.compile(rb"POST /[!-~]* HTTP/1\.1(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*)+")
"""A request line and fields as RFC 9112 has them, with nothing that one reader might take otherwise than another."""
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,15})(?=\r\n)")
_LEFT_TO_AIOHTTP: Final = frozenset(
    {"content-encoding", "content-length", "expect", "origin", "te", "trailer", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class Head:
    """A request's first line and header fields."""

    path: str
    headers: Mapping[str, str]
    """Lower-case names. Without the length of the body."""


class Heads:
    """Finds the head that a request begins with."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, int, int] | None:
        """Return the head at the start of `data`, its size and the body's in bytes; None for what is aiohttp's."""
        end = data.find(_END, 0, MAX_BYTES)
        if end < 0:
            return None
        length = _LENGTH.search(data, 0, end + 2)
        if length is None:
            return None
        # Two requests with bodies of other sizes have one head.
        start, stop = length.span()
        text = data[:start] + data[stop:end]
        head = self._kept.get(text)
        if head is None:
            head = read_head(text)
            if head is None:
                return None
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[text] = head
        return head, end + len(_END), int(length[1])


def read_head(text: bytes) -> Head | None:
    """Read a head without its `content-length` and its last line's end; return None for one that is aiohttp's."""
    if not _HEAD.fullmatch(text):
        return None
    first, *lines = text.decode("utf-8", "surrogateescape").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip(" \t")
    plain = (
        len(headers) == len(lines)
        and "host" in headers
        and _LEFT_TO_AIOHTTP.isdisjoint(headers)
        and headers.get("connection", "keep-alive").lower() == "keep-alive"
    )
    return Head(first.split(" ")[1], MappingProxyType(headers)) if plain else None
