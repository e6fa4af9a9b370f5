"""Reads a large JSON object by its top level: finds the fields and decodes the short ones, the rest stays bytes.

Decoding 32 MiB of small values takes seconds and a gigabyte, and nothing else runs meanwhile: the decoder does not let
go of the interpreter. Here each step is short, and a body costs about its own size.

Checked are UTF-8, the grammar of the top level (RFC 8259), and the short values. Of a long value only its end is found,
by its texts and the number of its brackets: what else is wrong with it (`[1 2]`, `[}`) is left to the upstream.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Generator
from mmap import mmap
from typing import Final, TypeAlias

from gateway.wire.json import Json, JsonObject, RawJson, RawSource, decode_json

WINDOW_BYTES: Final = 32 * 1024
"""Bytes that a step reads."""
FIRST_BYTES: Final = 2 * 1024
"""Bytes that are first looked at for the end of a text."""
SHORT_BYTES: Final = 4 * 1024
"""Values up to this size are decoded."""
LONG_TEXT_BYTES: Final = 64 * 1024
"""Texts beyond this size, such as images, are cheap to decode."""
MAX_FIELDS: Final = 1000
MAX_NAME_BYTES: Final = 1024

_BOM: Final = codecs.BOM_UTF8
_BLANK: Final = re.compile(rb"[ \t\n\r]*+")
_WORD: Final = re.compile(rb"[0-9A-Za-z.+-]*+")
_QUOTE: Final = b'"'
_ESCAPED_QUOTE: Final = b'\\"'
_STRUCTURE: Final = re.compile(rb'["\[\]{}]')
_OPENING: Final = b"[{"
_BETWEEN: Final = b" \t\n\r,:+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""What may come in a container outside of texts, besides brackets."""
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NESTS: Final = (b"[" * 64 + b"]" * 64, b"[" * 8 + b"]" * 8, b"[]")
"""Taken out of the brackets at once."""
_FEW: Final = 16
"""Brackets are halved where less than this part of them can be taken out at a time,"""
_SMALL: Final = 256
"""and where there are more than these."""

Steps: TypeAlias = Generator[None, None, JsonObject]


class NotJson(ValueError):
    """The data is no JSON object, or one beyond the limits above. `str()` says why and where, without the data."""


def read_top_level(
    data: bytes | mmap, *, max_parsed_bytes: int, window_bytes: int = WINDOW_BYTES, short_bytes: int = SHORT_BYTES
) -> Steps:
    """Return the object in steps of about a millisecond: short values decoded, long ones as RawJson.

    Of a field that comes twice the last one counts. `max_parsed_bytes` bounds what RawJson decodes later.
    Raises NotJson.
    """
    return _Reader(data, window_bytes, short_bytes).object(max_parsed_bytes)


class _Reader:
    """Reads one object. `place` is where the next byte is read."""

    __slots__ = ("data", "long_text_bytes", "place", "short_bytes", "window_bytes")

    def __init__(self, data: bytes | mmap, window_bytes: int, short_bytes: int) -> None:
        self.data = data
        self.window_bytes = window_bytes
        self.short_bytes = short_bytes
        self.place = len(_BOM) if data[: len(_BOM)] == _BOM else 0
        self.long_text_bytes = 0

    def object(self, max_parsed_bytes: int) -> Steps:
        yield from self._check_encoding()
        fields: JsonObject = {}
        spans: dict[str, tuple[int, int]] = {}
        yield from self._skip(_BLANK)
        if self._byte() != b"{":
            raise NotJson("the body must be a JSON object")
        self.place += 1
        yield from self._skip(_BLANK)
        more = self._byte() != b"}"
        count = 0
        while more:
            count += 1  # repeated ones too: each takes its time
            if count > MAX_FIELDS:
                raise NotJson(f"the body has more than {MAX_FIELDS} fields")
            yield
            name = yield from self._name()
            start = self.place
            yield from self._value()
            fields[name] = None
            if self.place - start <= self.short_bytes:
                spans.pop(name, None)
                fields[name] = self._decoded(start, self.place)
            else:
                spans[name] = start, self.place
            yield from self._skip(_BLANK)
            more = self._byte() == b","
            if more:
                self.place += 1
                yield from self._skip(_BLANK)
        if self._byte() != b"}":
            raise self._fault()
        self.place += 1
        yield from self._skip(_BLANK)
        if self.place != len(self.data):
            raise self._fault()
        source = RawSource(len(self.data) - self.long_text_bytes, max_parsed_bytes)
        for name, (start, end) in spans.items():
            fields[name] = RawJson(self.data, start, end, source)
        return fields

    def _check_encoding(self) -> Generator[None, None, None]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for start in range(0, len(self.data), self.window_bytes):
                window = self.data[start : start + self.window_bytes]
                if not window.isascii() or decoder.getstate()[0]:  # most windows are, which is seen at once
                    decoder.decode(window)
                yield
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            raise NotJson("the body is not JSON: it is not UTF-8") from None

    def _name(self) -> Generator[None, None, str]:
        start = self.place
        if self._byte() != b'"':
            raise self._fault()
        yield from self._text()
        if self.place - start > MAX_NAME_BYTES:
            raise NotJson(f"the body has a field whose name is longer than {MAX_NAME_BYTES} bytes")
        name: str = self._decoded(start, self.place)
        yield from self._skip(_BLANK)
        if self._byte() != b":":
            raise self._fault()
        self.place += 1
        yield from self._skip(_BLANK)
        return name

    def _value(self) -> Generator[None, None, None]:
        match self._byte():
            case b'"':
                yield from self._text()
            case b"[" | b"{":
                yield from self._container()
            case _:
                start = self.place
                yield from self._skip(_WORD)
                if not 0 < self.place - start <= self.short_bytes:
                    raise self._fault()

    def _text(self) -> Generator[None, None, None]:
        """Move from a text's first quote to behind its last one."""
        start = self.place
        self.place += 1
        size = min(FIRST_BYTES, self.window_bytes)  # most texts are short
        while True:
            window = self._window(size)
            end = window.find(_QUOTE)
            if end >= 0:
                break
            self.place += len(window)
            if size == self.window_bytes:
                yield
            size = self.window_bytes
        self.place += end + 1
        if self.place - start > LONG_TEXT_BYTES:
            self.long_text_bytes += self.place - start

    def _container(self) -> Generator[None, None, None]:
        """Move from an array's or object's first bracket to behind its last one. Windows begin outside of texts."""
        self.place += 1
        depth = 1
        while True:
            window = self._window(self.window_bytes)
            parts = window.split(_QUOTE)
            brackets = b"".join(parts[::2]).translate(_ONE_KIND, _BETWEEN)
            if brackets.strip(b"[]"):
                raise self._fault(what="unexpected data after byte")
            closes, opens = _unmatched(brackets)
            if closes >= depth:
                self.place += _end(window, depth)
                return
            depth += opens - closes
            if len(parts) % 2:
                self.place += len(window)
                yield
            else:
                self.place += window.rfind(_QUOTE)
                yield
                yield from self._text()

    def _window(self, size: int) -> bytes:
        """Return the next bytes, with `~` for escaped quotes: each quote in it is one."""
        window = self.data[self.place : self.place + size]
        if not window:
            raise self._fault()
        if b"\\" not in window:
            return window
        if (len(window) - len(window.rstrip(b"\\"))) % 2:  # the next window begins with this escape
            window = window[:-1]
            if not window:
                raise self._fault()
        if _ESCAPED_QUOTE not in window:
            return window
        return window.replace(b"\\\\", b"~~").replace(_ESCAPED_QUOTE, b"~~")

    def _skip(self, pattern: re.Pattern[bytes]) -> Generator[None, None, None]:
        """Move behind what `pattern` matches."""
        while True:
            limit = self.place + self.window_bytes
            found = pattern.match(self.data, self.place, limit)
            assert found is not None, "these patterns match nothing too"
            self.place = found.end()
            if self.place < limit:
                return
            yield

    def _byte(self) -> bytes:
        return self.data[self.place : self.place + 1]

    def _decoded(self, start: int, end: int) -> Json:
        try:
            return decode_json(self.data[start:end], finite=True, exact=True)
        except ValueError:
            raise self._fault(start) from None

    def _fault(self, place: int | None = None, *, what: str = "unexpected data at byte") -> NotJson:
        place = self.place if place is None else place
        return NotJson(f"the body is not JSON: {'it ends too early' if place >= len(self.data) else f'{what} {place}'}")


def _unmatched(brackets: bytes) -> tuple[int, int]:
    """Return the number of closing and of opening brackets that have no counterpart in `brackets`.

    Takes out pairs, from the inside outwards. Where few are taken out at a time, because they are nested deeply, the
    brackets are halved: the halves are mostly of one kind.
    """
    while True:
        shorter = brackets
        for nest in _NESTS:
            shorter = shorter.replace(nest, b"")
        taken = len(brackets) - len(shorter)
        brackets = shorter
        if not taken:
            closes = brackets.count(b"]")
            return closes, len(brackets) - closes
        if taken * _FEW < len(brackets) > _SMALL:
            break
    middle = len(brackets) // 2
    closes, opens = _unmatched(brackets[:middle])
    later_closes, later_opens = _unmatched(brackets[middle:])
    return closes + max(0, later_closes - opens), later_opens + max(0, opens - later_closes)


def _end(window: bytes, depth: int) -> int:
    """Return the place behind the bracket of `window` that closes the outermost of `depth` open containers."""
    in_text = False
    for found in _STRUCTURE.finditer(window):
        byte = found[0]
        if byte == _QUOTE:
            in_text = not in_text
        elif not in_text:
            depth += 1 if byte in _OPENING else -1
            if depth == 0:
                return found.end()
    raise AssertionError("only a window that closes it is searched")
