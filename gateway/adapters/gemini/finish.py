"""Why a candidate ended: Gemini's finish reasons as chat's.

Source: https://ai.google.dev/api/generate-content#FinishReason
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.policy.failures import choice_error, failed_by
from gateway.wire.json import Json

STOP: Final = "STOP"
_UNSAID: Final = "FINISH_REASON_UNSPECIFIED"
FINISH_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        STOP: "stop",
        "MAX_TOKENS": "length",
        "CONTINUATION": "length",
        **dict.fromkeys(
            (
                "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
                "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "NO_IMAGE", "ESCALATION",
            ),
            "content_filter",
        ),
    }
)  # fmt: skip
"""Gemini's reason of an answer → chat's. The reasons of failed answers are not here."""


def finish_reason(reason: Json) -> str | None:
    """Return chat's finish reason; None for no reason. Raises UpstreamError for the reason of a failed answer.

    `MALFORMED_FUNCTION_CALL`, `UNEXPECTED_TOOL_CALL` and the like are failures. Reasons that nobody knows are `stop`.
    """
    if not reason or reason == _UNSAID:
        return None
    known = FINISH_REASONS.get(reason) if isinstance(reason, str) else None
    if known is None and (error := choice_error({"finish_reason": reason})) is not None:
        raise failed_by(error)
    return known or "stop"
