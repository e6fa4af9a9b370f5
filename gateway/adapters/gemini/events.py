"""The events of a Gemini stream as chunks of a chat stream.

1. Each event is a whole answer with the next parts of its candidates. Texts, thoughts and calls become chunks; a call
   comes whole. The first chunk of a choice has the role.
2. Finish reasons and token counts are kept: the newest counts are those of the whole answer.
3. The end: a chunk with the finish reason for each candidate, and one with the usage, which the engine leaves out for
   clients that did not ask for it.

Events that differ in their text only come as one run of bytes: `run` writes the same chunk around each text.

Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gateway.adapters.fields import items_of
from gateway.adapters.gemini.answer import Said, ToolCalls, audio_of, logprobs_of, malformed, parts_in
from gateway.adapters.gemini.errors import failed_by
from gateway.adapters.gemini.finish import finish_reason
from gateway.adapters.gemini.usage import chat_usage
from gateway.adapters.sent import AS_IS, Sent
from gateway.adapters.text_runs import HOLE, Pattern, Shape
from gateway.policy.failures import error_object
from gateway.policy.finish import index_of
from gateway.wire import sse
from gateway.wire.json import Json, JsonObject, encode_json, json_in

_TEXT: Final = re.compile(rb'"text": ?"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
"""Matches the one field of this name in each event of a run."""


class Events:
    """Turns the events of one Gemini stream into chunks."""

    __slots__ = (
        "_calls", "_choices", "_created", "_id", "_model", "_new_id", "_newest_run", "_pattern", "_started", "_usage",
    )  # fmt: skip

    def __init__(self, sent: Sent = AS_IS, *, model: str, created: int, new_id: Callable[[], str]) -> None:
        """All chunks are `created` at that second. `new_id` and `model` are those of `answer`."""
        self._calls = ToolCalls(sent, new_id)
        self._model: Json = model
        self._created = created
        self._new_id = new_id
        self._id: Json = None
        self._started = False
        """The id and the model are known."""
        self._choices: dict[int, _Choice] = {}
        """By the index of its candidate."""
        self._usage: JsonObject | None = None
        self._newest_run: bytes | None = None
        """The last run since the newest usage."""
        self._pattern: Pattern | None = None
        """The chunks for runs."""

    def feed(self, event: JsonObject) -> list[JsonObject]:
        """Return the chunks for the next event. Raises UpstreamError if it is an error or malformed."""
        if "error" in event and (error := error_object(event)) is not None:
            raise failed_by(error)
        if not self._started:
            self._start(event)
        usage = event.get("usageMetadata")
        if type(usage) is dict:
            self._usage, self._newest_run = usage, None
        candidates = event.get("candidates")
        if candidates is None:
            return []
        if type(candidates) is not list:
            raise malformed()
        if len(candidates) == 1:
            return self._candidate(candidates[0], 0)
        return [chunk for place, one in enumerate(candidates) for chunk in self._candidate(one, place)]

    def run(self, raw: bytes, shape: Shape | None = None) -> bytes | None:
        """Return events that differ in their text only as encoded chunks; None if each has to be fed.

        Of any shape: the text is the one field of its name.
        """
        pattern = self._pattern
        if pattern is None:
            choice = self._choices.get(0)
            if choice is None or not choice.has_role:
                return None
            pattern = self._pattern = Pattern(sse.encode(encode_json(self._chunk(0, {"content": HOLE}))))
        self._newest_run = raw
        return pattern.filled(_TEXT.findall(raw))

    def end(self) -> list[JsonObject]:
        """Return the chunks with the finish reasons, and the one with the usage, if it was told."""
        if self._newest_run is not None:
            self._usage = _usage_of(self._newest_run) or self._usage
        chunks = []
        for index, choice in self._choices.items():
            finish = choice.finish
            if choice.calls and finish == "stop":
                finish = "tool_calls"
            if finish is not None:
                chunks.append(self._chunk(index, {} if choice.has_role else {"role": "assistant"}, finish))
        counts = chat_usage(self._usage)
        if counts is not None:
            chunks.append({**self._chunk(0, {}), "choices": [], "usage": counts})
        return chunks

    def _start(self, event: JsonObject) -> None:
        self._started = True
        self._id = event.get("responseId") or f"chatcmpl-{self._new_id()}"
        self._model = event.get("modelVersion") or self._model

    def _chunk(self, index: int, delta: JsonObject, finish: str | None = None) -> JsonObject:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        }

    def _candidate(self, candidate: Json, place: int) -> list[JsonObject]:
        if type(candidate) is not dict:
            raise malformed()
        index = candidate.get("index", place)
        if type(index) is not int:
            index = index_of(index)
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        finish = candidate.get("finishReason")
        if finish:
            choice.finish = finish_reason(finish) or choice.finish
        parts = parts_in(candidate)
        if not parts and "logprobsResult" not in candidate:
            return []
        if len(parts) == 1 and choice.has_role:
            part = parts[0]
            if type(part) is dict and len(part) == 1 and "logprobsResult" not in candidate:
                text = part.get("text")
                if type(text) is str:  # the usual event
                    return [self._chunk(index, {"content": text})] if text else []
        return self._said(index, choice, candidate, parts)

    def _said(self, index: int, choice: _Choice, candidate: JsonObject, parts: list[Json]) -> list[JsonObject]:
        """Return the chunks for the parts of a candidate: thoughts, then text and media, then calls."""
        said = Said()
        for part in parts:
            said.take(part)
        deltas: list[JsonObject] = []
        if said.thoughts:
            deltas.append({"reasoning_content": "".join(said.thoughts)})
        delta: JsonObject = {}
        if said.texts:
            delta["content"] = "".join(said.texts)
        if said.images:
            delta["images"] = [{"index": choice.images + place, **image} for place, image in enumerate(said.images)]
            choice.images += len(said.images)
        if said.sound is not None:
            delta["audio"] = audio_of(said.sound, self._created)
        if said.signatures:
            delta["provider_specific_fields"] = {"thought_signatures": said.signatures}
        if delta:
            deltas.append(delta)
        for part in said.calls:
            deltas.append({"tool_calls": [{"index": choice.calls, **self._calls.call(part)}]})
            choice.calls += 1
        logprobs = logprobs_of(candidate.get("logprobsResult"))
        if logprobs is not None and not deltas:
            deltas.append({})
        if deltas and not choice.has_role:
            choice.has_role = True
            deltas[0] = {"role": "assistant", **deltas[0]}
        chunks = [self._chunk(index, one) for one in deltas]
        if logprobs is not None:
            chunks[-1]["choices"][0]["logprobs"] = logprobs
        return chunks


class _Choice:
    """One choice: how many calls and images it has so far, why it ended, whether its role was told."""

    __slots__ = ("calls", "finish", "has_role", "images")

    def __init__(self) -> None:
        self.calls = 0
        self.images = 0
        self.finish: str | None = None
        self.has_role = False


def _usage_of(run: bytes) -> JsonObject | None:
    """Return the token counts of the last event of a run."""
    events = sse.Splitter().split(run)
    data = json_in(sse.event_data(events[-1])) if items_of(events) else None
    usage = data.get("usageMetadata") if isinstance(data, dict) else None
    return usage if isinstance(usage, dict) else None
