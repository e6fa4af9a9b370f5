"""The tools of a Responses request as functions of a chat request.

Tools that the client runs become functions: functions themselves, those of a namespace, tools with free text as their
input (`custom`, such as Codex's apply_patch), and the search for tools that the client runs. Tools that OpenAI runs
have no counterpart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from gateway.adapters.base import MAX_TOOLS, NotSupported
from gateway.adapters.responses.asked import INPUT, Called
from gateway.wire.json import Json, JsonObject

MAX_NAME_CHARS: Final = 64
_NAME: Final = re.compile(rf"[a-zA-Z0-9_-]{{1,{MAX_NAME_CHARS}}}")
"""Function names on the chat wire: https://platform.openai.com/docs/api-reference/chat/create"""
_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_HASH_CHARS: Final = 8
_FUNCTIONS: Final = "functions"
"""The namespace of functions that have no other; its members keep their plain names."""

_SEARCH_NAME: Final = "tool_search"
_BLANK_LINE: Final = "\n\n"
_ANY_OBJECT: Final[JsonObject] = {"type": "object", "properties": {}}

_MAY_BE_LEFT_OUT: Final = "web_search"
_CODEX_FIELD: Final = "external_web_access"


def unsupported(what: str) -> NotSupported:
    """Return the exception that says that a target does not support `what`."""
    return NotSupported(f"does not support {what}")


def kind_of(value: Mapping[str, Json], default: str = "") -> str:
    """Return the `type` of a tool, an item or a part, short enough for a message."""
    kind = value.get("type") or default
    return kind[:64] if isinstance(kind, str) else "unknown"


class Tools:
    """The tools of one request, collected from its `tools` and from its input."""

    __slots__ = ("_alike", "_names", "_searches", "called", "functions", "shown")

    def __init__(self) -> None:
        self.functions: dict[str, JsonObject] = {}
        """Name → chat tool, in the order of the request."""
        self.called: dict[str, Called] = {}
        """Name → the client's tool."""
        self.shown: list[Json] = []
        """Those of the request's `tools` that the model gets, as the client wrote them."""
        self._names: dict[tuple[str | None, str], str] = {}
        self._alike: dict[str, set[str]] = {}
        """The client's name → the functions that stand for tools of it, in any namespace."""
        self._searches: list[Json] = []

    def add(self, tools: Json, *, shown: bool = False) -> None:
        """Add a list of tools. Raises NotSupported for one that has no counterpart."""
        if not isinstance(tools, list):
            raise unsupported("tools that are not a list")
        for tool in tools:
            if not isinstance(tool, dict):
                raise unsupported("a tool that is not an object")
            if self._add(tool) and shown:
                self.shown.append(tool)

    def check(self) -> None:
        """Raise NotSupported if a web search was left out and nothing else is offered.

        Codex CLI offers OpenAI's web search with each request, beside the tools that it runs itself and works with; it
        alone says `external_web_access`. A request whose only tool is the search needs it.
        """
        if self._searches and not self.functions:
            raise unsupported(f"hosted tools ({_MAY_BE_LEFT_OUT})")

    def name(self, name: str, namespace: Json = None) -> str:
        """Return the name of the chat function that stands for a tool."""
        space = namespace if isinstance(namespace, str) and namespace else None
        return self._names.get((space, name)) or _chat_name(name, space)

    def chosen(self, choice: JsonObject) -> str:
        """Return the function that a choice names: of its namespace, else the one tool with that name in any.

        Raises NotSupported if there is none.
        """
        wanted, namespace = choice.get("name"), choice.get("namespace")
        if isinstance(wanted, str):
            name = self.name(wanted, namespace)
            if name in self.functions:
                return name
            alike = self._alike.get(wanted, ())
            if namespace is None and len(alike) == 1:
                return next(iter(alike))
        raise unsupported("a tool choice that names none of the tools")

    def _add(self, tool: JsonObject) -> bool:
        kind = kind_of(tool)
        if kind in ("function", "custom"):
            self._add_function(kind, tool, None)
        elif kind == "namespace":
            self._add_namespace(tool)
        elif kind == "tool_search":
            # A search that OpenAI runs saves tokens only: without it all its tools are offered at once.
            if tool.get("execution") != "client":
                return False
            self._offer(Called("search", _SEARCH_NAME), tool.get("description"), tool.get("parameters"))
        elif kind == _MAY_BE_LEFT_OUT and _CODEX_FIELD in tool:
            self._searches.append(tool)
            return False
        else:
            raise unsupported(f"hosted tools ({kind})" if kind else "a tool without a type")
        return True

    def _add_namespace(self, tool: JsonObject) -> None:
        namespace, members = tool.get("name"), tool.get("tools")
        if not isinstance(namespace, str) or not namespace or not isinstance(members, list):
            raise unsupported("a namespace without a name or tools")
        about = _texts(tool.get("description"))
        # Told once, with the first: it may be long, and a namespace may have many tools.
        told = [f"{text}\n(This is about all functions whose names begin with {namespace}__.)" for text in about]
        for member in members:
            kind = kind_of(member) if isinstance(member, dict) else ""
            if kind not in ("function", "custom"):
                raise unsupported(f"a tool of type {kind or 'unknown'} in a namespace")
            self._add_function(kind, member, namespace, told)
            told = []

    def _add_function(self, kind: str, tool: JsonObject, namespace: str | None, about: Sequence[str] = ()) -> None:
        name = tool.get("name")
        if not isinstance(name, str) or not name:
            raise unsupported("a tool without a name")
        described = [*about, *_texts(tool.get("description"))]
        if kind == "function":
            called = Called("function", name, namespace)
            self._offer(called, _BLANK_LINE.join(described), tool.get("parameters"), tool.get("strict"))
            return
        described += _grammar(tool.get("format"))
        schema: JsonObject = {
            "type": "object",
            "properties": {INPUT: {"type": "string", "description": f"The whole input of {name}, as plain text."}},
            "required": [INPUT],
            "additionalProperties": False,
        }
        self._offer(Called("custom", name, namespace), _BLANK_LINE.join(described), schema)

    def _offer(self, called: Called, description: Json, parameters: Json, strict: Json = None) -> None:
        key = (called.namespace, called.name)
        name = self._names.get(key)
        if name is None:
            name = _chat_name(called.name, called.namespace)
            if name in self.functions:
                name = _shortened(name, f"{called.namespace}\n{called.name}")
            self._names[key] = name
        if len(self.functions) >= MAX_TOOLS:
            raise unsupported(f"more than {MAX_TOOLS:,} tools")
        function: JsonObject = {"name": name}
        if description:
            function["description"] = description
        function["parameters"] = _ANY_OBJECT if parameters is None else parameters
        if strict is not None:
            function["strict"] = strict
        self.functions[name] = {"type": "function", "function": function}
        self.called[name] = called
        self._alike.setdefault(called.name, set()).add(name)


def add_choice(body: JsonObject, tools: Tools, choice: Json) -> None:
    """Add `tools` and `tool_choice` to a chat body. Raises NotSupported for a choice that it cannot express."""
    offered = tools.functions
    if isinstance(choice, dict):
        kind = kind_of(choice)
        if kind == "allowed_tools":
            offered = {name: tools.functions[name] for name in _allowed(tools, choice)}
            choice = choice.get("mode") or "auto"
            if choice == "required" and not offered:
                raise unsupported("the allowed tools")
        elif kind in ("function", "custom"):
            choice = {"type": "function", "function": {"name": tools.chosen(choice)}}
        else:
            raise unsupported(f"hosted tools ({kind})")
    if offered:
        body["tools"] = list(offered.values())
        if choice is not None:
            body["tool_choice"] = choice


def _allowed(tools: Tools, choice: JsonObject) -> list[str]:
    allowed = choice.get("tools")
    named = [tool for tool in allowed if isinstance(tool, dict)] if isinstance(allowed, list) else []
    names = {tools.chosen(tool) for tool in named if tool.get("type") in ("function", "custom")}
    spaces = [tool.get("name") for tool in named if tool.get("type") == "namespace"]
    whole = {space for space in spaces if isinstance(space, str)}
    return [name for name, called in tools.called.items() if name in names or called.namespace in whole]


def _texts(description: Json) -> list[str]:
    return [description] if isinstance(description, str) and description else []


def _grammar(format_: Json) -> list[str]:
    """Return how the model is told of a grammar. Nothing holds it to that: the client checks what it gets."""
    if not isinstance(format_, dict) or format_.get("type") != "grammar":
        return []
    return [f"The input must match this {format_.get('syntax')} grammar:\n{format_.get('definition')}"]


def _chat_name(name: str, namespace: str | None) -> str:
    whole = f"{namespace}__{name}" if namespace and namespace != _FUNCTIONS else name
    return whole if _NAME.fullmatch(whole) else _shortened(whole, whole)


def _shortened(name: str, source: str) -> str:
    """Return a name that the chat wire takes, the same for the same source in each request."""
    digest = sha256(source.encode("utf-8", "replace")).hexdigest()[:_HASH_CHARS]
    return f"{_ODD.sub('_', name)[: MAX_NAME_CHARS - _HASH_CHARS - 1]}_{digest}"
