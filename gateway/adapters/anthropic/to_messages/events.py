"""The events of a Messages stream as chunks of a chat stream.

1. `message_start`: a chunk with the role.
2. Blocks: text, thinking and tool calls, delta by delta. Empty deltas are left out. A call's arguments are told from
   `content_block_start` if no delta brings them. A thinking block is told once more as a whole, with its signature.
3. `message_delta`: kept. Its counts add to those of `message_start`.
4. `message_stop`: a chunk with the finish reason, and one with the usage, which the engine leaves out for clients that
   did not ask for it. Without a stop reason before it there is neither.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Final

from gateway.adapters.anthropic.stops import REFUSAL, finish_reason
from gateway.adapters.anthropic.to_messages.answer import explanation_of
from gateway.adapters.anthropic.usage import chat_usage
from gateway.adapters.events import typed_event
from gateway.adapters.fields import fields_of, text_of
from gateway.adapters.sent import AS_IS, Sent
from gateway.adapters.text_runs import HOLE, Pattern, Shape, joined
from gateway.policy.failures import Kind, UpstreamError, error_object, failed_by
from gateway.policy.finish import index_of
from gateway.wire.json import Json, JsonObject, encode_json

_FIELDS: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
"""Type of a delta → its text."""


class Events:
    """Turns the events of one Messages stream into chunks."""

    __slots__ = (
        "_calls", "_created", "_id", "_is_over", "_model", "_pattern", "_sent", "_shape", "_stop", "_stop_details",
        "_thinking_blocks", "_thoughts", "_usage",
    )  # fmt: skip

    def __init__(self, sent: Sent = AS_IS, *, created: int) -> None:
        """All chunks are `created` at that second."""
        self._sent = sent
        self._created = created
        self._id: Json = None
        self._model: Json = None
        self._usage: JsonObject = {}
        self._stop: Json = None
        self._stop_details: Json = None
        self._calls: dict[int, _ToolCall] = {}
        """By index of its block."""
        self._thoughts: dict[int, list[str]] = {}
        """By index of its block: the deltas of a thinking block."""
        self._thinking_blocks = 0
        """Thinking blocks so far."""
        self._is_over = False
        self._shape: Shape | None = None
        self._pattern: Pattern | None = None
        """The chunks for runs of `_shape`."""

    def feed(self, event: JsonObject) -> list[JsonObject]:
        """Return the chunks for the next event. Raises UpstreamError if it is an error or malformed."""
        kind = event.get("type")
        if kind == "content_block_delta":
            delta = event.get("delta")
            if type(delta) is not dict:
                raise _malformed()
            kind = delta.get("type")
            if kind == "text_delta":
                text = delta.get("text")
                if type(text) is not str:
                    raise _malformed()
                return [self._chunk({"content": text})] if text else []
            return self._delta(index_of(event.get("index")), kind, delta)
        if kind == "content_block_start":
            return self._block_start(event)
        if kind == "content_block_stop":
            return self._block_stop(index_of(event.get("index")))
        if kind == "message_start":
            return self._message_start(event.get("message"))
        if kind == "message_delta":
            self._message_delta(event)
        elif kind == "message_stop":
            return self._message_stop()
        elif kind == "error" or "error" in event:
            raise failed_by(error_object(event) or {})
        return []

    def run(self, raw: bytes, shape: Shape) -> bytes | None:
        """Return the encoded chunks for a run of deltas; None if each has to be fed."""
        delta = fields_of(shape.data.get("delta"))
        field = _FIELDS.get(text_of(delta.get("type")))
        if field is None or shape.names != (field,):
            return None
        texts = [text for text in shape.values(raw, field) if text]
        call = None
        if field == "partial_json":
            call = self._calls.get(index_of(shape.data.get("index")))
            if call is None:
                return None
            call.is_told = True
        if field == "thinking" and texts:
            self._thoughts.setdefault(index_of(shape.data.get("index")), []).append(joined(texts))
        if shape is not self._shape or self._pattern is None:
            if call is not None:
                chunk = self._arguments(call, HOLE)
            else:
                chunk = self._chunk({"content" if field == "text" else "reasoning_content": HOLE})
            self._shape, self._pattern = shape, Pattern(typed_event(chunk).encoded())
        return self._pattern.filled(texts)

    def end(self) -> list[JsonObject]:
        """Return nothing: `message_stop` ends a stream."""
        return []

    def _chunk(self, delta: JsonObject, finish: str | None = None) -> JsonObject:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }

    def _delta(self, index: int, kind: Json, delta: JsonObject) -> list[JsonObject]:
        if kind == "input_json_delta":
            part = delta.get("partial_json")
            call = self._calls.get(index)
            if call is None or not part:
                return []
            if type(part) is not str:
                raise _malformed()
            call.is_told = True
            return [self._arguments(call, part)]
        if kind == "thinking_delta":
            thought = delta.get("thinking")
            if type(thought) is not str:
                raise _malformed()
            if not thought:
                return []
            self._thoughts.setdefault(index, []).append(thought)
            return [self._chunk({"reasoning_content": thought})]
        if kind == "signature_delta" and delta.get("signature"):
            thought = "".join(self._thoughts.pop(index, ()))
            return [self._thinking_block({"type": "thinking", "thinking": thought, "signature": delta["signature"]})]
        return []

    def _thinking_block(self, block: JsonObject) -> JsonObject:
        """Return the chunk with a block. It is numbered, as OpenAI's SDK sums up lists of a delta by `index` only."""
        self._thinking_blocks += 1
        return self._chunk({"thinking_blocks": [{"index": self._thinking_blocks - 1, **block}]})

    def _arguments(self, call: _ToolCall, part: str) -> JsonObject:
        return self._chunk({"tool_calls": [{"index": call.index, "function": {"arguments": part}}]})

    def _block_start(self, event: JsonObject) -> list[JsonObject]:
        self._shape = None
        block = event.get("content_block")
        if type(block) is not dict:
            raise _malformed()
        kind = block.get("type")
        if kind == "tool_use":
            name, call_id = block.get("name"), block.get("id")
            if not isinstance(name, str) or not isinstance(call_id, str):
                raise _malformed()
            call = _ToolCall(len(self._calls), block.get("input"))
            self._calls[index_of(event.get("index"))] = call
            function = {"name": self._sent.tool_name(name), "arguments": ""}
            entry = {"index": call.index, "id": call_id, "type": "function", "function": function}
            return [self._chunk({"tool_calls": [entry]})]
        if kind == "text" and block.get("text"):
            return [self._chunk({"content": block["text"]})]
        if kind == "thinking" and block.get("thinking"):
            return self._delta(index_of(event.get("index")), "thinking_delta", block)
        if kind == "redacted_thinking":
            return [self._thinking_block(block)]
        return []

    def _block_stop(self, index: int) -> list[JsonObject]:
        call = self._calls.get(index)
        if call is None or call.is_told:
            return []
        call.is_told = True
        return [self._arguments(call, encode_json(call.input or {}).decode())]

    def _message_start(self, message: Json) -> list[JsonObject]:
        if not isinstance(message, dict):
            raise _malformed()
        self._shape = None
        self._id, self._model = message.get("id"), message.get("model")
        self._count(message.get("usage"))
        return [self._chunk({"role": "assistant", "content": ""})]

    def _message_delta(self, event: JsonObject) -> None:
        delta = event.get("delta")
        if isinstance(delta, dict):
            self._stop = delta.get("stop_reason") or self._stop
            self._stop_details = delta.get("stop_details") or self._stop_details
        self._count(event.get("usage"))

    def _count(self, usage: Json) -> None:
        if isinstance(usage, dict):
            self._usage.update((name, count) for name, count in usage.items() if count is not None)

    def _message_stop(self) -> list[JsonObject]:
        finish = finish_reason(self._stop)
        if finish is None or self._is_over:
            return []
        self._is_over = True
        explanation = explanation_of(self._stop_details) if self._stop == REFUSAL else None
        last = self._chunk({"refusal": explanation} if explanation else {}, finish)
        counts = chat_usage(self._usage)
        return [last] if counts is None else [last, {**last, "choices": [], "usage": counts}]


class _ToolCall:
    """A tool call: its index among the calls, its input at its start, whether its arguments were told."""

    __slots__ = ("index", "input", "is_told")

    def __init__(self, index: int, given: Json) -> None:
        self.index = index
        self.input = given
        self.is_told = False


def _malformed() -> UpstreamError:
    return UpstreamError(Kind.BAD_RESPONSE, status=200)
