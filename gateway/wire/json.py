"""Decodes and encodes JSON with orjson, and with the standard library what orjson refuses or alters.

That is: lone surrogates (JavaScript writes them for a cut emoji), NaN (sent by some Python servers), deep nesting, and
integers beyond 64 bits, which orjson converts to doubles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from mmap import mmap
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

_LARGE_BYTES: Final = 64 * 1024
"""Larger data is mostly long texts, so checking its values is faster than checking its bytes."""
_DIGITS: Final = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
_SHORTEST: Final = 19
"""Digits of the smallest integer beyond 64 bits."""
_BEYOND: Final = 2.0**63
_BEGINS_WITH_NUMBER: Final = re.compile(rb"\[[ \t\n\r]{0,64}[-0-9]")


def decode_json(data: bytes, *, finite: bool = False, exact: bool = False) -> Json:
    """Return the decoded value. Raises ValueError for invalid JSON.

    `finite` refuses NaN and numbers beyond a double, which would be encoded as null. `exact` keeps integers of any
    size, for values that are encoded again.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            value = json.loads(data)
            if finite:
                json.dumps(value, allow_nan=False)
        except (ValueError, RecursionError):
            raise error from None
    else:
        if exact and (len(data) > _LARGE_BYTES or has_many_digits(data)) and _has_great_number(value):
            with suppress(ValueError, RecursionError):
                return json.loads(data)
    return value


def json_in(data: bytes | None) -> Json:
    """Return the decoded value; None for no data and for invalid JSON."""
    try:
        return decode_json(data) if data else None
    except ValueError:
        return None


def has_many_digits(data: bytes) -> bool:
    """Tell whether `data` has _SHORTEST digits in a row, texts included. Samples first: most data has none."""
    # `find`, here and for each event: bytes `in` bytes first makes, and drops, an error that they are no number.
    return (
        data[:: _SHORTEST - 1].translate(_DIGITS).find(b"0") >= 0
        and data[::6].translate(_DIGITS).find(b"0" * (_SHORTEST // 6)) >= 0
        and data.translate(_DIGITS).find(b"0" * _SHORTEST) >= 0
    )


def _has_great_number(value: Json) -> bool:
    """Tell whether `value` contains a double that may have been an integer beyond 64 bits."""
    left: list[Json] = [[value]]
    while left:
        part = left.pop()
        for item in part.values() if type(part) is dict else part:
            kind = type(item)
            if kind is float:
                if abs(item) >= _BEYOND:
                    return True
            elif kind is dict or kind is list:
                left.append(item)
    return False


def encode_json(value: Json) -> bytes:
    """Return `value` as JSON on one line; NaN becomes null. Raises TypeError for values that JSON cannot hold."""
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError as error:
        try:
            return json.dumps(value, default=_plain, separators=(",", ":")).encode()
        except (TypeError, ValueError):
            raise error from None


def canonical_json(value: Json) -> bytes:
    """Return `value` as JSON in which equal values are equal, whatever the order of their fields.

    Raises TypeError for values that JSON cannot hold.
    """
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        try:
            return json.dumps(value, default=_plain, separators=(",", ":"), sort_keys=True).encode()
        except (TypeError, ValueError, RecursionError):
            raise error from None


def encode_body(value: JsonObject) -> bytes | Spliced:
    """Return an object as `encode_json` does; one with values that are encoded already in parts, these not copied."""
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:
        if any(type(item) is RawJson for item in value.values()):
            return _spliced(value)
        return encode_json(value)


class Spliced:
    """An encoded body in parts. A copy of the whole would stop the event loop."""

    __slots__ = ("_size", "parts")

    def __init__(self, parts: Sequence[bytes | memoryview]) -> None:
        """`parts` in order; none is empty."""
        self.parts = parts
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        """Return a copy of the whole."""
        return b"".join(self.parts)

    def has(self, mark: bytes) -> bool:
        """Tell whether one of the parts has these bytes."""
        step, more = _LARGE_BYTES, len(mark) - 1
        return any(
            mark in bytes(part[start : start + step + more])
            for part in self.parts
            for start in range(0, len(part), step)
        )


def _spliced(value: JsonObject) -> Spliced:
    parts: list[bytes | memoryview] = []
    between = bytearray(b"{")
    for number, (name, item) in enumerate(value.items()):
        between += (b"," if number else b"") + encode_json(name) + b":"
        if type(item) is RawJson:
            parts += (bytes(between), item.encoded)
            between.clear()
        else:
            between += encode_json(item)
    parts.append(bytes(between) + b"}")
    return Spliced(parts)


def _plain(value: Json) -> Json:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


Json: TypeAlias = Any
"""Any value that JSON can hold."""

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object as a plain dict."""

EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
"""The one empty frozen mapping, for defaults."""


class RawSource(NamedTuple):
    """What decoding the long values of a body would take."""

    parsed_bytes: int
    """Size of the body without long texts."""
    max_parsed_bytes: int


class RawJson:
    """A long value of a large body, still encoded. See wire/top_level.py."""

    __slots__ = ("_data", "_decoded", "_end", "_start", "source")

    def __init__(self, data: bytes | mmap, start: int, end: int, source: RawSource) -> None:
        """The value is `data[start:end]`."""
        self._data = data
        self._start = start
        self._end = end
        self._decoded: Json = None
        self.source = source

    @property
    def encoded(self) -> memoryview:
        """The value as it was sent; not copied."""
        return memoryview(self._data)[self._start : self._end]

    @property
    def is_array(self) -> bool:
        """The value is an array."""
        return self._data[self._start] == ord("[")

    @property
    def is_text(self) -> bool:
        """The value is a text."""
        return self._data[self._start] == ord('"')

    def begins_with_number(self) -> bool:
        """Tell whether this is an array whose first item is a number."""
        return _BEGINS_WITH_NUMBER.match(self._data, self._start, self._end) is not None

    def decode(self) -> Json:
        """Return the decoded value; decoded once. Raises ValueError."""
        if self._decoded is None:
            self._decoded = decode_json(self._data[self._start : self._end], finite=True, exact=True)
        return self._decoded
