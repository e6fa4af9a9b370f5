"""Which requests and answers may be kept."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.engine.cache.keepable import deciding, is_refused, is_repeatable
from gateway.wire.json import JsonObject, encode_json

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("chat", {"messages": []}),
        ("chat", {"store": False, "tools": [FUNCTION], "background": False}),
        ("completions", {"prompt": "x"}),
        ("messages", {"tools": [{"name": "f", "input_schema": {}}]}),
        ("responses", {"store": False, "tools": [{"type": "custom", "name": "f"}]}),
        ("embeddings", {"input": "x"}),
        ("rerank", {"query": "x"}),
        ("moderations", {"input": "x"}),
    ],
)
def test_texts_and_numbers_are_kept(operation: str, params: JsonObject) -> None:
    assert is_repeatable(operation, params, [{}])


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("responses", {}),
        ("responses", {"store": None}),
        ("responses", {"store": False, "background": True}),
        ("responses", {"store": False, "tools": [{"type": "web_search"}]}),
        ("chat", {"store": True}),
        ("chat", {"tools": "all"}),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "w"}]}),
        ("moderations", {"store": True}),
        ("images", {}),
        ("speech", {}),
        ("transcriptions", {}),
        ("count_tokens", {}),
        ("compact", {"store": False}),
    ],
)
def test_what_leaves_something_runs_a_tool_or_is_large_is_not(operation: str, params: JsonObject) -> None:
    assert not is_repeatable(operation, params, [{}])


def test_the_parameters_of_each_step_decide_too() -> None:
    assert is_repeatable("responses", {}, [{"store": False}])
    assert not is_repeatable("responses", {}, [{"store": False}, {}])
    assert not is_repeatable("chat", {}, [{}, {"store": True}])
    assert is_repeatable("chat", {"store": True}, [{"store": None}])
    assert [deciding({"temperature": 1}), deciding({"tools": []})] == [False, True]


def chat(finish_reason: str = "stop", **message: Any) -> JsonObject:
    return {"choices": [{"finish_reason": finish_reason, "message": {"content": "hi", **message}}]}


@pytest.mark.parametrize(
    "answer",
    [
        chat(),
        chat("length", refusal=None),
        chat("tool_calls", tool_calls=[{"function": {"arguments": '{"refusal":"x","a":"content_filter"}'}}]),
        chat(content='"refusal" "content_filter" "filtered":true'),
        {"stop_reason": "max_tokens", "content": [{"type": "text", "text": "a refusal"}]},
        {"status": "completed", "incomplete_details": None},
        {"choices": [{"content_filter_results": {"hate": {"filtered": False}}, "finish_reason": "stop"}]},
    ],
)
def test_an_answer_is_kept(answer: JsonObject) -> None:
    assert not is_refused(encode_json(answer))


@pytest.mark.parametrize(
    "answer",
    [
        chat("content_filter"),
        chat(refusal="no"),
        {"choices": [chat(refusal=None)["choices"][0], chat(refusal="no")["choices"][0]]},
        {"stop_reason": "refusal"},
        {"output": [{"content": [{"type": "refusal", "refusal": "no"}]}]},
        {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {"type": "response.incomplete"},
        {"choices": [{"content_filter_results": {"hate": {"filtered": True}}, "finish_reason": "stop"}]},
    ],
)
def test_a_refusal_is_not(answer: JsonObject) -> None:
    assert is_refused(encode_json(answer))


def test_blanks_between_name_and_value_hide_nothing() -> None:
    assert not is_refused(b'{"refusal": null}')
    assert is_refused(b'{"refusal" : "no"}')
    assert is_refused(b'{"filtered": true}')
