"""The two schemas as an editor sees them: their parts, and what each part offers to complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.wire.json import Json, JsonObject


def parts(schema: Json, where: str = "#") -> Iterator[tuple[str, JsonObject]]:
    """Yield each part of a schema with its place, without what is only data, such as examples."""
    if isinstance(schema, dict):
        yield where, schema
        for key, value in schema.items():
            if key not in ("defaultSnippets", "enum", "examples", "required"):
                yield from parts(value, f"{where}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from parts(value, f"{where}/{index}")


def offered(part: JsonObject) -> list[Any]:
    """Return the values that an editor offers for a part: its examples and the bodies of its snippets."""
    return [*part.get("examples", ()), *(snippet["body"] for snippet in part.get("defaultSnippets", ()))]


def choices(part: JsonObject) -> list[str]:
    """Return the values that a part enumerates, behind its `then` too, where a variable may stand for one."""
    then = part.get("then")
    found: list[str] = part.get("enum") or (then.get("enum") if isinstance(then, dict) else None) or []
    return found
