"""Gemini's token counts as chat's.

`promptTokenCount` has what was cached, and not what tools of Google put into the prompt; `candidatesTokenCount` leaves
thinking out, on Google's own servers.

Source: https://ai.google.dev/api/generate-content#UsageMetadata
"""

from __future__ import annotations

from gateway.adapters.counts import count
from gateway.adapters.fields import items_of
from gateway.wire.json import Json, JsonObject


def chat_usage(usage: Json) -> JsonObject | None:
    """Return chat's token counts; None if there are none."""
    if not isinstance(usage, dict):
        return None
    given, said = count(usage.get("promptTokenCount")), count(usage.get("candidatesTokenCount"))
    if given is None and said is None:
        return None
    by_tools, thoughts = count(usage.get("toolUsePromptTokenCount")) or 0, count(usage.get("thoughtsTokenCount"))
    prompt, completion = (given or 0) + by_tools, said or 0
    if thoughts and usage.get("totalTokenCount") != prompt + completion:
        completion += thoughts  # else they are in it: https://github.com/BerriAI/litellm/pull/10141
    details: JsonObject = {"cached_tokens": count(usage.get("cachedContentTokenCount")) or 0}
    if (audio := _of_modality(usage.get("promptTokensDetails"), "AUDIO")) is not None:
        details["audio_tokens"] = audio
    counts: JsonObject = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
    }
    if thoughts is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": min(thoughts, completion)}
    return counts


def _of_modality(details: Json, modality: str) -> int | None:
    return next(
        (
            count(detail.get("tokenCount"))
            for detail in items_of(details)
            if isinstance(detail, dict) and detail.get("modality") == modality
        ),
        None,
    )
