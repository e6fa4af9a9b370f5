"""Judges bodies on the wires that LiteLLM translates from: whether one is an error, and whether an answer has an end.

LiteLLM invents a finish reason where the upstream sent none, so a truncated answer would look whole. The shape of a
body tells its wire: each wire's own field says how an answer ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gateway.policy.failures import error_object
from gateway.policy.finish import is_finished
from gateway.wire.json import Json, JsonObject

_USUAL_COUNTS: Final = ("prompt_tokens", "inputTokens", "input_tokens")
_NO_OBJECTS: Final[list[Json]] = []


def error_in(value: Json) -> JsonObject | None:
    """Return the error object of a body that is no answer; None if it is none. Google sends some errors in a list."""
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, dict) and first.get("choices"):
        return None
    return error_object(first)


def has_end(value: JsonObject) -> bool:
    """Tell whether a plain answer says how it ended. True for a body of another shape, but not for a bare message.

    The fields are OpenAI's `choices[].finish_reason`, Google's `candidates[].finishReason`, Anthropic's `stop_reason`,
    the `stopReason` of Bedrock's Converse, the `finish_reason` of Cohere's v2 and Ollama's `done`.
    """
    if "choices" in value:
        return any(is_finished(one) for one in _objects(value["choices"]))
    if "candidates" in value:
        blocked = value.get("promptFeedback")
        is_blocked = isinstance(blocked, dict) and bool(blocked.get("blockReason"))
        return is_blocked or any(one.get("finishReason") for one in _objects(value["candidates"]))
    if value.get("type") == "message" and "content" in value:
        return bool(value.get("stop_reason"))
    if "output" in value and "usage" in value and "message" in (value["output"] or {}):
        return bool(value.get("stopReason"))
    if "done" in value:
        return value["done"] is True
    message = value.get("message")
    if isinstance(message, dict):
        return bool(value.get("finish_reason"))
    return not isinstance(message, str)


def tells_usage(value: Json, headers: Iterable[str] = (), *, depth: int = 5) -> bool:
    """Tell whether a plain answer has token counts, wherever its wire puts them. LiteLLM counts itself if it has none.

    Some of Bedrock's models tell them in headers.
    """
    usage = value.get("usage") if isinstance(value, dict) else None
    if isinstance(usage, dict) and any(type(usage.get(name)) is int for name in _USUAL_COUNTS):
        return True
    if any("token-count" in name.lower() for name in headers):
        return True
    if isinstance(value, list):
        return depth > 0 and any(tells_usage(one, depth=depth - 1) for one in value[:1])
    if not isinstance(value, dict):
        return False
    return any(
        (isinstance(field, int) and not isinstance(field, bool) and _is_count(name.lower()))
        or (depth > 0 and isinstance(field, dict | list) and tells_usage(field, depth=depth - 1))
        for name, field in value.items()
    )


def _is_count(name: str) -> bool:
    return ("token" in name and not name.startswith("max")) or name.endswith("eval_count")


def ends_of(event: JsonObject) -> Iterator[tuple[int, bool]]:
    """Yield the index of each choice in a stream's event, and whether it ends there: on OpenAI's wire and Google's."""
    for choice in _objects(event.get("choices")):
        if "delta" in choice:
            yield _index(choice), is_finished(choice)
    for candidate in _objects(event.get("candidates")):
        yield _index(candidate), bool(candidate.get("finishReason"))


def _objects(value: Json) -> Iterator[JsonObject]:
    for one in value if isinstance(value, list) else _NO_OBJECTS:
        if isinstance(one, dict):
            yield one


def _index(choice: JsonObject) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0
