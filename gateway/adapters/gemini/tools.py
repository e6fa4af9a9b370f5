"""Tools and tool choice of a chat request in Gemini's words.

Parameters go as they are, as `parametersJsonSchema`. Beside a `$ref` Google's servers take nothing but a description
and a default, so other keywords there are left out.

Sources: https://ai.google.dev/api/caching#FunctionDeclaration, https://ai.google.dev/api/caching#FunctionCallingConfig
and https://github.com/anomalyco/opencode/issues/12295
"""

from __future__ import annotations

from typing import Final

from gateway.adapters.base import NotSupported
from gateway.adapters.fields import fields_of, items_of, text_of, tool_objects
from gateway.adapters.sent import ToolNames
from gateway.wire.json import Json, JsonObject, encode_json

MAX_NAME_CHARS: Final = 64
MAX_SCHEMA_DEPTH: Final = 64
_REFERENCE: Final = "$ref"
_REFERENCE_BYTES: Final = b'"$ref"'
_BESIDE: Final = ("description", "default")
"""Keywords that may be beside a reference, besides those that begin with a dollar."""
_MODES: Final = {"none": "NONE", "auto": "AUTO", "required": "ANY", "any": "ANY"}


def tools_of(tools: Json, names: ToolNames, lacking: list[str]) -> list[JsonObject]:
    """Return the declarations of functions; what has no counterpart is added to `lacking`."""
    found: list[JsonObject] = []
    for tool in tool_objects(tools, lacking):
        function, kind = tool.get("function"), tool.get("type", "function")
        if kind == "function" and isinstance(function, dict):
            found.append(_declaration(function, names))
        else:
            lacking.append("custom tools" if kind == "custom" else f"tools of type {_kind_of(tool)[:64]}")
    return found


def _kind_of(tool: JsonObject) -> str:
    """Return the type of a tool; Gemini's own tools have none, and are named by their only field."""
    return str(tool.get("type") or next(iter(tool), None))


def _declaration(function: JsonObject, names: ToolNames) -> JsonObject:
    declared: JsonObject = {"name": names.sent(text_of(function.get("name")))}
    description = function.get("description")
    if isinstance(description, str) and description:
        declared["description"] = description
    parameters = function.get("parameters")
    if isinstance(parameters, dict) and parameters:
        schema = held_schema(parameters)
        declared["parametersJsonSchema"] = schema if schema.get("type") == "object" else {**schema, "type": "object"}
    return declared


def held_schema(schema: JsonObject) -> JsonObject:
    """Return the schema to send: the same object where nothing has to be left out."""
    if _REFERENCE_BYTES not in encode_json(schema):
        return schema
    held: JsonObject = _held(schema, 0)
    return held


def _held(value: Json, depth: int) -> Json:
    if depth > MAX_SCHEMA_DEPTH:
        raise NotSupported("does not support a schema so deep")
    if isinstance(value, list):
        return [_held(one, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get(_REFERENCE), str):
        value = {name: one for name, one in value.items() if name.startswith("$") or name in _BESIDE}
    return {name: _held(one, depth + 1) for name, one in value.items()}


def tool_config_of(
    body: JsonObject, declared: list[JsonObject], names: ToolNames, lacking: list[str]
) -> JsonObject | None:
    """Return the configuration of calls; None if the client asks for none. Takes what is not allowed out of `declared`.

    `parallel_tool_calls` has no counterpart, and is left out.
    """
    choice = body.get("tool_choice")
    if choice is None:
        return None
    mode, allowed = None, list[str]()
    if isinstance(choice, str):
        mode = _MODES.get(choice)
    elif isinstance(choice, dict):
        function, kind = choice.get("function"), choice.get("type")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            mode, allowed = "ANY", [names.sent(function["name"])]
        elif kind == "allowed_tools":
            mode, allowed = _allowed(fields_of(choice.get("allowed_tools")), declared, names)
        elif isinstance(kind, str):
            mode = _MODES.get(kind)
    if mode is None:
        told = choice.get("type") if isinstance(choice, dict) else choice
        lacking.append(f"tool_choice {str(told)[:64]}")
        return None
    config: JsonObject = {"mode": mode}
    if allowed:
        config["allowedFunctionNames"] = allowed
    return {"functionCallingConfig": config}


def _allowed(allowed: JsonObject, declared: list[JsonObject], names: ToolNames) -> tuple[str, list[str]]:
    functions = (fields_of(entry).get("function") for entry in items_of(allowed.get("tools")))
    wanted = {names.sent(text_of(fields_of(function).get("name"))) for function in functions}
    declared[:] = [one for one in declared if one["name"] in wanted]
    if allowed.get("mode") == "required":
        return "ANY", [one["name"] for one in declared]
    return "AUTO", []
