"""Tools, tool choice and the format of the answer in a Messages request, in the words of chat."""

from __future__ import annotations

import re
from operator import is_not
from typing import Final

from gateway.adapters.fields import fields_of, text_of, tools_listed
from gateway.adapters.sent import ToolNames
from gateway.wire.json import Json, JsonObject, encode_json

MAX_NAME_CHARS: Final = 64
MAX_DEPTH: Final = 64
_CONTAINERS: Final = (dict, list)
_FORMAT_NAME: Final = "answer"
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_ODD_PATTERN: Final = re.compile(r"\\[pP]\{|\\u\{|\\c[A-Za-z]|\(\?<(?![=!])")
"""What Python does not know of JavaScript's regular expressions: Unicode classes, code points, named groups, …"""
_ODD_IN_JSON: Final = re.compile(rb"\\\\[pP]\{|\\\\u\{|\\\\c[A-Za-z]|\(\?<(?![=!])")
"""The same in JSON, where a backslash is written as two."""
_LOADERS: Final = "tool_search_tool_"
"""Hosted tools that load other tools when they are needed. Not needed when all tools are sent."""


def tools_of(tools: Json, names: ToolNames, lacking: list[str]) -> list[JsonObject]:
    """Return the tools; what has no counterpart is added to `lacking`."""
    found: list[JsonObject] = []
    for given in tools_listed(tools, lacking):
        tool = fields_of(given)
        kind = tool.get("type")
        if kind is None or kind == "custom":
            function: JsonObject = {"name": names.sent(text_of(tool.get("name")))}
            if description := text_of(tool.get("description")):
                function["description"] = description
            function["parameters"] = _parameters(tool.get("input_schema"))
            found.append({"type": "function", "function": function})
        elif not str(kind).startswith(_LOADERS):
            lacking.append(f"tools of type {str(kind)[:64]}")
    return found


def _parameters(schema: Json) -> JsonObject:
    """Return a tool's schema as OpenAI takes it: with `properties`, and without patterns that it cannot read.

    Sources: https://github.com/github/copilot-cli/issues/2223, https://github.com/raine/claude-code-proxy/issues/141
    """
    if not isinstance(schema, dict) or not schema:
        return {"type": "object", "properties": {}}
    # Looked for in the encoded schema first, which takes a tenth of the time and hardly ever finds one.
    plain: JsonObject = _plain(schema, 0) if _ODD_IN_JSON.search(encode_json(schema)) else schema
    return plain if "properties" in plain or plain.get("type") != "object" else {**plain, "properties": {}}


def _plain(schema: Json, depth: int) -> Json:
    """Return a schema whose odd patterns are notes in the description; the same object if there are none."""
    if depth > MAX_DEPTH:
        return schema
    if type(schema) is list:
        items = [_plain(item, depth + 1) if type(item) in _CONTAINERS else item for item in schema]
        return items if any(map(is_not, items, schema)) else schema
    changed: JsonObject = {}
    unread = False
    for keyword, value in schema.items():
        if type(value) in _CONTAINERS:
            inner = _plain(value, depth + 1)
            if inner is not value:
                changed[keyword] = inner
        elif keyword == "pattern" and isinstance(value, str) and _ODD_PATTERN.search(value):
            unread = True
            changed["description"] = f"{text_of(schema.get('description'))} Must match {value}".lstrip()
    if not changed:
        return schema
    plain = {**schema, **changed}
    if unread:
        del plain["pattern"]
    return plain


def add_tool_choice(sent: JsonObject, choice: Json, names: ToolNames, lacking: list[str]) -> None:
    """Add `tool_choice` and `parallel_tool_calls`."""
    if not isinstance(choice, dict):
        return
    kind, name = choice.get("type"), choice.get("name")
    if isinstance(kind, str) and kind in _CHOICES:
        sent["tool_choice"] = _CHOICES[kind]
    elif kind == "tool" and isinstance(name, str):
        sent["tool_choice"] = {"type": "function", "function": {"name": names.sent(name)}}
    else:
        lacking.append(f"tool_choice {str(kind)[:64]}")
    if choice.get("disable_parallel_tool_use") is True and kind != "none":
        sent["parallel_tool_calls"] = False


def response_format_of(wanted: Json, lacking: list[str]) -> JsonObject | None:
    """Return `response_format`; None for no format."""
    if not isinstance(wanted, dict):
        return None
    schema = wanted.get("schema")
    if wanted.get("type") != "json_schema" or not isinstance(schema, dict):
        lacking.append(f"output_config.format {str(wanted.get('type'))[:64]}")
        return None
    described = {"name": _FORMAT_NAME, "schema": schema, "strict": _is_strict(schema)}
    return {"type": "json_schema", "json_schema": described}


def _is_strict(schema: Json, depth: int = 0) -> bool:
    """Tell whether a schema fits OpenAI's strict mode: objects are closed, and all of their properties required.

    Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    if isinstance(schema, list):
        return all(_is_strict(item, depth + 1) for item in schema)
    if not isinstance(schema, dict):
        return True
    if depth > MAX_DEPTH:
        return False
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, dict) or schema.get("type") == "object":
        names = set(properties) if isinstance(properties, dict) else set()
        wanted = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        if schema.get("additionalProperties") is not False or names != wanted:
            return False
    return all(_is_strict(value, depth + 1) for value in schema.values())
