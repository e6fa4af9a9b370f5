"""JSON in and out: orjson, and the standard library for the little that is legal or common and orjson refuses.

That is half a surrogate pair (JavaScript writes it for a cut emoji), NaN as some Python servers answer it, and nesting
beyond orjson's limits; and integers beyond 64 bits, which orjson makes doubles of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import orjson

_LARGE_BYTES: Final = 64 * 1024
"""Data above this is mostly long texts, so that its values are looked at sooner than its bytes."""
_DIGITS: Final = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
_SHORTEST: Final = 19
"""Digits of the least integer that does not fit 64 bits."""
_BEYOND: Final = 2.0**63


def decode_json(data: bytes, *, finite: bool = False, exact: bool = False) -> Json:
    """Return the value that `data` holds. Raises ValueError for what is no JSON.

    With `finite` that includes NaN and numbers beyond a double, which would go out as null. With `exact` an integer of
    any size is one: for what is encoded again.
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
        if exact and (len(data) > _LARGE_BYTES or _has_many_digits(data)) and _has_great_number(value):
            with suppress(ValueError, RecursionError):
                return json.loads(data)
    return value


def _has_many_digits(data: bytes) -> bool:
    """Tell whether enough digits follow each other, be it in a text. Ever closer looks: most data has no such place."""
    if b"0" not in data[:: _SHORTEST - 1].translate(_DIGITS):
        return False
    return all(b"0" * (_SHORTEST // step) in data[::step].translate(_DIGITS) for step in (6, 1))


def _has_great_number(value: Json) -> bool:
    """Tell whether a double in `value` is as large as an integer beyond 64 bits, which it may have been."""
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
    """Return `value` as JSON on one line. Raises TypeError for what JSON cannot hold; NaN becomes null."""
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError as error:
        try:
            return json.dumps(value, default=_plain, separators=(",", ":")).encode()
        except (TypeError, ValueError):
            raise error from None


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
