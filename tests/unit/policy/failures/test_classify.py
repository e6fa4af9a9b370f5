"""Vendors' words, one table for `classify`, and what a body in any shape becomes."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from gateway.policy.failures import (
    Kind,
    answer_error,
    by_text,
    choice_error,
    classify,
    client_code,
    envelope,
    error_object,
    refusal,
    retry_after_s,
)
from gateway.policy.failures.phrases import Phrase
from gateway.policy.failures.vendor_words import OVERLOADED_PHRASE, PHRASES, QUOTA_PHRASE, is_failed_finish
from tests.vendor_failures import FAILED, REFUSALS, WHOLE_ANSWERS, Failed, Refusal


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_a_refusal_is_classified(case: Refusal) -> None:
    assert classify(case.status, case.body) is case.kind
    error = refusal(None if isinstance(case.body, str) else case.body, case.raw.decode(), case.status)
    assert classify(case.status, {"error": error}) is case.kind
    assert client_code(case.kind, error) == case.code or case.kind in {Kind.AUTH, Kind.BILLING}
    wait_s = retry_after_s(case.headers, now=time.time(), status=case.status, error=error)
    if case.kind in {Kind.RATE_LIMIT, Kind.OVERLOADED}:
        assert wait_s == case.wait_s
    if case.says is not None:
        assert case.says in json.loads(envelope(error, case.kind))["error"]["message"]


@pytest.mark.parametrize("case", FAILED, ids=str)
def test_a_failed_choice_is_an_error(case: Failed) -> None:
    data = json.loads(case.body(stream=False))
    for error in (choice_error(data["choices"][0]), answer_error(data)):
        assert error is not None
        assert classify(None, {"error": error}) is case.kind


@pytest.mark.parametrize("reason", [*WHOLE_ANSWERS, None, 7, {"type": "stop"}])
def test_other_finish_reasons_end_an_answer(reason: Any) -> None:
    assert choice_error({"finish_reason": reason}) is None


@pytest.mark.parametrize(
    "data",
    [
        {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]},
        {"stopReason": "malformed_tool_use", "output": {}},
        {"finish_reason": "ERROR", "message": {}},
        {"type": "message-end", "delta": {"finish_reason": "ERROR"}},
        {"choices": [{"finish_reason": "stop", "provider_specific_fields": {"native_finish_reason": "error"}}]},
        {"choices": [{"finish_reason": {"type": "abort"}}]},
        {"choices": [{"error": "went wrong"}]},
    ],
)
def test_a_failed_answer_is_seen_on_every_wire(data: Any) -> None:
    assert answer_error(data) is not None


@pytest.mark.parametrize(
    "data", [{}, {"choices": None}, {"choices": [None]}, {"candidates": [{"finishReason": "STOP"}]}, {"delta": "x"}]
)
def test_other_data_has_not_failed(data: Any) -> None:
    assert answer_error(data) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x greater than the context length"}, Kind.CONTEXT_WINDOW),
        ({"message": "x greater than the context length", "type": "invalid_request_error"}, Kind.CONTEXT_WINDOW),
        ({"message": "no", "type": "invalid_request_error"}, Kind.BAD_REQUEST),
        ({"message": "no", "code": "tool_use_failed", "status_code": 400}, Kind.BAD_RESPONSE),
        ({"message": "no", "code": 403, "metadata": {"flagged_input": "hi"}}, Kind.CONTENT_FILTER),
        ({"message": "no", "status": "RESOURCE_EXHAUSTED"}, Kind.RATE_LIMIT),
        ({"message": "no", "code": "1113"}, Kind.BILLING),
        ({"message": "no", "code": True}, Kind.SERVER_ERROR),
    ],
)
def test_an_error_inside_a_good_response_has_its_own_kind(error: Any, kind: Kind) -> None:
    assert classify(200, {"error": error}) is kind
    assert classify(None, [{"error": error}]) is kind


def test_a_raw_error_of_openrouters_provider_is_read_in_any_form() -> None:
    for raw in (
        "maximum context length is 8",
        {"error": {"message": "maximum context length is 8"}},
        '{"message": "maximum context length"}',
    ):
        body = {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}
        assert classify(400, body) is Kind.CONTEXT_WINDOW
    for metadata in ({"raw": 7}, {"raw": "[1]"}, "x"):
        assert classify(400, {"error": {"message": "no", "metadata": metadata}}) is Kind.BAD_REQUEST


def test_a_quota_is_the_accounts_with_400_and_a_limit_with_429() -> None:
    """Gemini says so of its limits per minute; OpenAI has a code for it."""
    body = {"error": {"message": "You exceeded your current quota, please check your plan.", "details": ["odd"]}}
    assert (classify(400, body), classify(429, body)) == (Kind.BILLING, Kind.RATE_LIMIT)


def test_a_message_is_searched_to_a_bound() -> None:
    assert by_text(Kind.BAD_REQUEST, "x" * 1_900 + " context window") is Kind.CONTEXT_WINDOW
    assert by_text(Kind.BAD_REQUEST, "x" * 2_000 + " context window") is Kind.BAD_REQUEST


@pytest.mark.parametrize("phrase", [*PHRASES, QUOTA_PHRASE, OVERLOADED_PHRASE], ids=lambda phrase: phrase.kind)
def test_every_phrase_is_bounded(phrase: Phrase) -> None:
    """No pattern repeats without a bound, so the time is linear in the message."""
    for pattern in phrase.patterns:
        assert not re.search(r"(?<!\\)[*+](?!\?)", pattern.pattern)
    for text in ("model " * 400, "a" * 2_000, "your " * 400, "input token count " * 120, "account " + "x" * 1_990):
        began = time.perf_counter()
        phrase.tells(text)
        phrase.tells(text[:1_000])
        assert time.perf_counter() - began < 0.5


def test_a_long_finish_reason_is_cut() -> None:
    assert not is_failed_finish("x" * 100 + " error")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"error": {"message": "m"}}, {"message": "m"}),
        ([{"error": {"message": "m"}}], {"message": "m"}),
        ({"error": "m"}, {"message": "m"}),
        ({"error": ["m", {"msg": "n", "input": "secret"}]}, {"message": "m; n"}),
        ({"error": True, "message": "m"}, {"message": "m"}),
        ({"error": True}, {"message": "the upstream answered with an error"}),
        ({"error": None}, None),
        ([], None),
        ("m", None),
    ],
)
def test_the_error_object_of_a_good_body(body: Any, error: Any) -> None:
    assert error_object(body) == error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "Bad Request", "message": "why"}, "Bad Request: why"),
        ({"error": "why", "message": "why"}, "why"),
        (
            {"error": "Bad Request", "message": ["a must be a string", "b too"]},
            "Bad Request: a must be a string; b too",
        ),
        ({"error": {"message": [{"msg": "why", "loc": ["a"], "input": "secret"}]}}, "a: why"),
        ({"detail": {"msg": "why", "input": "secret"}}, "why"),
        ({"detail": {"detail": {"error": {"message": "why"}}}}, "why"),
        ({"title": "why"}, "why"),
        ({"detail": [{"msg": "why"}, {"loc": ["a", 0], "msg": "b"}, {"loc": []}, 7]}, "why; a.0: b"),
    ],
)
def test_refusals_of_other_shapes(body: Any, message: str) -> None:
    assert refusal(body, json.dumps(body), 400)["message"] == message


@pytest.mark.parametrize(
    "body",
    [
        {"errors": []},
        {"error": []},
        {"error": {}},
        {"error": {"code": "x", "input": "secret"}},
        {"error": {"message": {"input": "secret"}}},
        {"error": {"message": None, "detail": [{"input": "secret"}]}},
        {"error": {"message": ["", {"loc": ["a"]}, 7]}},
        {"message": {"text": "secret"}},
        {"detail": {"input": "secret", "loc": ["a"]}},
        {"detail": [{"input": "secret"}, ["secret"]]},
        {"detail": 7},
        {"secret": "secret"},
        ["secret", "secret"],
        [{"secret": "secret"}, {}],
        json.loads('{"detail": ' * 5_00 + "{}" + "}" * 5_00),
    ],
)
def test_an_error_without_a_message_repeats_nothing(body: Any) -> None:
    """It may hold the request."""
    error = refusal(body, json.dumps(body), 400)
    told = json.loads(envelope(error, Kind.BAD_REQUEST))["error"]
    assert told["message"] == "the upstream answered with status 400"
    assert "secret" not in str(told)


def test_a_body_that_is_a_json_string_is_the_message() -> None:
    assert refusal("why", '"why"', 400)["message"] == "why"


def test_the_place_of_a_fault_is_the_parameter() -> None:
    error = refusal({"detail": [{"loc": ["body", "n"], "msg": "too many"}]}, "", 422)
    told = json.loads(envelope(error, Kind.BAD_REQUEST))["error"]
    assert (told["message"], told["param"]) == ("body.n: too many", "body.n")


@pytest.mark.parametrize("error", [{}, {"code": "x"}, {"message": 7}, {"message": {"input": "secret"}}])
def test_an_envelope_without_a_message_says_that_it_is_an_error(error: Any) -> None:
    assert json.loads(envelope(error, Kind.SERVER_ERROR))["error"]["message"] == "the upstream answered with an error"


def test_an_envelope_masks_keys_and_cuts_its_fields() -> None:
    error = {"message": "key sk-123456.789 and" + " x" * 9000, "type": "a-word " * 99, "param": ["x"], "code": True}
    told = json.loads(envelope(error, Kind.BAD_REQUEST))["error"]
    assert told["message"].startswith("key *** and x x")
    assert len(told.pop("message")) in range(16_380, 16_385)
    assert told == {"type": ("a-word " * 36).rstrip() + " ", "param": None, "code": None}
