"""Plain Messages replies as chat replies."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.adapters.anthropic import to_messages
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import message, text, use


def answer(data: JsonObject) -> JsonObject:
    return to_messages.answer(data, created=7)


def said(*content: JsonObject, **more: Any) -> JsonObject:
    found = answer(message(*content, **more))["choices"][0]["message"]
    assert isinstance(found, dict)
    return found


def test_a_text() -> None:
    assert answer(message(text("Hel"), text("lo"))) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 7,
        "model": "claude-sonnet-5",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        },
    }


def test_parallel_calls() -> None:
    reply = answer(message(text("Let me see."), use("a", city="Rome"), use("b", "time"), stop="tool_use"))
    choice = reply["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
            {"id": "b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        ],
    }
    assert said(use(), stop="tool_use")["content"] is None


def test_thinking_is_reasoning_and_its_blocks_can_be_sent_back() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    hidden = {"type": "redacted_thinking", "data": "xx"}
    assert said(signed, hidden, text("a")) == {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "hm",
        "thinking_blocks": [signed, hidden],
    }


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "It could do harm."}
    reply = answer(message(stop="refusal", stop_details=details))
    assert reply["choices"][0]["finish_reason"] == "content_filter"
    assert reply["choices"][0]["message"]["refusal"] == "It could do harm."
    assert "refusal" not in said(text("a"), stop="refusal", stop_details=None)


def test_citations_are_kept_beside_the_text() -> None:
    cited = [{"type": "char_location", "cited_text": "a"}]
    assert said(text("a", citations=cited), text("b", citations=None)) == {
        "role": "assistant",
        "content": "ab",
        "provider_specific_fields": {"citations": [cited]},
    }


def test_what_hosted_tools_did_and_unknown_blocks_are_left_out() -> None:
    blocks: list[JsonObject] = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "of_tomorrow"},
        {"type": {"odd": 1}},
        text("found"),
    ]
    assert said(*blocks) == {"role": "assistant", "content": "found"}


def test_an_empty_answer_is_an_answer() -> None:
    assert said() == {"role": "assistant", "content": ""}


def test_no_stop_reason_is_no_finish_reason() -> None:
    assert answer(message(text("a"), stop=None))["choices"][0]["finish_reason"] is None


def test_no_usage_is_none_and_the_tier_is_told() -> None:
    assert "usage" not in answer(message(usage=None))
    tiers = [answer(message(usage={"input_tokens": 1, "service_tier": tier})) for tier in ("standard", "priority")]
    assert [reply["service_tier"] for reply in tiers] == ["default", "priority"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Kind.OVERLOADED),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, Kind.RATE_LIMIT),
        (
            {
                "type": "error",
                "error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}},
            },
            Kind.BILLING,
        ),
        ({}, Kind.BAD_RESPONSE),
        ({"content": "text"}, Kind.BAD_RESPONSE),
        (message({"type": "tool_use", "id": "a"}), Kind.BAD_RESPONSE),
        (message({"type": "tool_use", "name": "a", "id": 5}), Kind.BAD_RESPONSE),
        (message(text("a"), stop="error"), Kind.BAD_RESPONSE),
    ],
)
def test_what_is_no_answer_has_a_kind(data: Json, kind: Kind) -> None:
    with pytest.raises(UpstreamError) as raised:
        answer(data)
    assert (raised.value.kind, raised.value.status) == (kind, 200)
