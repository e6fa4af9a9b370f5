"""Parses and caches heads of requests in the common form: a client's SDK sends the same head each time.

The common form is a POST of HTTP/1.1 with one `content-length`, no coding, no field twice and no `Origin`, so that no
two readers can understand it differently. aiohttp reads everything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

MAX_BYTES: Final = 8 * 1024
"""Longer heads are left to aiohttp."""
MAX_KEPT: Final = 256
"""Size of the cache. The heads in it may contain client keys."""

_END: Final = b"\r\n\r\n"
_HEAD: Final = re.compile(rb"POST /[!-~]* HTTP/1\.1(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*)+")
"""A request line and fields as in RFC 9112, sections 3 and 5, without line folding and control characters."""
_MAX_DIGITS: Final = 15
"""Of the length of a body."""
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,%d})(?=\r\n)" % _MAX_DIGITS)
_LEFT_TO_AIOHTTP: Final = frozenset(
    {"content-encoding", "content-length", "expect", "origin", "te", "trailer", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class Head:
    """A request's first line and header fields."""

    path: str
    headers: Mapping[str, str]
    """Lower-case names. Without the length of the body."""
    start: bytes = field(default=b"", compare=False)
    """Its bytes before that length."""
    rest: bytes = field(default=b"", compare=False)
    """Its bytes behind that length, the empty line included."""

    def found_in(self, data: bytes) -> tuple[Head, int, int] | None:
        """Return what `Heads.find` does if `data` begins with this head, whatever the length; else None."""
        if not data.startswith(self.start):
            return None
        begin, rest = len(self.start), self.rest
        end = data.find(b"\r", begin, begin + _MAX_DIGITS + 1)
        length = data[begin:end]
        if not length.isdigit() or not data.startswith(rest, end):
            return None
        return self, end + len(rest), int(length)


class Heads:
    """Finds the head at the start of a request, in the cache or by reading it."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Head] = {}

    def find(self, data: bytes, last: Head | None = None) -> tuple[Head, int, int] | None:
        """Return the head, its size and the body's in bytes; None if it is not whole or not of the common form.

        `last` is the head that came before on the connection: it takes the least time to know it again.
        """
        if last is not None and (found := last.found_in(data)) is not None:
            return found
        end = data.find(_END, 0, MAX_BYTES)
        if end < 0:
            return None
        length = _LENGTH.search(data, 0, end + 2)
        if length is None:
            return None
        # The key is the head without its length, so that requests of all sizes share an entry.
        start, stop = length.span()
        text = data[:start] + data[stop:end]
        head = self._kept.get(text)
        if head is None:
            head = read_head(text)
            if head is None:
                return None
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            head = self._kept[text] = replace(head, start=data[: length.start(1)], rest=data[stop:end] + _END)
        return head, end + len(_END), int(length[1])


def read_head(text: bytes) -> Head | None:
    """Read a head without `content-length` field and last line end; return None if it is not of the common form."""
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
