"""A JSON schema in the part of JSON Schema that Messages can hold an answer to.

Keywords that it refuses become a note in the description, as Anthropic's SDKs do; `oneOf` becomes `anyOf`, and objects
are closed. Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.adapters.base import NotSupported
from gateway.wire.json import Json, JsonObject, encode_json

MAX_DEPTH: Final = 64

_NOTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "minItems": "at least {} items",
        "maxItems": "at most {} items",
        "uniqueItems": "no item twice",
        "contains": "an item that matches {}",
        "minContains": "at least {} matching items",
        "maxContains": "at most {} matching items",
        "prefixItems": "the first items match {}",
        "minimum": "at least {}",
        "maximum": "at most {}",
        "exclusiveMinimum": "more than {}",
        "exclusiveMaximum": "less than {}",
        "multipleOf": "a multiple of {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "minProperties": "at least {} properties",
        "maxProperties": "at most {} properties",
        "propertyNames": "property names match {}",
        "dependentRequired": "properties that need others: {}",
        "dependentSchemas": "schemas by property: {}",
        "unevaluatedProperties": "other properties match {}",
        "if": "if it matches {}",
        "then": "then it matches {}",
        "else": "else it matches {}",
        "not": "it does not match {}",
    }
)
"""Keyword that Messages refuses → its note."""
_BY_NAME: Final = frozenset({"properties", "$defs", "definitions"})
_LISTS: Final = frozenset({"anyOf", "oneOf", "allOf"})


def held_schema(schema: JsonObject, depth: int = 0) -> JsonObject:
    """Return the schema to send. Raises NotSupported for objects whose properties are not all named."""
    if depth > MAX_DEPTH:
        raise NotSupported("does not support response_format with a schema so deep")
    held: JsonObject = {}
    notes: list[str] = []
    for keyword, value in schema.items():
        if keyword == "minItems" and value in (0, 1):
            held[keyword] = value
        elif keyword in _NOTED:
            if value is not False:
                shown = encode_json(value).decode() if isinstance(value, dict | list) else value
                notes.append(_NOTED[keyword].format(shown))
        elif keyword == "patternProperties" or (keyword == "additionalProperties" and value is not False):
            raise NotSupported(f"does not support response_format with {keyword}")
        elif keyword in _BY_NAME and isinstance(value, dict):
            held[keyword] = {name: _inner(inner, depth) for name, inner in value.items()}
        elif keyword in _LISTS and isinstance(value, list):
            name = "anyOf" if keyword == "oneOf" else keyword
            held[name] = [*held.get(name, ()), *(_inner(inner, depth) for inner in value)]
        elif keyword == "items":
            held[keyword] = _inner(value, depth)
        else:
            held[keyword] = value
    if notes:
        said = schema.get("description")
        note = f"Must be: {'; '.join(notes)}."
        held["description"] = f"{said} {note}" if isinstance(said, str) and said else note
    if _is_object(held):
        held["additionalProperties"] = False
    return held


def _inner(schema: Json, depth: int) -> Json:
    return held_schema(schema, depth + 1) if isinstance(schema, dict) else schema


def _is_object(schema: JsonObject) -> bool:
    kind = schema.get("type")
    return (
        kind == "object" or (isinstance(kind, list) and "object" in kind) or (kind is None and "properties" in schema)
    )
