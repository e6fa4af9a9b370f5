"""Tells which choice of an answer on OpenAI's wire has ended."""

from __future__ import annotations

from typing import Final

from gateway.wire.json import Json, JsonObject

_NO_REASONS: Final = frozenset({"", "null", "none"})
"""Servers that mean `null` send these texts with each event: KoboldCpp `null`, SGLang and Ollama an empty one.

Sources: https://github.com/PowerShell/AIShell/issues/350, https://github.com/sgl-project/sglang/issues/3912.
"""


def is_finished(choice: JsonObject) -> bool:
    """Tell whether a choice has a finish reason."""
    reason: Json = choice.get("finish_reason")
    return bool(reason) and not (isinstance(reason, str) and reason.strip().lower() in _NO_REASONS)


def index_of(value: Json) -> int:
    """Return a choice's index from its `index`; 0 for anything but a whole number."""
    return value if type(value) is int else 0
