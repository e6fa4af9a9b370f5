"""What Gemini's own API is asked for: `generateContent`, into which chat is put, `batchEmbedContents`, `countTokens`.

No client asks for these here. Sources: https://ai.google.dev/api/generate-content,
https://ai.google.dev/api/embeddings, https://ai.google.dev/api/tokens
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.adapters.base import Bonds
from gateway.adapters.counts import counts
from gateway.adapters.events import Event
from gateway.adapters.gemini.errors import failed_by
from gateway.adapters.gemini.finish import FINISH_REASONS, finish_reason
from gateway.operations.base import MAX_CHOICES, OpenAIOperation, objects
from gateway.operations.google_files import google_bonds
from gateway.policy.failures import Kind, UpstreamError, envelope, error_object, no_answer
from gateway.policy.finish import index_of
from gateway.wire.json import EMPTY, Json, JsonObject

_CONTENT: Final = ("text", "functionCall", "inlineData", "executableCode", "codeExecutionResult")
"""Fields of a part that are content."""
_COUNTED: Final = ("candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount")
"""Token counts that grow with each event of a stream."""


class GenerateContent(OpenAIOperation):
    """A whole answer, or a stream of its parts. The model is in the path, and so is the wish for a stream."""

    name: Final = "generate_content"
    wire: Final = "gemini"
    path: Final = ":generateContent"
    stream_path = ":streamGenerateContent?alt=sse"
    model_is_in_path = True
    field: Final = None
    params: Final = frozenset(
        {
            "cachedContent", "contents", "generationConfig", "safetySettings", "serviceTier", "systemInstruction",
            "toolConfig", "tools",
        }
    )  # fmt: skip
    streams = True
    stream_end = b""
    stream_fields = EMPTY

    def check(self, body: JsonObject) -> None:
        """Do nothing: the translation writes the request."""

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there are candidates, each with the finish reason of an answer."""
        if "error" in data:
            _raise_error(data)
        candidates = data.get("candidates")
        if not candidates:
            raise_blocked(data)
            raise no_answer()
        if not isinstance(candidates, list):
            raise no_answer()
        for candidate in candidates:
            if not isinstance(candidate, dict) or finish_reason(candidate.get("finishReason")) is None:
                raise no_answer()

    def bound_to(self, params: Mapping[str, Json]) -> Bonds:
        """Return what binds the request: files and caches of one account."""
        return google_bonds(params, "contents")

    def judge(self, *, one_choice: bool = False) -> GenerateJudge:
        """Return a judge of the events of an answer."""
        return GenerateJudge()

    def varying(self, data: JsonObject) -> Mapping[str, Json] | None:
        """Return the text of the first candidate, if that is all that an event says, and the counts that grow."""
        candidates = data.get("candidates")
        if type(candidates) is not list or len(candidates) != 1:
            return None
        candidate = candidates[0]
        if type(candidate) is not dict or candidate.get("index", 0) != 0 or "finishReason" in candidate:
            return None
        content = candidate.get("content")
        parts = content.get("parts") if type(content) is dict else None
        if type(parts) is not list or len(parts) != 1 or "logprobsResult" in candidate:
            return None
        part = parts[0]
        if type(part) is not dict or len(part) != 1 or not part.get("text"):
            return None
        usage = data.get("usageMetadata")
        if type(usage) is not dict:
            return part
        return {**part, **{name: usage[name] for name in _COUNTED if name in usage}}

    def is_answer(self, data: JsonObject) -> bool:
        """Tell whether a body has candidates, or tells that it has none since the prompt was blocked."""
        return bool(data.get("candidates") or data.get("promptFeedback"))

    def as_events(self, data: JsonObject) -> list[Event]:
        """Return a plain answer as the one event of a stream, which has the same shape."""
        return [Event(data)]

    def is_text_event(self, data: JsonObject) -> bool:
        """Tell whether an event has content."""
        return any(map(_has_content, objects(data.get("candidates"))))

    def is_final_event(self, data: JsonObject) -> bool:
        """Tell whether a candidate of an event has a finish reason."""
        return any(candidate.get("finishReason") for candidate in objects(data.get("candidates")))

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the token counts of an answer; None if it has none."""
        usage = data.get("usageMetadata")
        return _tokens(usage) if isinstance(usage, dict) and usage else None


class BatchEmbed(OpenAIOperation):
    """Embeddings of several texts."""

    name: Final = "batch_embed"
    wire: Final = "gemini"
    path: Final = ":batchEmbedContents"
    model_is_in_path = True
    field: Final = None
    params: Final = frozenset({"requests"})

    def check(self, body: JsonObject) -> None:
        """Do nothing: the translation writes the request."""

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there are embeddings, none of them empty."""
        if "error" in data:
            _raise_error(data)
        found = data.get("embeddings")
        if not isinstance(found, list) or not found:
            raise no_answer()
        for one in found:
            values = one.get("values") if isinstance(one, dict) else None
            if not isinstance(values, list) or not values:
                raise no_answer()


class CountContents(OpenAIOperation):
    """The tokens of a request for a whole answer, which are counted for free."""

    name: Final = "count_contents"
    wire: Final = "gemini"
    path: Final = ":countTokens"
    model_is_in_path = True
    field: Final = None
    params: Final = frozenset({"generateContentRequest"})

    def check(self, body: JsonObject) -> None:
        """Do nothing: the translation writes the request."""

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there is a count."""
        if "error" in data:
            _raise_error(data)
        if type(data.get("totalTokens")) is not int:
            raise no_answer()


class GenerateJudge:
    """Checks the events of one answer: it is whole once every candidate has a finish reason."""

    __slots__ = ("_finished", "_seen", "_usage", "has_content")

    next_number: Final = 0
    hears_runs: Final = False

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._usage: JsonObject | None = None
        self.has_content = False

    def see(self, data: JsonObject) -> None:
        """Check the next event. Raises UpstreamError if it is an error or malformed, or the prompt was blocked."""
        if "error" in data:
            _raise_error(data)
        candidates = data.get("candidates")
        if not candidates:
            if not self._seen:
                raise_blocked(data)
            candidates = ()
        elif type(candidates) is not list:
            raise no_answer()
        for place, candidate in enumerate(candidates):
            if type(candidate) is not dict:
                raise no_answer()
            index = candidate.get("index", place)
            if type(index) is not int:
                index = index_of(index)
            if index not in self._seen:
                self._seen.add(index)
                if len(self._seen) > MAX_CHOICES:
                    raise no_answer()
            finish = candidate.get("finishReason")
            if finish and ((type(finish) is str and finish in FINISH_REASONS) or finish_reason(finish) is not None):
                self._finished.add(index)
            if not self.has_content:
                self.has_content = _has_content(candidate)
        usage = data.get("usageMetadata")
        if type(usage) is dict:
            self._usage = usage

    def skip(self, run: bytes) -> None:
        """Do nothing: a run has no finish reason."""

    @property
    def tokens(self) -> dict[str, int] | None:
        """The newest token counts."""
        return _tokens(self._usage) if self._usage else None

    @property
    def is_whole(self) -> bool:
        """There is a candidate, and all have a finish reason."""
        return bool(self._seen) and self._seen == self._finished


def raise_blocked(data: JsonObject) -> None:
    """Raise UpstreamError if a prompt was blocked: such an answer has no candidates.

    Source: https://ai.google.dev/api/generate-content#BlockReason
    """
    feedback = data.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    if reason:
        error = {
            "message": f"the prompt was blocked: {str(reason)[:64]}",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "content_filter",
        }
        body = envelope(error, Kind.CONTENT_FILTER)
        raise UpstreamError(Kind.CONTENT_FILTER, status=200, code="content_filter", body=body)


def _raise_error(data: JsonObject) -> None:
    error = error_object(data)
    if error is not None:
        raise failed_by(error)


def _has_content(candidate: JsonObject) -> bool:
    content = candidate.get("content")
    parts = objects(content.get("parts")) if isinstance(content, dict) else []
    return any(part.get(name) for part in parts for name in _CONTENT)


def _tokens(usage: JsonObject) -> dict[str, int]:
    return counts(prompt=usage.get("promptTokenCount"), completion=usage.get("candidatesTokenCount"))
