"""Judging what an upstream sent: is it an answer, does it hold content, is the stream whole? Plain code on dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.adapters.base import Chunk, Chunks, ChunkStream, Push
from gateway.policy.failures import Kind, UpstreamError, classify, error_code, error_object
from gateway.policy.target import Operation
from gateway.wire.json import Json, JsonObject, encode_json

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


_OPTIONS: Final = "stream_options"


def usage_wanted(params: Mapping[str, Json], overrides: Mapping[str, Json]) -> bool:
    """Tell whether a stream is asked for with `stream_options.include_usage`; the file's `overrides` win."""
    options = overrides[_OPTIONS] if _OPTIONS in overrides else params.get(_OPTIONS)
    return isinstance(options, dict) and bool(options.get("include_usage"))


def with_usage_last(stream: ChunkStream) -> ChunkStream:
    """Return a stream that ends with its newest usage, wherever the upstream puts that.

    Some report it in the event of the finish reason, some in every event, some in an event of its own before others.
    A stream without any usage stays as it is.
    """
    chunks = _UsageLast(stream)
    return ChunkStream(chunks=chunks, headers=stream.headers, take=chunks.take, ended=chunks.ended, flow=chunks.flow)


class _UsageLast:
    def __init__(self, stream: ChunkStream) -> None:
        self._chunks = stream.chunks
        self._take = stream.take
        self._ended = stream.ended
        self._flow = stream.flow
        self._newest: Chunk | None = None
        """The last one that had a usage. Held back when it had nothing else."""

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> Chunk:
        async for chunk in self._chunks:
            if self._passes(chunk):
                return chunk
        newest, self._newest = self._newest, None
        if newest is None or newest.data is None:
            raise StopAsyncIteration
        return newest if newest.data.get("choices") == [] else Chunk({**newest.data, "choices": []})

    def take(self) -> list[Chunk]:
        """Return what is there already."""
        return self._passing(self._take())

    def ended(self) -> bool:
        """Tell whether all has been taken, the usage too."""
        return self._newest is None and self._ended()

    async def flow(self, push: Push) -> None:
        """Hand on what comes."""
        await self._flow(lambda chunks: push(self._passing(chunks)))

    async def aclose(self) -> None:
        """Close the stream."""
        await self._chunks.aclose()

    def _passing(self, chunks: list[Chunk]) -> list[Chunk]:
        return [chunk for chunk in chunks if self._passes(chunk)]

    def _passes(self, chunk: Chunk) -> bool:
        """Note a usage. What carries nothing else is held back."""
        data = chunk.data
        if data is None or not isinstance(data.get("usage"), dict):
            return True
        self._newest = chunk
        return bool(data.get("choices") or data.get("error"))
