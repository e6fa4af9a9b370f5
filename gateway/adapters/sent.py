"""A translated request, with what reading its answer takes; and the names of tools and calls that it had to change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from gateway.wire.json import EMPTY, Json, JsonObject

MAX_ID_CHARS: Final = 64
_DIGEST_CHARS: Final = 8
_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(slots=True)
class Sent:
    """A request in the target's words."""

    body: JsonObject
    tool_names: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Name sent → the client's name, of tools whose own name the target would refuse."""
    stops: tuple[str, ...] = ()
    """The client's stop sequences."""

    def tool_name(self, sent: str) -> str:
        """Return the client's name of a tool."""
        return self.tool_names.get(sent, sent) if self.tool_names else sent


AS_IS: Final = Sent({})
"""Nothing was renamed."""


class ToolNames:
    """Gives each tool a name that the target takes: letters, digits, `_` and `-`, and no longer than a limit.

    A name that fits stays. The others depend on the name alone, so that they are the same in each turn of a
    conversation, which keeps prompt caches valid.
    """

    __slots__ = ("_max_chars", "_sent")

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._sent: dict[str, str] = {}

    def sent(self, name: str) -> str:
        """Return the name to send."""
        if len(name) <= self._max_chars and _UNFIT.search(name) is None and name:
            return name
        if name not in self._sent:
            digest = sha256(name.encode("utf-8", "replace")).hexdigest()[:_DIGEST_CHARS]
            plain = _UNFIT.sub("_", name)[: self._max_chars - _DIGEST_CHARS - 1]
            self._sent[name] = f"{plain}_{digest}"
        return self._sent[name]

    @property
    def renamed(self) -> Mapping[str, str]:
        """Name sent → the client's."""
        return {sent: name for name, sent in self._sent.items()} if self._sent else EMPTY


class CallIds:
    """Gives each tool call of a conversation an id of its own that the target takes.

    Some servers write ids with dots and colons, and some begin at 0 again with every answer.
    """

    __slots__ = ("_newest", "_now", "_used")

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._newest: dict[str, int] = {}
        """Id → the newest number behind it. Without it, a conversation with one id everywhere takes quadratic time."""
        self._now: dict[str, str] = {}
        """The client's id → the id sent for its newest call."""

    def called(self, given: Json) -> str:
        """Return the id to send for a new call."""
        own = given if isinstance(given, str) else ""
        plain = fit_id(own) or "call"
        chosen = plain
        while chosen in self._used:
            number = self._newest[plain] = self._newest.get(plain, 1) + 1
            chosen = f"{plain}_{number}"
        self._used.add(chosen)
        self._now[own] = chosen
        return chosen

    def answered(self, given: Json) -> str:
        """Return the id to send for the result of a call."""
        own = given if isinstance(given, str) else ""
        return self._now.get(own) or fit_id(own) or "call"


def fit_id(given: str) -> str:
    """Return an id of letters, digits, `_` and `-`."""
    return given if _UNFIT.search(given) is None else _UNFIT.sub("_", given)
