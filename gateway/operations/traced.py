"""What spans tell of the bodies of requests and answers, by the conventions' names: numbers, ids, models, never a text.

https://github.com/open-telemetry/semantic-conventions-genai, 0.1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.wire.json import Json, JsonObject

_NUMBERS: Final = (
    ("temperature", "gen_ai.request.temperature", float),
    ("top_p", "gen_ai.request.top_p", float),
    ("frequency_penalty", "gen_ai.request.frequency_penalty", float),
    ("presence_penalty", "gen_ai.request.presence_penalty", float),
    ("top_k", "gen_ai.request.top_k", int),
    ("seed", "gen_ai.request.seed", int),
    ("n", "gen_ai.request.choice.count", int),
    ("max_tokens", "gen_ai.request.max_tokens", int),
    ("max_completion_tokens", "gen_ai.request.max_tokens", int),
    ("max_output_tokens", "gen_ai.request.max_tokens", int),
    ("dimensions", "gen_ai.embeddings.dimension.count", int),
)
_LARGEST: Final = 2**63 - 1
"""Attributes are of 64 bits."""
_LEVELS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_LONGEST: Final = 256
"""Characters of an id or a name."""
_REASONS: Final = 8
"""Finish reasons that are told of one answer."""


def asked_attributes(params: Mapping[str, Json]) -> JsonObject:
    """Return the attributes of a request's parameters."""
    found: JsonObject = {}
    for name, attribute, kind in _NUMBERS:
        value = params.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST:
            found[attribute] = kind(value)
    reasoning = params.get("reasoning")
    level = params.get("reasoning_effort") or (reasoning.get("effort") if isinstance(reasoning, dict) else None)
    if isinstance(level, str) and level in _LEVELS:
        found["gen_ai.request.reasoning.level"] = level
    return found


def answered_attributes(data: Mapping[str, Json]) -> JsonObject:
    """Return the attributes of an answer, or of a stream's first event, on any of the wires."""
    found: JsonObject = {}
    inner = data.get("message") or data.get("response")
    answer = inner if isinstance(inner, dict) else data
    for name in ("id", "model"):
        value = answer.get(name)
        if isinstance(value, str) and 0 < len(value) <= _LONGEST:
            found[f"gen_ai.response.{name}"] = value
    choices = answer.get("choices")
    reasons = (
        [each.get("finish_reason") for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []
    )
    told = [each[:_LONGEST] for each in (*reasons, answer.get("stop_reason")) if isinstance(each, str)]
    if told:
        found["gen_ai.response.finish_reasons"] = told[:_REASONS]
    return found
