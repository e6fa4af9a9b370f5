"""Reads a provider's stream with LiteLLM's own parser for it, event by event, and writes chunks of chat.

LiteLLM's wrapper around that parser is left out: it takes twenty times as long, keeps every chunk, and invents a finish
reason where none came.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.adapters.events import typed_event
from gateway.adapters.litellm.bodies import ends_of
from gateway.adapters.litellm.judging import refuse_failed
from gateway.adapters.litellm.parts import part
from gateway.adapters.litellm.translate import chunk_data
from gateway.adapters.text_runs import HOLE, Pattern, Shape
from gateway.policy.failures import UpstreamError, no_answer
from gateway.policy.finish import index_of
from gateway.wire.json import Json, JsonObject

Parser = Callable[[JsonObject], Any]

_TEXT_ONLY: Final = {"content"}
_CHAT_TEXT: Final[list[str | int]] = ["choices", 0, "delta", "content"]
_TEXT_NAMES: Final = ("content",)
_COUNTS: Final = ("prompt_tokens", "completion_tokens")


def parser_of(stream: Any) -> Parser | None:
    """Return the parser of events under what a handler of LiteLLM's returned; None if it has none that we know."""
    parse = getattr(stream, "chunk_parser", None)
    if parse is None:
        # Bedrock's decoder is the owner of the generator that was not begun.
        frame = getattr(stream, "ag_frame", None)
        parse = getattr(frame.f_locals.get("self"), "chunk_parser", None) if frame is not None else None
    if not callable(parse):
        return None
    return _cohere(parse) if type(stream).__name__ == "CohereV2ModelResponseIterator" else parse


def _cohere(parse: Parser) -> Parser:
    """Return Cohere's parser for what Cohere sends: LiteLLM's looks one level too deep for the end and its usage.

    Source: https://docs.cohere.com/v2/docs/streaming
    """

    def parse_events(data: JsonObject) -> Any:
        return parse({**data, "event": data.get("type"), "data": data})

    return parse_events


class TextPattern:
    """Events of a stream that differ in one text only, of which the parser makes chunks that differ in the same one.

    Most events of a stream are such. Once a second one has shown it, the parser is left out for the others.
    """

    __slots__ = ("_event", "_parents", "_place", "_text", "is_of_chat", "is_sure")

    def __init__(self, event: JsonObject, path: list[str | int], text: str) -> None:
        """`path` leads to `text` in `event`."""
        self._event = event
        *self._parents, self._place = path
        self._text = text
        self.is_of_chat = path == _CHAT_TEXT
        """The text is where OpenAI's wire has it."""
        self.is_sure = False
        """A second event gave what the first one lets expect."""

    def text_of(self, event: JsonObject) -> str | None:
        """Return the text in which an event differs; None if it is empty, or for an event that is not alike."""
        part: Any = event
        try:
            for name in self._parents:
                part = part[name]
            text = part[self._place]
        except (KeyError, IndexError, TypeError):
            return None
        if type(text) is not str or not text:
            return None
        part[self._place] = self._text
        is_alike = event == self._event
        part[self._place] = text
        return text if is_alike else None


def pattern_of(event: JsonObject, chunks: list[JsonObject]) -> TextPattern | None:
    """Return the pattern of an event that became one chunk with nothing but a text, which the event has once."""
    if len(chunks) != 1 or len(chunks[0]["choices"]) != 1:
        return None
    choice = chunks[0]["choices"][0]
    delta = choice["delta"]
    if delta.keys() != _TEXT_ONLY or choice["finish_reason"] is not None or choice.get("logprobs"):
        return None
    text = delta["content"]
    paths = list(_paths(event, text, []))
    return TextPattern(event, paths[0], text) if len(paths) == 1 else None


def _paths(value: Json, text: str, path: list[str | int]) -> Iterator[list[str | int]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        if isinstance(item, dict | list):
            yield from _paths(item, text, [*path, name])
        elif item == text:
            yield [*path, name]


class Reader:
    """Judges and translates the events of one stream. A choice is whole once its finish reason came over the wire."""

    def __init__(self, parse: Parser, *, model: str, usage_wanted: bool, one_choice: bool) -> None:
        """`model`: what is told where the provider names none. `one_choice`: all indexes are one."""
        self._parse = parse
        self._usage_wanted = usage_wanted
        self._one_choice = one_choice
        self._head: JsonObject = {
            "id": f"chatcmpl-{uuid.uuid4()}", "object": "chat.completion.chunk", "created": int(time.time()),
            "model": model,
        }  # fmt: skip
        self._has_id = False
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._with_tools: set[int] = set()
        self._ends: Mapping[int, bool] = {}
        """Choice of the last event → whether it ends there, on OpenAI's wire and Google's. LiteLLM's parsers for these
        give finish reasons to choices that go on."""
        self._usage: JsonObject = {}
        self._pattern: TextPattern | None = None
        self._chunk: JsonObject = {}
        """What the pattern's event became."""
        self._text: str | None = None
        """The text of an event that was checked and needs no parser."""
        self._shape: Shape | None = None
        """What the last run had in common, if its events are the pattern's."""
        self._filled: Pattern
        """The chunks of that run."""

    def see(self, data: JsonObject) -> None:
        """Check the provider's next event. Raises UpstreamError if it is an error."""
        pattern = self._pattern
        if pattern is not None and pattern.is_sure and (text := pattern.text_of(data)) is not None:
            self._text = text
            return
        refuse_failed(data)

    @property
    def is_whole(self) -> bool:
        """The stream may end here."""
        return bool(self._finished) and self._begun <= self._finished

    def feed(self, data: JsonObject) -> list[JsonObject]:
        """Return the chunks that an event becomes. Raises UpstreamError for one that LiteLLM cannot read."""
        if self._text is not None:
            text, self._text = self._text, None
            return [self._with_text(text)]
        try:
            chunk = self._parse(data)
        except UpstreamError:
            raise
        except Exception as error:
            raise no_answer() from error
        self._note_usage_beside(data)
        self._ends = {0 if self._one_choice else index: is_end for index, is_end in ends_of(data)}
        chunks = [] if chunk is None else self.take(chunk)
        self._learn(data, chunks)
        return chunks

    def _learn(self, data: JsonObject, chunks: list[JsonObject]) -> None:
        """Compare an event and its chunks with the last ones that had a text only."""
        pattern = self._pattern
        text = pattern.text_of(data) if pattern is not None else None
        if pattern is not None and text is not None and chunks == [self._with_text(text)]:
            pattern.is_sure = True
            return
        found = pattern_of(data, chunks)
        if found is not None:
            self._pattern, self._chunk, self._shape = found, chunks[0], None

    def _with_text(self, text: str) -> JsonObject:
        """Return the pattern's chunk with another text."""
        chunk = self._chunk
        return {**chunk, "choices": [{**chunk["choices"][0], "delta": {"content": text}}]}

    def take(self, chunk: Any) -> list[JsonObject]:
        """Return what a chunk of LiteLLM's becomes."""
        read = _generic(chunk) if isinstance(chunk, dict) and "is_finished" in chunk else chunk_data(chunk, model=None)
        usage = read.pop("usage", None)
        if isinstance(usage, dict):
            self._count(usage)
        self._take_head(read)
        choices = [kept for choice in read.get("choices") or () if (kept := self._choice(choice)) is not None]
        return [{**read, **self._head, "choices": choices}] if choices else []

    def skip(self, run: bytes) -> None:
        """Do nothing: a run has nothing but text."""

    def run(self, raw: bytes, shape: Shape) -> bytes | None:
        """Return the encoded chunks of a run on OpenAI's wire; None if LiteLLM's parser has to see each event."""
        if shape is not self._shape:
            pattern = self._pattern
            if pattern is None or not pattern.is_sure or not pattern.is_of_chat or shape.names != _TEXT_NAMES:
                return None
            if pattern.text_of(shape.data) is None:
                return None
            self._shape = shape
            self._filled = Pattern(typed_event(self._with_text(HOLE)).encoded())
        texts = shape.values(raw, "content")
        return None if b"" in texts else self._filled.filled(texts)

    def end(self) -> list[JsonObject]:
        """Return the chunk with the token counts, if they are wanted and were told."""
        if not self._usage or not self._usage_wanted:
            return []
        return [{**self._head, "choices": [], "usage": self._usage}]

    def _take_head(self, read: JsonObject) -> None:
        """Keep the first id for all chunks, and the newest model."""
        if not self._has_id and isinstance(read.get("id"), str) and read["id"]:
            self._has_id = True
            self._head["id"] = read["id"]
        model = read.get("model")
        if isinstance(model, str) and model:
            self._head["model"] = model

    def _choice(self, choice: JsonObject) -> JsonObject | None:
        """Return a choice without what says nothing; None if nothing is left."""
        index = 0 if self._one_choice else index_of(choice.get("index"))
        delta: JsonObject = choice.get("delta") or {}
        delta.pop("role", None)
        if not delta.get("content"):
            delta.pop("content", None)
        if delta.get("tool_calls"):
            self._with_tools.add(index)
        reason = (choice.get("finish_reason") or None) if self._ends.get(index, True) else None
        if not delta and reason is None and not choice.get("logprobs"):
            return None
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", **delta}
        if reason is not None:
            self._finished.add(index)
            if reason == "stop" and index in self._with_tools:
                reason = "tool_calls"
        return {**choice, "index": index, "delta": delta, "finish_reason": reason}

    def _count(self, usage: Mapping[str, Json]) -> None:
        """Note token counts. Anthropic tells those of the input first and those of the output last."""
        for name, value in usage.items():
            if value or name not in self._usage:
                self._usage[name] = value
        told = [count for name in _COUNTS if isinstance(count := self._usage.get(name), int)]
        if len(told) == len(_COUNTS):
            total = self._usage.get("total_tokens")
            # More than both is what xAI counts beside them.
            self._usage["total_tokens"] = max(sum(told), total) if type(total) is int else sum(told)

    def _note_usage_beside(self, data: JsonObject) -> None:
        """Note the token counts that Moonshot tells beside the last choice, where LiteLLM does not look."""
        choices = data.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            usage = choice.get("usage") if isinstance(choice, dict) else None
            if isinstance(usage, dict):
                self._count(usage)


def _generic(chunk: JsonObject) -> JsonObject:
    """Return LiteLLM's other form of a chunk in the shape of chat."""
    delta: JsonObject = {"content": chunk.get("text")}
    if chunk.get("tool_use"):
        delta["tool_calls"] = [_without_nulls(chunk["tool_use"])]
    if chunk.get("provider_specific_fields"):
        delta["provider_specific_fields"] = chunk["provider_specific_fields"]
    reason = _finish_reasons()(chunk["finish_reason"]) if chunk.get("finish_reason") else None
    return {
        "choices": [{"index": index_of(chunk.get("choice_index")), "delta": delta, "finish_reason": reason}],
        "usage": _plain(chunk.get("usage")),
    }


def _plain(usage: Any) -> Any:
    dump = getattr(usage, "model_dump", None)
    return dump(exclude_none=True) if dump is not None else usage


def _without_nulls(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    return {name: _without_nulls(field) for name, field in value.items() if field is not None}


@functools.cache
def _finish_reasons() -> Callable[[str], str]:
    """Return LiteLLM's function that puts a provider's finish reason into OpenAI's words."""
    module = part("litellm_core_utils.core_helpers")
    reasons: Callable[[str], str] = module.map_finish_reason
    return reasons
