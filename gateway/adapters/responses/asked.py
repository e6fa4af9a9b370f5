"""What the translation of an answer needs to know of its request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from gateway.wire.json import Json, JsonObject

CallKind: TypeAlias = Literal["function", "custom", "search"]
"""A function with JSON arguments, a tool with free text as its input, and a search for tools that the client runs."""

INPUT: Final = "input"
"""The one parameter of the function that stands for a tool with free text."""


class Called(NamedTuple):
    """The client's tool that a chat function stands for."""

    kind: CallKind
    name: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer repeats of its request, and which tool each chat function stands for."""

    fields: Mapping[str, Json]
    """The fields of a Response that repeat the request. Never changed."""
    tools: Mapping[str, Called]
    """Chat function name → the client's tool. A name that is not in it was not offered."""
    summarizes: bool
    """The client asked for summaries of the reasoning, so it gets the reasoning's text as one."""

    compacts: bool = False
    """The client asked for a compaction: the answer's text is the summary."""

    def called(self, name: str) -> Called:
        """Return the client's tool that a chat function stands for."""
        return self.tools.get(name) or Called("function", name)


def response(
    asked: Asked, *, id_: str, created_at: int, model: Json, status: str, output: list[JsonObject]
) -> JsonObject:
    """Return a Response object without token counts. It shares no mapping or list with another, but what is in them."""
    repeated = {
        name: value.copy() if type(value) is dict or type(value) is list else value
        for name, value in asked.fields.items()
    }
    return {
        "id": id_,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": output,
        **repeated,
        "usage": None,
    }
