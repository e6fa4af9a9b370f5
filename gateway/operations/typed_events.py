"""Streams whose events tell by their `type` what they are: images and sound on OpenAI's wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.operations.base import OpenAIOperation, is_text_to_judge, raise_error
from gateway.policy.failures import failed_by
from gateway.wire import sse
from gateway.wire.json import JsonObject, encode_json

_ENDS: Final = (".completed", ".done")
"""How the types of events end that end something."""


class TypedEvents(OpenAIOperation):
    """The common part of operations whose streams have such events. They end without `[DONE]`."""

    stream_end = b""

    def is_text_event(self, data: JsonObject) -> bool:
        """Tell whether an event has content."""
        return is_text_to_judge(self, data)

    def is_final_event(self, data: JsonObject) -> bool:
        """Tell whether an event has token counts, or is the last of a stream or of an image."""
        kind = data.get("type")
        return (isinstance(kind, str) and kind.endswith(_ENDS)) or super().is_final_event(data)

    def break_event(self, envelope: JsonObject, number: int) -> bytes:
        """Return an `error` event. OpenAI's SDKs raise for the `error` in it."""
        return sse.encode(encode_json({"type": "error", **envelope}), name=b"error")


class TypedJudge:
    """Checks a stream of typed events."""

    __slots__ = ("_content", "_end", "_ends", "_tokens", "_tokens_of", "has_content")

    next_number: Final = 0
    hears_runs: Final = False

    def __init__(
        self,
        content: tuple[str, ...],
        end: str,
        tokens_of: Callable[[JsonObject], dict[str, int] | None],
        *,
        ends: int = 1,
    ) -> None:
        """`content`: how the types of events with content end; an empty delta has none.

        The stream is whole after `ends` events of `end`.
        """
        self._content = content
        self._end = end
        self._ends = ends
        self._tokens_of = tokens_of
        self._tokens: dict[str, int] | None = None
        self.has_content = False

    def see(self, data: JsonObject) -> None:
        """Check the next event. Raises UpstreamError if it is an error."""
        if data.get("error"):
            raise_error(data)
        kind = data.get("type")
        if kind == "error":
            raise failed_by(data)
        if not isinstance(kind, str):
            return
        if kind.endswith(self._end):
            self._ends -= 1
            self._tokens = self._tokens_of(data) or self._tokens
        if not self.has_content and kind.endswith(self._content):
            self.has_content = not kind.endswith(".delta") or bool(data.get("delta") or data.get("audio"))

    def skip(self, run: bytes) -> None:
        """Do nothing: a run ends nothing."""

    @property
    def tokens(self) -> dict[str, int] | None:
        """The token counts of the last event that had some."""
        return self._tokens

    @property
    def is_whole(self) -> bool:
        """All events that end the stream have come."""
        return self._ends <= 0


class BytesJudge:
    """Counts the bytes of an answer that is no text of ours: its adapter tells whether it ended as it should."""

    __slots__ = ("has_content",)

    next_number: Final = 0
    hears_runs: Final = True
    tokens: Final = None

    def __init__(self) -> None:
        self.has_content = False

    def see(self, data: JsonObject) -> None:
        """Do nothing: bytes have no events."""

    def skip(self, run: bytes) -> None:
        """Note that bytes have come."""
        self.has_content = self.has_content or bool(run)

    @property
    def is_whole(self) -> bool:
        """There were bytes."""
        return self.has_content
