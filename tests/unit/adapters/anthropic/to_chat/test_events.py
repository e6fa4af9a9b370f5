"""Streams of chat as streams of Messages."""

from __future__ import annotations

import pytest

from gateway.adapters.anthropic import to_chat
from gateway.adapters.anthropic.thinking import OUR_SIGNATURE
from gateway.adapters.sent import Sent
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import JsonObject
from tests.unit.adapters.anthropic.shapes import (
    MESSAGE_STOP,
    USAGE_CHUNK,
    chunk,
    completion,
    delta,
    message_delta,
    start,
    stop,
    text,
)

FIRST = chunk(role="assistant", content="")


def events(*chunks: JsonObject, sent: Sent | None = None) -> list[JsonObject]:
    machine = to_chat.Events() if sent is None else to_chat.Events(sent)
    return [event for one in chunks for event in machine.feed(one)] + machine.end()


def call(
    number: int | None = 0, call_id: str | None = None, name: str | None = None, arguments: str = ""
) -> JsonObject:
    function = {"arguments": arguments, **({"name": name} if name is not None else {})}
    given: JsonObject = {"function": function, "type": "function"}
    if number is not None:
        given["index"] = number
    if call_id is not None:
        given["id"] = call_id
    return given


def calls(*given: JsonObject) -> JsonObject:
    return chunk(tool_calls=list(given))


def used(index: int, call_id: str, name: str) -> JsonObject:
    return start(index, type="tool_use", id=call_id, name=name, input={})


def arguments(index: int, part: str) -> JsonObject:
    return delta(index, "input_json_delta", partial_json=part)


def test_a_text() -> None:
    assert events(FIRST, chunk(content="Hel"), chunk(content="lo"), chunk("stop"), USAGE_CHUNK) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_chatcmpl-1",
                "type": "message",
                "role": "assistant",
                "model": "gpt-5",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        start(0, type="text", text=""),
        delta(0, "text_delta", text="Hel"),
        delta(0, "text_delta", text="lo"),
        stop(0),
        message_delta(usage={"input_tokens": 10, "output_tokens": 5}),
        MESSAGE_STOP,
    ]


def test_reasoning_text_and_calls_are_blocks_one_after_the_other() -> None:
    found = events(
        FIRST,
        chunk(reasoning_content="h"),
        chunk(reasoning="m", content=None),
        chunk(content="I look."),
        calls(call(0, "a", "weather")),
        calls(call(0, arguments='{"city":')),
        calls(call(0, arguments='"Rome"}')),
        calls(call(1, "b", "time", "{}"), call(2, "c", "date", "{}")),
        chunk("tool_calls"),
    )
    assert found[1:] == [
        start(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="h"),
        delta(0, "thinking_delta", thinking="m"),
        delta(0, "signature_delta", signature=OUR_SIGNATURE),
        stop(0),
        start(1, type="text", text=""),
        delta(1, "text_delta", text="I look."),
        stop(1),
        used(2, "a", "weather"),
        arguments(2, '{"city":'),
        arguments(2, '"Rome"}'),
        stop(2),
        used(3, "b", "time"),
        arguments(3, "{}"),
        stop(3),
        used(4, "c", "date"),
        arguments(4, "{}"),
        stop(4),
        message_delta("tool_use", {"input_tokens": 0, "output_tokens": 0}),
        MESSAGE_STOP,
    ]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        # Each call has index 0 and an id of its own.
        ([calls(call(0, "a", "x", "{}")), calls(call(0, "b", "y", "{}"))], [("a", "x", "{}"), ("b", "y", "{}")]),
        # The id and the name come with each delta.
        ([calls(call(0, "a", "x", "{")), calls(call(0, "a", "x", "}"))], [("a", "x", "{}")]),
        # There is no index.
        ([calls(call(None, "a", "x", "{")), calls(call(None, arguments="}"))], [("a", "x", "{}")]),
        # There is no id.
        ([calls(call(0, None, "x", "{}"))], [("toolu_msg_chatcmpl-1_1", "x", "{}")]),
        # The id does not fit.
        ([calls(call(0, "f.x:0", "x", "{}"))], [("f_x_0", "x", "{}")]),
        # The older form.
        ([chunk(function_call={"name": "x", "arguments": "{"}), chunk(function_call={"arguments": "}"})],
         [("toolu_msg_chatcmpl-1_1", "x", "{}")]),
    ],
)  # fmt: skip
def test_calls_come_in_many_forms(chunks: list[JsonObject], expected: list[tuple[str, str, str]]) -> None:
    found: list[list[str]] = []
    for event in events(*chunks):
        if event["type"] == "content_block_start":
            found.append([event["content_block"]["id"], event["content_block"]["name"], ""])
        elif event["type"] == "content_block_delta":
            found[-1][2] += event["delta"]["partial_json"]
    assert [tuple(one) for one in found] == expected


def test_arguments_as_an_object_are_written_as_json() -> None:
    given = {"index": 0, "id": "a", "function": {"name": "x", "arguments": {"b": 1}}}
    assert arguments(0, '{"b":1}') in events(calls(given))


def test_names_come_back_as_the_client_s() -> None:
    found = events(calls(call(0, "a", "cut_1")), sent=Sent({}, tool_names={"cut_1": "long"}))
    assert found[1]["content_block"]["name"] == "long"


@pytest.mark.parametrize(
    "late",
    [
        calls(call(0, arguments="x")),
        calls(call(0, "a", "x", "x")),
        calls(call(0, None, "x", "x")),
        calls(call(7, arguments="x")),
        calls({"index": 0}),
        chunk(tool_calls=[5]),
    ],
)
def test_arguments_for_a_call_that_is_over_or_never_began_are_malformed(late: JsonObject) -> None:
    with pytest.raises(UpstreamError) as raised:
        events(calls(call(0, "a", "x", "{}")), calls(call(1, "b", "y", "{}")), late)
    assert raised.value.kind is Kind.BAD_RESPONSE


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([chunk("length")], "max_tokens"),
        ([chunk("content_filter")], "refusal"),
        ([chunk(refusal="no"), chunk("stop")], "refusal"),
        ([calls(call(0, "a", "x")), chunk("stop")], "tool_use"),
        ([chunk("eos", content="x")], "end_turn"),
    ],
)
def test_stop_reasons(chunks: list[JsonObject], reason: str) -> None:
    assert events(*chunks)[-2]["delta"]["stop_reason"] == reason


def test_a_refusal_is_a_text_and_has_details() -> None:
    found = events(chunk(refusal="n"), chunk(refusal="o"), chunk("stop"))
    assert [event["delta"]["text"] for event in found if event["type"] == "content_block_delta"] == ["n", "o"]
    assert found[-2]["delta"]["stop_details"] == {"type": "refusal", "category": None, "explanation": "no"}


def test_the_stop_sequence_is_told_where_the_server_tells_it() -> None:
    last = chunk("stop")
    last["choices"][0]["stop_reason"] = "END"
    found = events(chunk(content="x"), last, sent=Sent({}, stops=("END",)))[-2]["delta"]
    assert found == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


def test_content_in_parts() -> None:
    assert delta(0, "text_delta", text="ab") in events(chunk(content=[text("a"), text("b")]))


@pytest.mark.parametrize("finish", [None, "", "null", "none"])
def test_a_stream_without_finish_reason_has_no_end(finish: str | None) -> None:
    found = events(FIRST, chunk(content="x"), chunk(finish), USAGE_CHUNK)
    assert [event["type"] for event in found][-1] == "content_block_delta"


def test_the_end_comes_once() -> None:
    machine = to_chat.Events()
    machine.feed(chunk("stop"))
    assert len(machine.end()) == 2
    assert machine.end() == []
    assert to_chat.Events().end() == []


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"error": {"message": "x", "type": "rate_limit_error"}}, Kind.RATE_LIMIT),
        (chunk("error"), Kind.BAD_RESPONSE),
        ({"choices": [{"index": 0, "error": {"code": 502, "message": "x"}}]}, Kind.SERVER_ERROR),
        ({"choices": 5}, Kind.BAD_RESPONSE),
        ({"choices": [5]}, Kind.BAD_RESPONSE),
    ],
)
def test_an_error_in_the_stream_has_a_kind(data: JsonObject, kind: Kind) -> None:
    with pytest.raises(UpstreamError) as raised:
        events(FIRST, data)
    assert raised.value.kind is kind


def test_odd_deltas_pass() -> None:
    odd = {"choices": [{"index": 0, "delta": None}, {"index": 0}]}
    assert [event["type"] for event in events(odd, {"error": None, "choices": None})] == ["message_start"]
    assert completion()["choices"]
