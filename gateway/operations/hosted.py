"""Tells whether a request may be sent to two targets: nothing may be kept upstream twice, and no tool may run there.

Sources: https://platform.openai.com/docs/guides/tools and
https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview ("client tools" and "server tools").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.wire.json import Json, RawJson

_OWN: Final = frozenset({"function", "custom"})
"""Types of tools that the client runs. Their schemas may have any names."""
_OWN_ON_MESSAGES: Final = ("bash_", "computer_", "memory_", "text_editor_")
"""How the types of those tools begin that Anthropic defines and the client runs."""
_KEPT_ON_REQUEST: Final = frozenset({"chat", "completions", "messages", "embeddings"})
"""Operations whose answers are kept upstream only where a request says `store: true`."""
_SWITCHES: Final = ("mcp_servers", "web_search_options")
"""Fields that let the upstream use tools of its own."""
_MAX_BYTES: Final = 256 * 1024
"""A list of tools that is longer is not decoded; it counts as one with hosted tools."""


def may_be_sent_twice(operation: str, params: Mapping[str, Json]) -> bool:
    """Tell whether an upstream neither keeps anything of a request nor runs a tool for it.

    True only for operations that answer with text or numbers. Responses are kept unless the request says otherwise.
    """
    if operation == "responses":
        return params.get("store") is False and not has_hosted_tools(operation, params)
    return operation in _KEPT_ON_REQUEST and params.get("store") is not True and not has_hosted_tools(operation, params)


def has_hosted_tools(operation: str, params: Mapping[str, Json]) -> bool:
    """Tell whether a request of this operation may make the upstream run a tool. What is not known counts as one."""
    if any(params.get(name) is not None for name in _SWITCHES):
        return True
    tools = params.get("tools")
    if type(tools) is RawJson:
        if len(tools.encoded) > _MAX_BYTES:
            return True
        try:
            tools = tools.decode()
        except (ValueError, RecursionError):
            return True
    if not isinstance(tools, list):
        return tools is not None
    return not all(_is_own(tool, is_message=operation == "messages") for tool in tools)


def _is_own(tool: Json, *, is_message: bool) -> bool:
    """Tell whether the client runs a tool."""
    if not isinstance(tool, dict):
        return False
    kind = tool.get("type")
    if is_message and (kind is None or (isinstance(kind, str) and kind.startswith(_OWN_ON_MESSAGES))):
        return True
    return isinstance(kind, str) and kind in _OWN
