"""Upstreams that send any JSON in the place of a field are at fault, never the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from typing import Final

import pytest

from gateway.adapters.base import plain_answer
from gateway.adapters.events import Event
from gateway.operations import OPERATIONS
from gateway.policy.failures import UpstreamError
from gateway.wire.json import Json, JsonObject

ODD: Final[tuple[Json, ...]] = (None, True, 7, 1.5, "", "x", [], {}, [[]], [{}], {"type": []}, [{"type": {}}], ["a"])
_MESSAGE: Final[JsonObject] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "a", "stop_reason": "end_turn",
    "content": [
        {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "x"},
        {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
    ],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
_RESPONSE: Final[JsonObject] = {
    "id": "resp", "object": "response", "status": "completed", "model": "a", "error": None,
    "output": [
        {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "t", "annotations": []}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
    ],
    "usage": {"input_tokens": 1, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 1}},
}  # fmt: skip
_SAID: Final[JsonObject] = {
    "content": [{"text": "x", "thinking": [{"text": "t"}]}], "reasoning": "r", "refusal": "n",
    "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}], "audio": {"transcript": "a"},
    "function_call": {"name": "f", "arguments": "{}"},
}  # fmt: skip
_CHAT: Final[JsonObject] = {
    "id": "c", "choices": [{"index": 0, "message": _SAID, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1},
}  # fmt: skip
PLAIN: Final[dict[str, JsonObject]] = {"chat": _CHAT, "messages": _MESSAGE, "responses": _RESPONSE}
EVENTS: Final[dict[str, list[JsonObject]]] = {
    "chat": [
        {"choices": [{"index": 0, "delta": _SAID, "finish_reason": None}], "usage": {"prompt_tokens": 1}},
    ],
    "messages": [
        {"type": "message_start", "message": _MESSAGE},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "t"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ],
    "responses": [
        {"type": "response.output_text.delta", "sequence_number": 1, "delta": "x", "item_id": "m"},
        {
            "type": "response.output_item.added", "sequence_number": 1,
            "item": {"type": "reasoning", "summary": [{"text": "s"}], "content": [{"text": "r"}], "action": {"a": 1}},
        },
        {"type": "response.completed", "sequence_number": 2, "response": _RESPONSE},
        {"type": "error", "error": {"message": "x", "code": "y"}},
    ],
}  # fmt: skip


def _odd(value: Json) -> Iterator[Json]:
    """Yield copies of a value with each part of it replaced by each odd value."""
    yield from ODD
    names = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in names:
        for inner in _odd(value[name]):
            changed = deepcopy(value)
            changed[name] = inner
            yield changed


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_answer(name: str) -> None:
    operation = OPERATIONS[name]
    for answer in _odd(PLAIN[name]):
        if isinstance(answer, dict):
            with suppress(UpstreamError):
                operation.check_reply(answer)
                operation.tokens(answer)
            operation.written_bytes(answer)
        plain_answer(answer, operation)


@pytest.mark.parametrize(("name", "event"), [(name, event) for name, events in EVENTS.items() for event in events])
def test_an_event(name: str, event: JsonObject) -> None:
    operation = OPERATIONS[name]
    for odd in _odd(event):
        if isinstance(odd, dict):
            with suppress(UpstreamError):
                judge = operation.judge()
                judge.see(odd)
                repr((judge.is_whole, judge.tokens, judge.next_number))
                operation.is_text_event(odd)
            operation.varying(odd)
            operation.tokens(odd)
            operation.written_bytes(odd)
            operation.is_final_event(odd)
            operation.is_last(Event(odd))
