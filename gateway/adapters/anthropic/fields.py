"""Reads fields of JSON that somebody else wrote, whatever types they have."""

from __future__ import annotations

from typing import Final

from gateway.wire.json import Json, JsonObject

_NO_FIELDS: Final[JsonObject] = {}
_NO_ITEMS: Final[list[Json]] = []


def fields_of(value: Json) -> JsonObject:
    """Return an object as it is; an empty one for any other value. Not to be changed."""
    return value if isinstance(value, dict) else _NO_FIELDS


def items_of(value: Json) -> list[Json]:
    """Return a list as it is; an empty one for any other value. Not to be changed."""
    return value if isinstance(value, list) else _NO_ITEMS


def text_of(value: Json) -> str:
    """Return a text as it is; an empty one for any other value."""
    return value if isinstance(value, str) else ""
