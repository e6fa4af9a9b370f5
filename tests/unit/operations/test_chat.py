"""What counts as an answer, as content, and as a whole stream."""

from __future__ import annotations

import pytest

from gateway.adapters.base import Operation
from gateway.operations import CHAT, OPERATIONS
from gateway.operations.base import MAX_CHOICES
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject


def event(index: int = 0, finish: str | None = None, **delta: object) -> JsonObject:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("operation", "data"),
    [
        ("chat", {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}),
        ("chat", {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}),
        ("chat", {"choices": [{"message": {"content": None}, "finish_reason": "tool_calls"}], "error": None}),
        ("embeddings", {"data": [{"embedding": [0.1]}]}),
    ],
)
def test_an_answer_is_accepted(operation: str, data: JsonObject) -> None:
    OPERATIONS[operation].check_reply(data)


@pytest.mark.parametrize(
    ("operation", "data", "kind"),
    [
        ("chat", {}, Kind.BAD_RESPONSE),
        ("chat", {"choices": []}, Kind.BAD_RESPONSE),
        ("chat", {"choices": None}, Kind.BAD_RESPONSE),
        ("chat", {"choices": ["text"]}, Kind.BAD_RESPONSE),
        ("chat", {"choices": [{"message": {"content": "hi"}, "finish_reason": None}]}, Kind.BAD_RESPONSE),
        ("chat", {"choices": [{"message": None, "finish_reason": "stop"}]}, Kind.BAD_RESPONSE),
        ("chat", {"choices": [{"finish_reason": "stop"}]}, Kind.BAD_RESPONSE),
        ("chat", {"error": {"code": "insufficient_quota"}}, Kind.BILLING),
        ("chat", {"error": "something went wrong"}, Kind.SERVER_ERROR),
        ("chat", {"error": {"code": 429}}, Kind.RATE_LIMIT),
        ("embeddings", {"data": []}, Kind.BAD_RESPONSE),
        ("embeddings", {"choices": [{"finish_reason": "stop"}]}, Kind.BAD_RESPONSE),
    ],
)
def test_what_is_no_answer_has_a_kind(operation: str, data: JsonObject, kind: Kind) -> None:
    with pytest.raises(UpstreamError) as refused:
        OPERATIONS[operation].check_reply(data)
    assert refused.value.kind == kind


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "hi"},
        {"reasoning_content": "hm"},
        {"tool_calls": [{"index": 0}]},
        {"refusal": "no"},
        {"audio": {"id": "a"}},
    ],
)
def test_text_reasoning_tool_calls_refusals_and_audio_are_content(delta: JsonObject) -> None:
    judge = CHAT.judge()
    judge.see(event(**delta))
    assert judge.has_content


@pytest.mark.parametrize("delta", [{}, {"role": "assistant"}, {"role": "assistant", "content": ""}, {"content": None}])
def test_roles_and_empty_deltas_are_no_content(delta: JsonObject) -> None:
    judge = CHAT.judge()
    judge.see(event(**delta))
    assert not judge.has_content
    assert not judge.is_whole


def test_a_stream_is_whole_when_every_choice_has_its_finish_reason() -> None:
    judge = CHAT.judge()
    judge.see(event(0, content="a"))
    judge.see(event(1, content="b"))
    judge.see(event(0, finish="stop"))
    assert not judge.is_whole
    judge.see(event(1, finish="stop"))
    assert judge.is_whole


def test_where_one_choice_was_asked_for_the_indexes_do_not_matter() -> None:
    """Some servers count them up with each event, or finish another one than they began."""
    judge = CHAT.judge(one_choice=True)
    for index in range(3):
        judge.see(event(index, content="a"))
    assert not judge.is_whole
    judge.see(event(0, finish="stop"))
    assert judge.is_whole


@pytest.mark.parametrize(
    ("operation", "params", "overrides", "one"),
    [
        (CHAT, {}, {}, True),
        (CHAT, {"n": None}, {}, True),
        (CHAT, {"n": 1}, {}, True),
        (CHAT, {"n": 2}, {}, False),
        (CHAT, {"n": "2"}, {}, False),
        (CHAT, {"n": 2}, {"n": 1}, True),
        (CHAT, {"n": 2}, {"n": None}, True),
        (CHAT, {}, {"n": 3}, False),
        (OPERATIONS["completions"], {"prompt": "a"}, {}, True),
        (OPERATIONS["completions"], {"prompt": ["a"]}, {}, True),
        (OPERATIONS["completions"], {"prompt": ["a", "b"]}, {}, False),
        (OPERATIONS["completions"], {"prompt": [1, 2]}, {}, True),
        (OPERATIONS["completions"], {"prompt": [[1, 2], [3]]}, {}, False),
        (OPERATIONS["completions"], {"prompt": "a", "n": 2}, {}, False),
    ],
)
def test_one_choice_is_asked_for_unless_n_or_the_prompts_say_more(
    operation: Operation, params: JsonObject, overrides: JsonObject, one: bool
) -> None:
    assert operation.one_choice_asked(params, overrides) == one


@pytest.mark.parametrize("reason", ["", " ", "null", "NULL", "None"])
def test_texts_that_mean_null_finish_nothing(reason: str) -> None:
    judge = CHAT.judge()
    judge.see(event(content="a", finish=reason))
    assert not judge.is_whole
    with pytest.raises(UpstreamError) as refused:
        CHAT.check_reply({"choices": [{"message": {"content": "a"}, "finish_reason": reason}]})
    assert refused.value.kind is Kind.BAD_RESPONSE


def test_a_plain_reply_as_an_event_has_its_message_as_the_delta() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    reply = {"id": "x", "object": "chat.completion", "choices": [choice], "usage": {"total_tokens": 3}}
    (event,) = CHAT.as_events(reply)
    data = event.data
    assert data is not None
    delta = {**message, "tool_calls": [{"index": 0, **call}]}
    assert data == {
        "id": "x", "object": "chat.completion.chunk", "usage": {"total_tokens": 3},
        "choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}],
    }  # fmt: skip
    judge = CHAT.judge()
    judge.see(data)
    assert judge.has_content
    assert judge.is_whole


@pytest.mark.parametrize("index", [None, [], {}, "0", 1.5, True])
def test_an_index_that_is_no_number_is_the_first_choice(index: object) -> None:
    judge = CHAT.judge()
    judge.see({"choices": [{"index": index, "delta": {"content": "a"}, "finish_reason": "stop"}]})
    assert judge.is_whole


def test_choices_that_are_no_list_are_no_answer() -> None:
    with pytest.raises(UpstreamError) as broken:
        CHAT.judge().see({"choices": "what"})
    assert broken.value.kind == Kind.BAD_RESPONSE


def test_usage_is_taken_from_whichever_event_has_it() -> None:
    judge = CHAT.judge()
    judge.see({"choices": [], "usage": {"prompt_tokens": 3}})
    judge.see({"choices": [], "usage": None})
    assert judge.tokens == {"prompt": 3}


def test_an_error_event_takes_its_own_kind_and_keeps_its_body() -> None:
    with pytest.raises(UpstreamError) as broken:
        CHAT.judge().see({"error": {"type": "overloaded_error", "message": "busy"}})
    assert (broken.value.kind, broken.value.code) == (Kind.OVERLOADED, "overloaded_error")
    assert broken.value.body == b'{"error":{"message":"busy","type":"overloaded_error","param":null,"code":null}}'


def test_a_choice_that_is_no_object_breaks_a_stream() -> None:
    with pytest.raises(UpstreamError) as broken:
        CHAT.judge().see({"choices": [None]})
    assert broken.value.kind is Kind.BAD_RESPONSE


def test_an_answer_without_counts_reports_none() -> None:
    without: list[JsonObject] = [{}, {"usage": None}, {"usage": {}}, {"usage": [1]}]
    assert [CHAT.tokens(data) for data in without] == [None] * 4
    assert CHAT.tokens({"usage": {"prompt_tokens": 1}}) == {"prompt": 1}


def test_a_stream_with_ever_more_choices_is_broken() -> None:
    """Their indexes are remembered to its end."""
    judge = CHAT.judge()
    for start in range(0, MAX_CHOICES, 1000):
        judge.see({"choices": [{"index": start + number, "delta": {"content": "a"}} for number in range(1000)]})
    with pytest.raises(UpstreamError) as broken:
        judge.see(event(MAX_CHOICES, content="a"))
    assert broken.value.kind is Kind.BAD_RESPONSE
    embeddings = OPERATIONS["embeddings"]
    assert embeddings.tokens({"usage": {"prompt_tokens": 1, "total_tokens": 9}}) == {"prompt": 1}
    assert CHAT.tokens({"usage": {"prompt_tokens": 1, "total_tokens": 9}}) == {"prompt": 1, "completion": 8}
