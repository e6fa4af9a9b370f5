"""The registry of operations, and which of the file's parameters each of them gets."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.adapters.base import Operation
from gateway.adapters.litellm.translate import FUNCTIONS
from gateway.operations import CHAT, OPERATIONS, operation_of, params_for
from gateway.policy.failures import UpstreamError
from gateway.policy.params import OWN_FIELDS, Params
from gateway.policy.target import CARRIED

REPLIES = {
    "messages": {"type": "message", "content": [{"type": "text", "text": "hello there"}], "stop_reason": "end_turn"},
    "responses": {
        "object": "response", "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "hello there"}]}],
    },
}  # fmt: skip
IMAGES = {"images", "image_edits", "image_variations"}
ALIKE = [
    {"input_tokens", "count_tokens"}, {"responses", "compact"}, IMAGES, {"transcriptions", "translations"},
]  # fmt: skip
CHOICES = [OPERATIONS["chat"], OPERATIONS["completions"]]
TOLD = [operation for operation in OPERATIONS.values() if operation.field is not None]
ALL = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def test_the_policy_says_of_litellm_what_its_adapter_carries() -> None:
    assert CARRIED["litellm"] == frozenset(FUNCTIONS)
    assert FUNCTIONS.keys() <= OPERATIONS.keys()


def test_no_params_block_may_set_an_operation_s_own_field() -> None:
    assert {"model", "stream", *(operation.field for operation in TOLD)} == OWN_FIELDS


@pytest.mark.parametrize("operation", TOLD)
def test_an_operation_tells_its_requests_from_others(operation: Operation) -> None:
    assert operation.field is not None
    assert operation_of({"model": "m", operation.field: "x"}) is operation
    assert operation_of({"model": "m"}) is CHAT


@ALL
def test_its_own_reply_is_an_answer_and_every_other_s_is_none(operation: Operation) -> None:
    params = {"messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "input": "hi"}
    for other in OPERATIONS.values():
        reply = {"model": "m", **(REPLIES.get(other.name) or other.reply("hello there", params))}
        if other is operation and operation.name != "speech":  # which is no JSON
            operation.check_reply(reply)
            assert operation.text(reply) in ("hello there", None)
        elif not any({other.name, operation.name} <= alike for alike in ALIKE):
            with pytest.raises(UpstreamError):
                operation.check_reply(reply)


@pytest.mark.parametrize("operation", CHOICES)
def test_its_own_events_make_a_whole_stream(operation: Operation) -> None:
    judge = operation.judge()
    judge.see(operation.event("", first=True))
    assert not judge.has_content
    judge.see(operation.event("hello "))
    assert judge.has_content
    assert not judge.is_whole
    judge.see(operation.event("", "stop"))
    assert judge.is_whole
    assert operation.text(operation.event("hello ")) == "hello "


@pytest.mark.parametrize("operation", CHOICES)
def test_it_tells_events_with_content_from_the_last_ones(operation: Operation) -> None:
    events = {
        "first": operation.event("", first=True),
        "text": operation.event("hello "),
        "last": operation.event("", "stop"),
        "both": operation.event("hello ", "stop"),
        "usage": {"choices": [], "usage": operation.usage("hello", {})},
        "no usage": {"choices": [], "usage": None},
    }
    assert [name for name, event in events.items() if operation.is_text_event(event)] == ["text", "both"]
    assert [name for name, event in events.items() if operation.is_final_event(event)] == ["last", "both", "usage"]


@pytest.mark.parametrize(
    ("name", "texts", "last"),
    [
        ("messages", ["content_block_delta"], ["message_delta", "message_stop"]),
        ("responses", ["response.output_text.delta"], ["response.completed"]),
    ],
)
def test_it_tells_typed_events_with_content_from_the_last_ones(name: str, texts: list[str], last: list[str]) -> None:
    operation = OPERATIONS[name]
    events = [event.data for event in operation.as_events(REPLIES[name]) if event.data is not None]
    assert len(events) > len(texts) + len(last)
    assert [event["type"] for event in events if operation.is_text_event(event)] == texts
    assert [event["type"] for event in events if operation.is_final_event(event)] == last


@pytest.mark.parametrize(
    ("name", "params", "own"),
    [
        ("embeddings", {"temperature": 0.2, "stop": None}, {}),
        ("embeddings", {"user": "u", "dimensions": 3}, {"user": "u", "dimensions": 3}),
        ("embeddings", {"temperature": 0, "x_vendor": 1}, {"x_vendor": 1}),
        ("completions", {"temperature": 0, "tools": [], "suffix": "s"}, {"temperature": 0, "suffix": "s"}),
        ("chat", {"temperature": 0, "best_of": 3, "dimensions": 3}, {"temperature": 0}),
    ],
)
def test_parameters_apply_to_the_operations_that_have_them(name: str, params: Any, own: Any) -> None:
    assert params_for(OPERATIONS[name], Params(params)) == Params(own)


@pytest.mark.parametrize("operation", CHOICES)
@pytest.mark.parametrize("choice", [{"index": 0, "finish_reason": "stop"}, {"finish_reason": "stop", "message": {}}])
def test_a_finish_reason_alone_makes_no_stream_whole(operation: Operation, choice: Any) -> None:
    judge = operation.judge()
    judge.see({"choices": [choice]})
    assert not judge.is_whole


def test_the_events_of_one_operation_make_no_stream_of_another_whole() -> None:
    chat, completions = OPERATIONS["chat"], OPERATIONS["completions"]
    for asked, answered in ((chat, completions), (completions, chat)):
        judge = asked.judge()
        judge.see(answered.event("hello "))
        judge.see(answered.event("", "stop"))
        assert not judge.has_content
        assert not judge.is_whole
