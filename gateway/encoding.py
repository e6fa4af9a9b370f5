"""JSON in and out: orjson, and the standard library for the little that is legal or common and orjson refuses.

That is half a surrogate pair (JavaScript writes it for a cut emoji), NaN as some Python servers answer it, and nesting
beyond orjson's limits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import orjson

from gateway.types import Json


def decode_json(data: bytes, *, finite: bool = False) -> Json:
    """Return the value that `data` holds. Raises ValueError for what is no JSON.

    With `finite` that includes NaN and numbers beyond a double, which would go out as null.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            value = json.loads(data)
            if finite:
                json.dumps(value, allow_nan=False)
        except (ValueError, RecursionError):
            raise error from None
        return value


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
