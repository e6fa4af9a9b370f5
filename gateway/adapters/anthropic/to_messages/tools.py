"""Tools and tool choice of a chat request in the words of Messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.adapters.fields import tool_objects
from gateway.adapters.sent import ToolNames
from gateway.wire.json import Json, JsonObject

MAX_NAME_CHARS: Final = 128
_NO_PARAMETERS: Final = {"type": "object", "properties": {}}
_KEPT: Final = ("cache_control", "defer_loading", "input_examples", "eager_input_streaming")
"""Anthropic's own fields of a tool, which some clients set."""


def tools_of(tools: Json, names: ToolNames, lacking: list[str]) -> list[JsonObject]:
    """Return the tools; what has no counterpart is added to `lacking`."""
    found: list[JsonObject] = []
    for tool in tool_objects(tools, lacking):
        function = tool.get("function")
        kind = tool.get("type", "function")
        if kind == "function" and isinstance(function, dict):
            found.append(_tool(tool, function, names))
        elif isinstance(tool.get("input_schema"), dict):  # Anthropic's own form
            name = tool.get("name")
            found.append({**tool, "name": names.sent(name if isinstance(name, str) else "")})
        else:
            lacking.append("custom tools" if kind == "custom" else f"tools of type {str(kind)[:64]}")
    return found


def _tool(tool: JsonObject, function: JsonObject, names: ToolNames) -> JsonObject:
    name, description = function.get("name"), function.get("description")
    sent: JsonObject = {"name": names.sent(name if isinstance(name, str) else "")}
    if isinstance(description, str) and description:
        sent["description"] = description
    parameters = function.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        sent["input_schema"] = _NO_PARAMETERS
    elif parameters.get("type") == "object":
        sent["input_schema"] = parameters
    else:
        sent["input_schema"] = {**parameters, "type": "object"}
    for field in _KEPT:
        value = tool.get(field, function.get(field))
        if value is not None:
            sent[field] = value
    return sent


def tools_called(called: Iterable[str]) -> list[JsonObject]:
    """Return tools for a history that calls some in a request that has none: Messages wants both or neither."""
    return [{"name": name, "input_schema": {"type": "object"}} for name in called]


def tool_choice_of(
    body: JsonObject, tools: list[JsonObject], names: ToolNames, lacking: list[str]
) -> JsonObject | None:
    """Return the tool choice; None if the client has none. Takes tools that are not allowed out of `tools`."""
    choice = body.get("tool_choice")
    sent: JsonObject = {"type": "auto"}
    if choice == "none":
        return {"type": "none"}
    if choice == "required" or choice == "any":
        sent = {"type": "any"}
    elif isinstance(choice, dict):
        kind, function = choice.get("type"), choice.get("function")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            sent = {"type": "tool", "name": names.sent(function["name"])}
        elif kind == "allowed_tools":
            sent = _allowed(choice.get("allowed_tools"), tools, names)
        elif kind == "tool" and isinstance(choice.get("name"), str):
            sent = {"type": "tool", "name": names.sent(choice["name"])}
        elif kind in ("any", "required"):
            sent = {"type": "any"}
        elif kind == "none":
            return {"type": "none"}
        elif kind != "auto":
            lacking.append(f"tool_choice {str(kind)[:64]}")
        if choice.get("disable_parallel_tool_use") is True:
            sent["disable_parallel_tool_use"] = True
    elif choice not in (None, "auto"):
        lacking.append(f"tool_choice {str(choice)[:64]}")
    if body.get("parallel_tool_calls") is False:
        sent["disable_parallel_tool_use"] = True
    return None if choice is None and len(sent) == 1 else sent


def _allowed(allowed: Json, tools: list[JsonObject], names: ToolNames) -> JsonObject:
    given = allowed if isinstance(allowed, dict) else {}
    entries = given.get("tools")
    wanted = set()
    for entry in entries if isinstance(entries, list) else ():
        function = entry.get("function") if isinstance(entry, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            wanted.add(names.sent(name))
    tools[:] = [tool for tool in tools if tool["name"] in wanted]
    return {"type": "any" if given.get("mode") == "required" else "auto"}
