"""Reads fields of JSON that somebody else wrote, whatever types they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.adapters.base import MAX_TOOLS
from gateway.wire.json import Json, JsonObject, decode_json

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


def is_text(value: Json) -> bool:
    """Tell whether a value is a text that is not empty."""
    return isinstance(value, str) and bool(value)


def tools_listed(tools: Json, lacking: list[str]) -> list[Json]:
    """Return a request's tools. Of more than MAX_TOOLS none is left, which is added to `lacking`."""
    listed = items_of(tools)
    if len(listed) > MAX_TOOLS:
        lacking.append(f"more than {MAX_TOOLS:,} tools")
        return _NO_ITEMS
    return listed


def tool_objects(tools: Json, lacking: list[str]) -> Iterator[JsonObject]:
    """Yield those of a request's tools that are objects; the others are added to `lacking`."""
    for tool in tools_listed(tools, lacking):
        if isinstance(tool, dict):
            yield tool
        else:
            lacking.append("tools that are no objects")


def arguments_of(arguments: Json) -> JsonObject:
    """Return a call's arguments as an object. What is no JSON object was the model's mistake, and is kept as a text."""
    value = arguments
    if isinstance(arguments, str):
        if not arguments.strip():
            return {}
        try:
            value = decode_json(arguments.encode("utf-8", "surrogatepass"), exact=True)
        except ValueError:
            value = arguments
    if isinstance(value, dict):
        return value
    return {} if value is None else {"arguments": value}
