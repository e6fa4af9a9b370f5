"""The chunks of a chat stream as events of a Messages stream.

1. The first chunk: `message_start`. Its counts are zeros, as chat tells them last.
2. Each run of text, of reasoning, and each tool call is a block: `content_block_start`, deltas, `content_block_stop`.
   One block is open at a time. A thinking block ends with our signature.
3. The finish reason and the usage are kept. `end()`, called when the chat stream is over, returns `message_delta` and
   `message_stop` if a finish reason was there; else nothing.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from gateway.adapters.anthropic.stops import REFUSAL
from gateway.adapters.anthropic.thinking import OUR_SIGNATURE
from gateway.adapters.anthropic.to_chat.answer import (
    message_id,
    reasoning_in,
    refusal_details,
    stop_of,
    text_in,
)
from gateway.adapters.anthropic.usage import messages_usage
from gateway.adapters.chat_chunks import is_lone_text
from gateway.adapters.events import typed_event
from gateway.adapters.fields import fields_of, items_of, text_of
from gateway.adapters.sent import AS_IS, CallIds, Sent
from gateway.adapters.text_runs import HOLE, Pattern, Shape
from gateway.policy.failures import choice_error, error_object, failed_by, no_answer
from gateway.policy.finish import index_of, is_finished
from gateway.wire.json import Json, JsonObject, encode_json


class Events:
    """Turns the chunks of one chat stream into events of Messages. A stream has one choice."""

    __slots__ = (
        "_calls", "_finish", "_finished", "_ids", "_index", "_is_over", "_message_id", "_numbers", "_open",
        "_open_call", "_pattern", "_refusal", "_sent", "_shape", "_started", "_usage",
    )  # fmt: skip

    def __init__(self, sent: Sent = AS_IS) -> None:
        self._sent = sent
        self._ids = CallIds()
        self._message_id = ""
        self._started = False
        self._index = -1
        """Of the newest block."""
        self._open = ""
        """Type of the open block: text, thinking, tool_use; empty if none is open."""
        self._open_call: tuple[int, str] | None = None
        """Index and id, in chat, of the tool call whose block is open."""
        self._calls = 0
        self._numbers: dict[int, set[str]] = {}
        """Index, in chat, of a tool call → the ids that came with it, the empty one included."""
        self._finish: Json = None
        self._finished: JsonObject = {}
        """The choice with the finish reason."""
        self._refusal: list[str] = []
        """Its deltas."""
        self._usage: Json = None
        self._is_over = False
        self._shape: Shape | None = None
        """What the last run had in common, if it became deltas of the open block."""
        self._pattern: Pattern
        """These deltas."""

    def feed(self, chunk: JsonObject) -> list[JsonObject]:
        """Return the events for the next chunk. Raises UpstreamError if it is an error or malformed."""
        if "error" in chunk and (error := error_object(chunk)) is not None:
            raise failed_by(error)
        usage = chunk.get("usage")
        if usage:
            self._usage = usage
        choices = chunk.get("choices")
        if not choices:
            return []
        if type(choices) is not list:
            raise no_answer()
        events: list[JsonObject] = []
        for choice in choices:
            if type(choice) is not dict:
                raise no_answer()
            if not self._started:
                self._started = True
                events.append(self._message_start(chunk))
            delta = choice.get("delta")
            if type(delta) is dict:
                text = delta.get("content")
                if text and type(text) is str and self._open == "text" and len(delta) == 1:
                    events.append(self._delta("text_delta", "text", text))
                else:
                    self._take(delta, events)
            if choice.get("finish_reason") or "error" in choice:
                self._take_finish(choice)
        return events

    def run(self, raw: bytes, shape: Shape) -> bytes | None:
        """Return the encoded events for a run of chunks; None if each has to be fed."""
        if shape is not self._shape:
            if self._open != "text" or not is_lone_text(shape.data):
                return None
            self._shape = shape
            self._pattern = Pattern(typed_event(self._delta("text_delta", "text", HOLE)).encoded())
        return self._pattern.filled([text for text in shape.values(raw, "content") if text])

    def end(self) -> list[JsonObject]:
        """Return the last events, once; an empty list if the answer is not whole."""
        if self._finish is None or self._is_over:
            return []
        self._is_over = True
        events: list[JsonObject] = []
        self._close(events)
        reason, stop = stop_of(
            self._finished, self._finish, self._sent, has_refused=bool(self._refusal), calls_tools=bool(self._calls)
        )
        delta: JsonObject = {"stop_reason": reason, "stop_sequence": stop}
        if reason == REFUSAL:
            delta["stop_details"] = refusal_details("".join(self._refusal) or None)
        events.append({"type": "message_delta", "delta": delta, "usage": messages_usage(self._usage)})
        events.append({"type": "message_stop"})
        return events

    def _take(self, delta: JsonObject, events: list[JsonObject]) -> None:
        """Add the events for a delta: reasoning first, then text, then tool calls, as models write them."""
        reasoning = reasoning_in(delta)
        if reasoning:
            self._write("thinking", "thinking_delta", reasoning, events)
        text = text_in(delta.get("content"))
        if text:
            self._write("text", "text_delta", text, events)
        refusal = text_of(delta.get("refusal"))
        if refusal:
            self._refusal.append(refusal)
            self._write("text", "text_delta", refusal, events)
        for call in items_of(delta.get("tool_calls")):
            self._take_call(fields_of(call), events)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict):
            self._take_call({"index": -1, "function": legacy}, events)

    def _write(self, kind: str, delta_kind: str, text: str, events: list[JsonObject]) -> None:
        if self._open != kind:
            empty = {"type": "text", "text": ""} if kind == "text" else {"type": kind, kind: "", "signature": ""}
            self._begin(kind, empty, events)
        events.append(self._delta(delta_kind, kind, text))

    def _delta(self, kind: str, field: str, value: Json) -> JsonObject:
        return {"type": "content_block_delta", "index": self._index, "delta": {"type": kind, field: value}}

    def _take_call(self, call: JsonObject, events: list[JsonObject]) -> None:
        function = call.get("function")
        if not isinstance(function, dict):
            raise no_answer()
        number, call_id = index_of(call.get("index")), text_of(call.get("id"))
        if self._is_new(number, call_id):
            name = text_of(function.get("name"))
            if not name or (number in self._numbers and call_id in self._numbers[number]):
                raise no_answer()  # arguments for a call whose block is closed, or for none
            self._calls += 1
            self._numbers.setdefault(number, {""}).add(call_id)
            block = {
                "type": "tool_use",
                "id": self._ids.called(call_id or f"toolu_{self._message_id}_{self._calls}"),
                "name": self._sent.tool_name(name),
                "input": {},
            }
            self._begin("tool_use", block, events)
            self._open_call = (number, call_id)
        arguments = function.get("arguments")
        if arguments:
            part = arguments if isinstance(arguments, str) else encode_json(arguments).decode()
            events.append(self._delta("input_json_delta", "partial_json", part))

    def _is_new(self, number: int, call_id: str) -> bool:
        """Tell whether a delta begins another call than the open one.

        Some servers give each call the index 0 and another id, others repeat the id with each delta.
        """
        if self._open_call is None or number != self._open_call[0]:
            return True
        return bool(call_id) and bool(self._open_call[1]) and call_id != self._open_call[1]

    def _begin(self, kind: str, block: JsonObject, events: list[JsonObject]) -> None:
        self._close(events)
        self._shape = None
        self._index += 1
        self._open = kind
        events.append({"type": "content_block_start", "index": self._index, "content_block": block})

    def _close(self, events: list[JsonObject]) -> None:
        if not self._open:
            return
        if self._open == "thinking":
            events.append(self._delta("signature_delta", "signature", OUR_SIGNATURE))
        events.append({"type": "content_block_stop", "index": self._index})
        self._open = ""
        self._open_call = None

    def _take_finish(self, choice: JsonObject) -> None:
        error = choice_error(choice)
        if error is not None:
            raise failed_by(error)
        if is_finished(choice):
            self._finish = choice["finish_reason"]
            self._finished = choice

    def _message_start(self, chunk: JsonObject) -> JsonObject:
        self._message_id = message_id(chunk.get("id"))
        message: JsonObject = {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "model": chunk.get("model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": messages_usage(self._usage),
        }
        return {"type": "message_start", "message": message}
