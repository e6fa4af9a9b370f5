"""Judging what an upstream sent: is it an answer, does it hold content, is the stream whole? Plain code on dicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.errors import UpstreamError, classify, error_code, error_object
from gateway.types import JsonObject, Kind, Operation
from gateway.wire.json import encode_json

_CONTENT_KEYS: Final = (
    "content",
    "reasoning_content",
    "reasoning",
    "tool_calls",
    "function_call",
    "refusal",
    "audio",
)
"""Fields of a delta that carry content: text, reasoning, a tool call, a refusal, audio."""

_ARRAYS: Final = (list, tuple)
_NO_COUNT: Final = 2**53
"""No upstream counts so far; what claims to is a fault."""


def judge_reply(operation: Operation, data: JsonObject) -> None:
    """Raise UpstreamError when a plain reply with a good status is an error, or is no answer.

    A chat answer has a choice with a message and a finish reason, even with empty text; an embeddings answer has data.
    """
    if "error" in data:
        raise_error(data)
    if operation == "embeddings":
        if isinstance(data.get("data"), list) and data["data"]:
            return
    else:
        for choice in _choices(data):
            if choice.get("finish_reason") and isinstance(choice.get("message"), dict):
                return
    raise UpstreamError(Kind.BAD_RESPONSE, status=200)


def raise_error(data: JsonObject) -> None:
    """Raise UpstreamError of its own kind when a body or event that came with a good status is an error."""
    error = error_object(data)
    if error is not None:
        raise UpstreamError(
            classify(None, data), status=200, code=error_code(error), body=encode_json({"error": error})
        )


class StreamJudge:
    """Follows one stream event by event."""

    __slots__ = ("_finished", "_seen", "has_content", "usage")

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self.has_content = False
        """Content has come: text, reasoning, a tool call, a refusal or audio."""
        self.usage: JsonObject | None = None

    def see(self, data: JsonObject) -> None:
        """Take the next event into account. Raises UpstreamError when it is an error."""
        if not data:
            return  # text, and nothing else
        if "error" in data:
            raise_error(data)
        for choice in _choices(data):
            index = choice.get("index")
            if type(index) is not int:
                index = 0
            self._seen.add(index)
            if choice.get("finish_reason"):
                self._finished.add(index)
            delta = choice.get("delta")
            if not self.has_content and isinstance(delta, dict):
                self.has_content = any(delta.get(key) for key in _CONTENT_KEYS)
        usage = data.get("usage")
        if isinstance(usage, dict):
            self.usage = usage

    @property
    def is_whole(self) -> bool:
        """Every choice that was begun has its finish reason, and there is at least one."""
        return bool(self._seen) and self._seen <= self._finished


def tokens_of(data: JsonObject) -> dict[str, int] | None:
    """Return the token counts that a plain reply carries; None where it reports none."""
    usage = data.get("usage")
    return counts_of(usage) if isinstance(usage, dict) and usage else None


def counts_of(usage: JsonObject) -> dict[str, int]:
    """Return the `prompt` and `completion` counts of an upstream's usage; what is no sane count is left out."""
    counts: dict[str, int] = {}
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(prompt) is int and 0 <= prompt < _NO_COUNT:
        counts["prompt"] = prompt
    if type(completion) is int and 0 <= completion < _NO_COUNT:
        counts["completion"] = completion
    return counts


def _choices(data: JsonObject) -> Sequence[JsonObject]:
    choices = data.get("choices") or ()
    if not isinstance(choices, _ARRAYS):
        raise UpstreamError(Kind.BAD_RESPONSE, status=200)
    for choice in choices:
        if not isinstance(choice, dict):
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
    return choices
