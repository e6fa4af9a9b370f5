"""Thinking blocks of ours, which no target may take for Claude's."""

from __future__ import annotations

from gateway.adapters.anthropic.thinking import OUR_SIGNATURE, may_have_ours, our_thinking, without_our_thinking
from gateway.wire.json import encode_json
from tests.unit.adapters.anthropic.shapes import assistant, text, user


def test_our_thinking_is_taken_out_and_claude_s_stays() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "EqQBCgIYAhIM"}
    body = {"messages": [user(), assistant([our_thinking("so"), signed, text("a")]), assistant([our_thinking("x")])]}
    assert without_our_thinking(body)["messages"] == [user(), assistant([signed, text("a")])]
    assert our_thinking("x")["signature"] == OUR_SIGNATURE


def test_our_thinking_is_found_in_an_encoded_body() -> None:
    assert may_have_ours(encode_json({"messages": [assistant([our_thinking("x")])]}))
    assert not may_have_ours(encode_json({"messages": [assistant([text("x")])]}))


def test_a_body_without_our_thinking_stays_the_same_object() -> None:
    body = {"messages": [user(), assistant([text("a")]), "odd"]}
    assert without_our_thinking(body) is body
    assert without_our_thinking({"messages": None}) == {"messages": None}
