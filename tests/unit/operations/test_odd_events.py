"""Events and answers whose fields have types that no upstream should send fail, or are let through."""

from __future__ import annotations

from contextlib import suppress

import pytest

from gateway.adapters.base import Operation, plain_answer
from gateway.operations import OPERATIONS
from gateway.policy.failures import UpstreamError
from gateway.wire.json import Json, JsonObject

ODD: list[Json] = [None, 7, "x", [], {}, ["x"], [["x"]], [{"type": []}], {"type": {}}, [{"content": ["x"]}]]
EVENTS: list[JsonObject] = [
    {},
    {"type": "content_block_delta", "delta": {"type": "text_delta"}},
    {"type": "content_block_start", "content_block": {"type": "text"}},
    {"type": "message_start", "message": {"usage": {}}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
    {"type": "message", "content": [], "stop_reason": "end_turn", "usage": {}},
    {"type": "error", "error": {"message": "no"}},
    {"type": "response.output_text.delta", "delta": "x", "sequence_number": 1},
    {"type": "response.completed", "response": {"status": "completed", "usage": {"input_tokens": 1}}},
    {"type": "response.failed", "response": {"error": {"code": "x"}}},
    {"object": "response", "status": "completed", "output": [{"type": "message", "content": []}]},
    {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}], "usage": {"total_tokens": 1}},
]
STREAMED = [operation for operation in OPERATIONS.values() if operation.wants_stream({"stream": True})]


def _changed(value: Json, odd: Json) -> list[Json]:
    """Return the value with this one put at each place in it, and at a `type`."""
    if isinstance(value, list):
        return [odd, *([one] for item in value for one in _changed(item, odd))]
    if not isinstance(value, dict):
        return [odd]
    places = {"type": None, **value}
    return [odd, *({**value, name: one} for name, item in places.items() for one in _changed(item, odd))]


@pytest.mark.parametrize("operation", STREAMED, ids=str)
@pytest.mark.parametrize("odd", ODD, ids=str)
def test_odd_types_are_no_fault_of_ours(operation: Operation, odd: Json) -> None:
    for event in EVENTS:
        for data in _changed(event, odd):
            if not isinstance(data, dict):
                continue
            for act in (
                operation.judge().see, operation.is_text_event, operation.is_final_event, operation.varying,
                operation.check_reply, operation.tokens,
            ):  # fmt: skip
                with suppress(UpstreamError):
                    act(data)
            plain_answer(data, operation)
