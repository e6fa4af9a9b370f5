"""Streams of Messages as streams of chat."""

from __future__ import annotations

import pytest

from gateway.adapters.anthropic import to_messages
from gateway.adapters.sent import Sent
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject
from tests.unit.adapters.anthropic.shapes import MESSAGE_STOP, delta, message_delta, message_start, start, stop

PING: JsonObject = {"type": "ping"}


def chunks(*events: JsonObject, sent: Sent | None = None) -> list[JsonObject]:
    machine = to_messages.Events(created=7) if sent is None else to_messages.Events(sent, created=7)
    return [chunk for event in events for chunk in machine.feed(event)] + machine.end()


def deltas(*events: JsonObject) -> list[JsonObject]:
    return [choice["delta"] for chunk in chunks(*events) for choice in chunk["choices"]]


def test_a_text() -> None:
    found = chunks(
        message_start(cache_read_input_tokens=4),
        PING,
        start(0, type="text", text=""),
        delta(0, "text_delta", text="Hel"),
        delta(0, "text_delta", text=""),
        delta(0, "text_delta", text="lo"),
        stop(0),
        message_delta(),
        MESSAGE_STOP,
    )
    assert [choice for chunk in found for choice in chunk["choices"]] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None},
        {"index": 0, "delta": {"content": "Hel"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "lo"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    assert found[-1] == {
        "id": "msg_1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "claude-sonnet-5",
        "choices": [],
        "usage": {
            "prompt_tokens": 14,
            "completion_tokens": 5,
            "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        },
    }
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in found} == {("msg_1", 7, "claude-sonnet-5")}


def test_calls_that_come_piece_by_piece_at_once_or_without_arguments() -> None:
    found = deltas(
        message_start(),
        start(0, type="text", text="I look."),
        stop(0),
        start(1, type="tool_use", id="a", name="weather", input={}),
        delta(1, "input_json_delta", partial_json=""),
        delta(1, "input_json_delta", partial_json='{"city":'),
        delta(1, "input_json_delta", partial_json='"Rome"}'),
        stop(1),
        start(2, type="tool_use", id="b", name="whole", input={"x": 1}),
        stop(2),
        start(3, type="tool_use", id="c", name="none", input={}),
        stop(3),
    )
    calls = [call for one in found for call in one.get("tool_calls", ())]
    assert calls == [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 0, "function": {"arguments": '"Rome"}'}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "whole", "arguments": ""}},
        {"index": 1, "function": {"arguments": '{"x":1}'}},
        {"index": 2, "id": "c", "type": "function", "function": {"name": "none", "arguments": ""}},
        {"index": 2, "function": {"arguments": "{}"}},
    ]
    assert found[1] == {"content": "I look."}


def test_names_of_tools_come_back_as_the_client_s() -> None:
    sent = Sent({}, tool_names={"maps_weather": "maps.weather"})
    found = chunks(start(0, type="tool_use", id="a", name="maps_weather", input={}), sent=sent)
    assert found[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "maps.weather"


def test_thinking_is_reasoning_and_comes_once_more_with_its_signature() -> None:
    assert deltas(
        message_start(),
        start(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="h"),
        delta(0, "thinking_delta", thinking=""),
        delta(0, "thinking_delta", thinking="m"),
        delta(0, "signature_delta", signature="sig"),
        stop(0),
        start(1, type="redacted_thinking", data="xx"),
        stop(1),
        start(2, type="thinking", thinking="all", signature=""),
    )[1:] == [
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "hm", "signature": "sig"}]},
        {"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "xx"}]},
        {"reasoning_content": "all"},
    ]


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": None, "explanation": "no"}
    last = chunks(message_start(), message_delta("refusal", stop_details=details), MESSAGE_STOP)[-2]["choices"][0]
    assert (last["finish_reason"], last["delta"]) == ("content_filter", {"refusal": "no"})


def test_the_counts_add_up_over_all_events() -> None:
    usage = {"input_tokens": None, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}
    found = chunks(message_start(), message_delta(None, {}), message_delta(usage=usage), MESSAGE_STOP)[-1]["usage"]
    assert (found["prompt_tokens"], found["completion_tokens"]) == (10, 9)
    assert found["completion_tokens_details"] == {"reasoning_tokens": 4}


def test_no_counts_no_usage() -> None:
    found = chunks(message_delta(usage={}), MESSAGE_STOP)
    assert [chunk.get("usage") for chunk in found] == [None]


def test_hosted_tools_citations_and_unknown_events_are_left_out() -> None:
    assert (
        deltas(
            {"type": "of_tomorrow"},
            {"type": {"odd": 1}},
            {"type": "message_delta"},
            {},
            start(0, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
            delta(0, "input_json_delta", partial_json="{}"),
            stop(0),
            start(1, type="web_search_tool_result", tool_use_id="srvtoolu_1", content=[]),
            stop(1),
            delta(2, "citations_delta", citation={}),
            delta(2, "of_tomorrow", x=1),
            {"type": "content_block_delta", "index": {}, "delta": {"type": {"odd": 1}}},
        )
        == []
    )


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Kind.OVERLOADED),
        ({"type": "error", "error": {"type": "api_error", "message": "x"}}, Kind.SERVER_ERROR),
        ({"type": "error"}, Kind.SERVER_ERROR),
        ({"error": {"message": "proxy", "code": 429}}, Kind.RATE_LIMIT),
        (delta(0, "text_delta", text=5), Kind.BAD_RESPONSE),
        (delta(0, "thinking_delta"), Kind.BAD_RESPONSE),
        ({"type": "content_block_delta", "index": 0}, Kind.BAD_RESPONSE),
        ({"type": "content_block_start", "index": 0}, Kind.BAD_RESPONSE),
        (start(0, type="tool_use", id="a"), Kind.BAD_RESPONSE),
        ({"type": "message_start"}, Kind.BAD_RESPONSE),
    ],
)
def test_an_error_in_the_stream_has_a_kind(event: JsonObject, kind: Kind) -> None:
    with pytest.raises(UpstreamError) as raised:
        chunks(message_start(), event)
    assert raised.value.kind is kind


def test_arguments_that_are_no_text_are_malformed() -> None:
    with pytest.raises(UpstreamError):
        chunks(start(0, type="tool_use", id="a", name="b", input={}), delta(0, "input_json_delta", partial_json=5))


def test_a_failed_answer_does_not_end_as_a_whole_one() -> None:
    with pytest.raises(UpstreamError):
        chunks(message_start(), message_delta("error"), MESSAGE_STOP)


def test_the_end_comes_once_and_only_after_a_stop_reason() -> None:
    assert chunks(message_start(), MESSAGE_STOP)[1:] == []
    assert chunks(message_start(), message_delta(None), MESSAGE_STOP)[1:] == []
    assert len(chunks(message_start(), message_delta(), MESSAGE_STOP, MESSAGE_STOP)) == 3
