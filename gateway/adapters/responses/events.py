"""Translates a stream: chunks of a chat completion → the events of a Response.

1. `response.created` and `response.in_progress` come with the first chunk.
2. Reasoning, text and refusal open an item, or go on with the open one: one such item is open at a time. A call opens
   an item of its own, which stays open beside the others: parallel calls may come in turns.
3. The summary of a compaction has one item, whose content is told at the end.
4. `end` closes what is open, in the order of the output, and tells the whole Response, once the choice has finished.
   Before that the source was cut: there is no last event, so nobody takes the answer for whole.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from typing import Final

from gateway.adapters.chat_chunks import is_lone_text
from gateway.adapters.events import typed_event
from gateway.adapters.responses.answer import (
    NO_ARGUMENTS,
    annotations_in,
    call_fields,
    end,
    finish_reason,
    input_of,
    is_incomplete,
    item_id,
    item_of_call,
    logprobs_in,
    new_item,
    reasoning_fields,
    reasoning_in,
    split_content,
    summary_item,
    text_part,
)
from gateway.adapters.responses.asked import Asked, Called, response
from gateway.adapters.responses.compaction import ITEM
from gateway.adapters.responses.free_text import FreeText
from gateway.adapters.text_runs import HOLE, NumberedPattern, Shape, joined
from gateway.policy.failures import error_object, failed_by, no_answer
from gateway.wire.json import Json, JsonObject

_TEXT: Final = "response.output_text.delta"
_REFUSAL: Final = "response.refusal.delta"
_SUMMARY: Final = "response.reasoning_summary_text.delta"
_REASONING: Final = "response.reasoning_text.delta"
_ARGUMENTS: Final = "response.function_call_arguments.delta"
_INPUT: Final = "response.custom_tool_call_input.delta"


class Events:
    """The events of one stream. Not to be used again after an exception."""

    __slots__ = (
        "_asked", "_calls", "_closed", "_created", "_finish", "_id", "_model", "_newest", "_open", "_out",
        "_pattern", "_serial", "_shape", "_summary", "_tier", "_told", "sequence_number",
    )  # fmt: skip

    def __init__(self, asked: Asked, *, serial: str, now: int) -> None:
        self.sequence_number = 0
        """That of the next event."""
        self._asked = asked
        self._serial = serial
        self._id = f"resp_{serial}"
        self._created = now
        self._model: Json = None
        self._tier: Json = None
        self._told: JsonObject = {}
        """The newest `usage` of the source, and its `service_tier`."""
        self._finish: str | None = None
        self._open: _Text | None = None
        """The item that text, reasoning or a refusal goes on with."""
        self._calls: list[_Call] = []
        self._newest: dict[int | None, _Call] = {}
        """A call's number on the chat wire → the newest call of it."""
        self._closed: list[JsonObject | None] = []
        """The items of the output, in order; None for one that is open."""
        self._summary: list[str] = []
        """The text of a compaction."""
        self._out: list[JsonObject] = []
        self._shape: Shape | None = None
        """What the last run had in common, if it became deltas of the open item."""
        self._pattern: NumberedPattern
        """These deltas."""

    @property
    def is_whole(self) -> bool:
        """The source has said that the answer is finished, so it may end here."""
        return self._finish is not None

    def feed(self, chunk: JsonObject) -> list[JsonObject]:
        """Return the next events, in order. Raises UpstreamError for an error or a failed choice in the chunk."""
        if "error" in chunk and (error := error_object(chunk)) is not None:
            raise failed_by(error)
        out: list[JsonObject] = []
        self._out = out
        if not self.sequence_number:
            self._begin(chunk)
        if chunk.get("usage"):
            self._told = {"usage": chunk["usage"], "service_tier": chunk.get("service_tier") or self._tier}
        choices = chunk.get("choices")
        if not choices:
            return out
        if type(choices) is not list:
            raise no_answer()
        for choice in choices:
            if type(choice) is not dict:
                raise no_answer()
            if not choice.get("index"):  # one choice is asked for
                self._add_choice(choice)
        return out

    def run(self, raw: bytes, shape: Shape) -> bytes | None:
        """Return the encoded events for a run of chunks; None if each has to be fed."""
        item = self._open
        if item is None:
            return None
        if shape is not self._shape:
            if item.kind != _TEXT or self._asked.compacts or not is_lone_text(shape.data):
                return None
            self._shape = shape
            delta = {**self._text_delta(item, HOLE), "sequence_number": HOLE}
            self._pattern = NumberedPattern(typed_event(delta).encoded())
        if texts := [text for text in shape.values(raw, "content") if text]:
            item.texts.append(joined(texts))
        number = self.sequence_number
        self.sequence_number += len(texts)
        return self._pattern.filled(texts, number)

    def end(self, *, now: int) -> list[JsonObject]:
        """Return the last events; an empty list if the source ended before the answer was finished."""
        reason = self._finish
        if reason is None:
            return []
        out: list[JsonObject] = []
        self._out = out
        if self._asked.compacts:
            self._done(0, summary_item("".join(self._summary), self._serial))
        elif not self._closed:
            self._text(_TEXT)
        still_open: list[_Text | _Call] = [*self._calls]
        if self._open is not None:
            still_open.append(self._open)
        cut = is_incomplete(reason)
        last = len(self._closed) - 1
        for item in sorted(still_open, key=lambda item: item.position):
            status = "incomplete" if cut and item.position == last else "completed"
            if isinstance(item, _Text):
                self._close_text(item, status)
            else:
                self._close_call(item, status)
        whole = self._response("in_progress", [item for item in self._closed if item is not None])
        end(whole, reason, self._told, now=now)
        self._emit(f"response.{whole['status']}", response=whole)
        return out

    def _begin(self, chunk: JsonObject) -> None:
        self._model, self._tier = chunk.get("model"), chunk.get("service_tier")
        self._told = {"service_tier": self._tier}
        if type(created := chunk.get("created")) is int:
            self._created = created
        self._emit("response.created", response=self._response("in_progress", []))
        self._emit("response.in_progress", response=self._response("in_progress", []))

    def _response(self, status: str, output: list[JsonObject]) -> JsonObject:
        return response(
            self._asked, id_=self._id, created_at=self._created, model=self._model, status=status, output=output
        )

    def _add_choice(self, choice: JsonObject) -> None:
        delta = choice.get("delta")
        if delta:
            if type(delta) is not dict:
                raise no_answer()
            if self._asked.compacts:
                self._add_summary(split_content(delta.get("content"))[1])
            else:
                self._add_delta(delta, choice.get("logprobs"))
        if "finish_reason" in choice or "error" in choice:
            self._finish = finish_reason(choice) or self._finish

    def _add_delta(self, delta: JsonObject, logprobs: Json) -> None:
        content = delta.get("content")
        if content and type(content) is not str:
            thought, content = split_content(content)
            if thought:
                self._add_reasoning(thought)
        if thought := reasoning_in(delta):
            self._add_reasoning(thought)
        if content:
            self._add_text(_TEXT, content, logprobs)
        if (refusal := delta.get("refusal")) and type(refusal) is str:
            self._add_text(_REFUSAL, refusal, None)
        if "annotations" in delta:
            self._add_annotations(delta)
        if calls := delta.get("tool_calls"):
            for call in calls if type(calls) is list else ():
                self._add_call(call)

    def _add_summary(self, delta: str) -> None:
        if not delta:
            return
        if not self._closed:
            self._item(ITEM, encrypted_content="")
        self._summary.append(delta)
        place: JsonObject = {"item_id": item_id(ITEM, self._serial, 0), "output_index": 0}
        self._emit("response.compaction.compacting", **place)

    # Text, refusal, reasoning

    def _add_text(self, kind: str, delta: str, logprobs: Json) -> None:
        item = self._open
        if item is None or item.kind != kind:
            item = self._text(kind)
        item.texts.append(delta)
        event = self._text_delta(item, delta)
        if kind == _TEXT and logprobs:
            event["logprobs"] = logprobs_in(logprobs, whole=False)
            item.logprobs += logprobs_in(logprobs, whole=True)
        self.sequence_number += 1
        self._out.append(event)

    def _text_delta(self, item: _Text, delta: str) -> JsonObject:
        event: JsonObject = {
            "type": item.kind,
            "sequence_number": self.sequence_number,
            "item_id": item.id,
            "output_index": item.position,
            "content_index": item.index,
            "delta": delta,
        }
        if item.kind == _TEXT:
            event["logprobs"] = []
        return event

    def _add_reasoning(self, delta: str) -> None:
        kind = _SUMMARY if self._asked.summarizes else _REASONING
        item = self._open
        if item is None or item.kind != kind:
            item = self._text(kind)
        item.texts.append(delta)
        self._emit(kind, **item.place(), delta=delta)

    def _add_annotations(self, delta: JsonObject) -> None:
        for annotation in annotations_in(delta):
            item = self._open
            if item is None or item.kind != _TEXT:
                item = self._text(_TEXT)
            self._emit(
                "response.output_text.annotation.added",
                **item.place(),
                annotation_index=len(item.annotations),
                annotation=annotation,
            )
            item.annotations.append(_fresh(annotation))

    def _text(self, kind: str) -> _Text:
        """Return a new open item, or the open message with a new part, after the events that say so."""
        self._shape = None
        before = self._open
        if before is not None and before.is_message and kind in (_TEXT, _REFUSAL):
            self._close_part(before)
            before.begin(kind)
            item = before
        else:
            if before is not None:
                self._close_text(before, "completed")
            name = "message" if kind in (_TEXT, _REFUSAL) else "reasoning"
            fields: JsonObject = {"role": "assistant", "content": []} if name == "message" else {"summary": []}
            added = self._item(name, **fields, status="in_progress")
            item = self._open = _Text(kind, added["id"], len(self._closed) - 1)
        added_event = "response.reasoning_summary_part.added" if kind == _SUMMARY else "response.content_part.added"
        self._emit(added_event, **item.place(), part=item.part(""))
        return item

    def _close_part(self, item: _Text) -> None:
        text = "".join(item.texts)
        part = item.part(text)
        place = item.place()
        if item.kind == _REFUSAL:
            self._emit("response.refusal.done", **place, refusal=text)
        elif item.kind == _TEXT:
            told = [{name: _without_bytes(value) for name, value in token.items() if name != "bytes"}
                    for token in item.logprobs]  # fmt: skip
            self._emit("response.output_text.done", **place, text=text, logprobs=told)
        else:
            self._emit(item.kind.removesuffix("delta") + "done", **place, text=text)
        done = "response.reasoning_summary_part.done" if item.kind == _SUMMARY else "response.content_part.done"
        self._emit(done, **place, part=part)
        item.parts.append(_fresh(part))

    def _close_text(self, item: _Text, status: str) -> None:
        self._shape = None
        self._close_part(item)
        if item.is_message:
            fields: JsonObject = {"role": "assistant", "content": item.parts}
        else:
            fields = reasoning_fields(self._asked, "".join(item.texts))
        self._done(item.position, new_item(item.item_type, self._serial, item.position, **fields, status=status))
        self._open = None

    # Calls

    def _add_call(self, delta: Json) -> None:
        if type(delta) is not dict:
            raise no_answer()
        function = delta.get("function")
        if type(function) is not dict:
            function = {}
        call = self._call(delta, function.get("name"))
        arguments = function.get("arguments")
        if type(arguments) is str and arguments:
            call.arguments.append(arguments)
            if call.called is not None:
                self._add_arguments(call, arguments)

    def _call(self, delta: JsonObject, name: Json) -> _Call:
        """Return the call that a delta goes on with, or a new one after the event that says so."""
        index, id_ = delta.get("index"), delta.get("id")
        index, id_ = index if type(index) is int else None, id_ if type(id_) is str else ""
        named = name if type(name) is str and name else None
        call = self._newest.get(index)
        # Some servers number all their calls 0; another id with a name is another call.
        if call is None or (named and id_ and call.called is not None and id_ != call.id):
            call = _Call(id_ or f"call_{self._serial}_{len(self._calls)}", given=bool(id_))
            self._calls.append(call)
            self._newest[index] = call
        if call.called is None and named:
            call.id = call.id if call.given else id_ or call.id
            self._open_call(call, named)
            self._add_arguments(call, "".join(call.arguments))
        return call

    def _open_call(self, call: _Call, name: str) -> None:
        if self._open is not None:
            self._close_text(self._open, "completed")
        call.called = called = self._asked.called(name)
        if called.kind == "custom":
            call.free_text = FreeText()
        nothing: Json = {} if called.kind == "search" else ""
        item = self._item(item_of_call(called), **call_fields(called, call.id, nothing, status="in_progress"))
        call.item_id, call.position = item["id"], len(self._closed) - 1

    def _add_arguments(self, call: _Call, delta: str) -> None:
        kind = _ARGUMENTS
        if call.free_text is not None:
            delta, kind = call.free_text.feed(delta), _INPUT
        elif call.called is not None and call.called.kind == "search":
            return
        if not delta:
            return
        event: JsonObject = {
            "type": kind,
            "sequence_number": self.sequence_number,
            "item_id": call.item_id,
            "output_index": call.position,
            "delta": delta,
        }
        self.sequence_number += 1
        self._out.append(event)

    def _close_call(self, call: _Call, status: str) -> None:
        called, arguments = call.called, "".join(call.arguments)
        if called is None:  # a call that never got a name calls nothing
            raise no_answer()
        place: JsonObject = {"item_id": call.item_id, "output_index": call.position}
        value = input_of(called, arguments)
        if call.free_text is not None:
            value, rest = call.free_text.end(arguments, value)
            if rest:
                self._emit(_INPUT, **place, delta=rest)
            self._emit("response.custom_tool_call_input.done", **place, input=value)
        elif called.kind == "function":
            if not arguments:
                self._emit(_ARGUMENTS, **place, delta=NO_ARGUMENTS)
            self._emit("response.function_call_arguments.done", **place, arguments=value)
        fields = call_fields(called, call.id, value, status=status)
        self._done(call.position, new_item(item_of_call(called), self._serial, call.position, **fields))

    # Events

    def _item(self, kind: str, **fields: Json) -> JsonObject:
        item = new_item(kind, self._serial, len(self._closed), **fields)
        self._emit("response.output_item.added", output_index=len(self._closed), item=item)
        self._closed.append(None)
        return item

    def _done(self, position: int, item: JsonObject) -> None:
        self._closed[position] = item
        self._emit("response.output_item.done", output_index=position, item=_fresh(item))

    def _emit(self, kind: str, **fields: Json) -> None:
        self._out.append({"type": kind, "sequence_number": self.sequence_number, **fields})
        self.sequence_number += 1


class _Text:
    """An open item of text: a message or reasoning, and its open part."""

    __slots__ = ("annotations", "id", "index", "kind", "logprobs", "parts", "position", "texts")

    def __init__(self, kind: str, id_: str, position: int) -> None:
        self.id = id_
        self.position = position
        """Index in the output."""
        self.parts: list[JsonObject] = []
        """The closed parts."""
        self.begin(kind)

    def begin(self, kind: str) -> None:
        """Begin the next part."""
        self.kind = kind
        """The type of its deltas' events."""
        self.index = len(self.parts)
        self.texts: list[str] = []
        self.logprobs: list[JsonObject] = []
        self.annotations: list[JsonObject] = []

    @property
    def is_message(self) -> bool:
        return self.kind in (_TEXT, _REFUSAL)

    @property
    def item_type(self) -> str:
        return "message" if self.is_message else "reasoning"

    def place(self) -> JsonObject:
        """Return what an event says of where its part is."""
        index = "summary_index" if self.kind == _SUMMARY else "content_index"
        return {"item_id": self.id, "output_index": self.position, index: self.index}

    def part(self, text: str) -> JsonObject:
        """Return the open part with this text."""
        if self.kind == _TEXT:
            return {**text_part(text, _fresh(self.annotations)), "logprobs": _fresh(self.logprobs)}
        if self.kind == _REFUSAL:
            return {"type": "refusal", "refusal": text}
        return {"type": "summary_text" if self.kind == _SUMMARY else "reasoning_text", "text": text}


class _Call:
    """An open call of a tool. Without a name, which comes with its first delta, it is not yet told."""

    __slots__ = ("arguments", "called", "free_text", "given", "id", "item_id", "position")

    def __init__(self, id_: Json, *, given: bool) -> None:
        self.id = id_
        self.given = given
        """The id is the upstream's."""
        self.called: Called | None = None
        self.arguments: list[str] = []
        self.free_text: FreeText | None = None
        self.item_id = ""
        self.position = -1
        """Index in the output."""


def _fresh(value: Json) -> Json:
    """Return a copy: hooks may change one event, which must not change a later one."""
    if type(value) is dict:
        return {name: _fresh(field) for name, field in value.items()}
    return [_fresh(field) for field in value] if type(value) is list else value


def _without_bytes(value: Json) -> Json:
    if not isinstance(value, list):
        return value
    return [{name: field for name, field in token.items() if name != "bytes"} for token in value]
