"""Why an answer ended: finish reasons of chat and stop reasons of Messages, both ways.

Sources: https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons,
https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.policy.failures import choice_error, failed_by
from gateway.wire.json import Json

REFUSAL: Final = "refusal"

_FINISH_REASON: Final[Mapping[str, str]] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "tool_use": "tool_calls",
        REFUSAL: "content_filter",
        # The answer is not at its end, and chat has no other word for that.
        "pause_turn": "length",
        "compaction": "length",
        "model_context_window_exceeded": "length",
    }
)
_STOP_REASON: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "function_call": "tool_use",
        "content_filter": REFUSAL,
        REFUSAL: REFUSAL,
    }
)


def finish_reason(stop_reason: Json) -> str | None:
    """Return chat's finish reason; None for no stop reason. Raises UpstreamError for the reason of a failed answer."""
    if not stop_reason:
        return None
    return _mapped(stop_reason, _FINISH_REASON) or "stop"


def stop_reason(finish_reason: Json) -> str:
    """Return the stop reason of Messages. Raises UpstreamError for the reason of a failed answer."""
    return _mapped(finish_reason, _STOP_REASON) or "end_turn"


def _mapped(reason: Json, table: Mapping[str, str]) -> str | None:
    known = table.get(reason) if isinstance(reason, str) else None
    if known is None and (error := choice_error({"finish_reason": reason})) is not None:
        raise failed_by(error)
    return known
