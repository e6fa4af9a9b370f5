"""Plain chat replies as Messages replies."""

from __future__ import annotations

import pytest

from gateway.adapters.anthropic import to_chat
from gateway.adapters.anthropic.thinking import our_thinking
from gateway.adapters.sent import Sent
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import chat_call, completion, text, use


def test_a_text() -> None:
    assert to_chat.answer(completion(content="Hello")) == {
        "id": "msg_chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "gpt-5",
        "content": [text("Hello")],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


@pytest.mark.parametrize(
    ("said", "finish", "content", "stop"),
    [
        ({"content": "a", "reasoning_content": "hm"}, "stop", [our_thinking("hm"), text("a")], "end_turn"),
        ({"content": "a", "reasoning": "hm"}, "stop", [our_thinking("hm"), text("a")], "end_turn"),
        ({"content": ""}, "stop", [], "end_turn"),
        ({"content": None}, "length", [], "max_tokens"),
        ({"content": [{"type": "thinking"}, text("a"), text("b")]}, "stop", [text("ab")], "end_turn"),
        ({"content": None, "refusal": "no"}, "stop", [text("no")], "refusal"),
        ({"content": "a"}, "content_filter", [text("a")], "refusal"),
        ({"content": None, "tool_calls": [chat_call("a"), chat_call("b", "")]}, "tool_calls",
         [use("a", city="Rome"), use("b")], "tool_use"),
        ({"content": "x", "tool_calls": [chat_call("a")]}, "stop", [text("x"), use("a", city="Rome")], "tool_use"),
        ({"content": None, "tool_calls": [chat_call("a.b:0"), chat_call("a.b:0")]}, "tool_calls",
         [use("a_b_0", city="Rome"), use("a_b_0_2", city="Rome")], "tool_use"),
        ({"content": None, "tool_calls": [chat_call("a", {"city": "Rome"})]}, "tool_calls",
         [use("a", city="Rome")], "tool_use"),
        ({"content": None, "function_call": {"name": "weather", "arguments": "{}"}}, "function_call",
         [use("call")], "tool_use"),
        ({"content": "x", "tool_calls": [chat_call("a"), chat_call("b", '{"city": "Ro')]}, "length",
         [text("x"), use("a", city="Rome")], "max_tokens"),
    ],
)  # fmt: skip
def test_what_is_said_becomes_blocks(said: JsonObject, finish: str, content: list[JsonObject], stop: str) -> None:
    reply = to_chat.answer(completion(finish, **said))
    assert (reply["content"], reply["stop_reason"]) == (content, stop)


def test_a_refusal_has_details() -> None:
    reply = to_chat.answer(completion(refusal="no"))
    assert reply["stop_details"] == {"type": "refusal", "category": None, "explanation": "no"}


def test_names_and_stop_sequences_are_the_client_s() -> None:
    sent = Sent({}, tool_names={"cut_1234": "long"}, stops=("END",))
    reply = to_chat.answer(completion(tool_calls=[chat_call("a", name="cut_1234")]), sent)
    assert reply["content"][0]["name"] == "long"
    met = completion(content="x")
    met["choices"][0]["stop_reason"] = "END"
    found = to_chat.answer(met, sent)
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")
    met["choices"][0]["stop_reason"] = 128001
    assert to_chat.answer(met, sent)["stop_reason"] == "end_turn"


@pytest.mark.parametrize("finish", [None, "", "null"])
def test_no_finish_reason_is_no_stop_reason(finish: Json) -> None:
    assert to_chat.answer(completion(finish, content="a"))["stop_reason"] is None


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"error": {"message": "x", "code": "context_length_exceeded"}}, Kind.CONTEXT_WINDOW),
        ({"error": "overloaded"}, Kind.OVERLOADED),
        ({}, Kind.BAD_RESPONSE),
        ({"choices": []}, Kind.BAD_RESPONSE),
        ({"choices": [5]}, Kind.BAD_RESPONSE),
        ({"choices": [{"finish_reason": "stop"}]}, Kind.BAD_RESPONSE),
        (completion("error", content="a"), Kind.BAD_RESPONSE),
        (completion("tool_calls", tool_calls=[chat_call(arguments="{not JSON")]), Kind.BAD_RESPONSE),
        (completion("tool_calls", tool_calls=[chat_call(arguments="[1]")]), Kind.BAD_RESPONSE),
        (completion("length", tool_calls=[chat_call(arguments="{"), chat_call()]), Kind.BAD_RESPONSE),
        (completion("tool_calls", tool_calls=[{"id": "a"}]), Kind.BAD_RESPONSE),
        (completion("tool_calls", tool_calls=[5]), Kind.BAD_RESPONSE),
    ],
)
def test_what_is_no_answer_has_a_kind(data: JsonObject, kind: Kind) -> None:
    with pytest.raises(UpstreamError) as raised:
        to_chat.answer(data)
    assert (raised.value.kind, raised.value.status) == (kind, 200)
