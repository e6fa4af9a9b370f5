"""What spans tell of bodies: numbers, ids and models, never a text."""

from __future__ import annotations

import pytest

from gateway.operations.traced import answered_attributes, asked_attributes
from gateway.wire.json import JsonObject


@pytest.mark.parametrize(
    ("params", "attributes"),
    [
        (
            {"temperature": 1, "top_p": 0.5, "max_completion_tokens": 9, "n": 2, "seed": 7},
            {
                "gen_ai.request.temperature": 1.0,
                "gen_ai.request.top_p": 0.5,
                "gen_ai.request.max_tokens": 9,
                "gen_ai.request.choice.count": 2,
                "gen_ai.request.seed": 7,
            },
        ),
        ({"reasoning_effort": "low"}, {"gen_ai.request.reasoning.level": "low"}),
        ({"reasoning": {"effort": "high"}}, {"gen_ai.request.reasoning.level": "high"}),
        (
            {
                "reasoning_effort": "tell me a secret",
                "temperature": "hot",
                "n": True,
                "seed": 2**70,
                "max_tokens": None,
            },
            {},
        ),
        (
            {
                "messages": [{"role": "user", "content": "a secret"}],
                "input": "a secret",
                "stop": ["a secret"],
                "user": "me",
            },
            {},
        ),
    ],
)
def test_of_a_request_only_numbers_are_told(params: JsonObject, attributes: JsonObject) -> None:
    assert asked_attributes(params) == attributes


@pytest.mark.parametrize(
    ("data", "attributes"),
    [
        (
            {"id": "c-1", "model": "m", "choices": [{"finish_reason": "stop", "message": {"content": "a secret"}}, {}]},
            {"gen_ai.response.id": "c-1", "gen_ai.response.model": "m", "gen_ai.response.finish_reasons": ["stop"]},
        ),
        (
            {"id": "m-1", "model": "claude", "stop_reason": "end_turn", "content": [{"text": "a secret"}]},
            {
                "gen_ai.response.id": "m-1",
                "gen_ai.response.model": "claude",
                "gen_ai.response.finish_reasons": ["end_turn"],
            },
        ),
        (
            {"type": "message_start", "message": {"id": "m-1", "model": "claude"}},
            {"gen_ai.response.id": "m-1", "gen_ai.response.model": "claude"},
        ),
        (
            {"type": "response.created", "response": {"id": "r-1", "model": "gpt"}},
            {"gen_ai.response.id": "r-1", "gen_ai.response.model": "gpt"},
        ),
        ({"id": 7, "model": "x" * 300, "choices": "none"}, {}),
        ({}, {}),
    ],
)
def test_of_an_answer_who_made_it_and_why_it_ended(data: JsonObject, attributes: JsonObject) -> None:
    assert answered_attributes(data) == attributes
