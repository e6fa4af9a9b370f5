"""Naming an upstream's failure, and what a client may see of it."""

from __future__ import annotations

import pytest

from gateway.errors import UpstreamFailed, UpstreamRefused
from gateway.policy.failures import Kind, UpstreamError, classify
from gateway.telemetry.report import Attempt
from gateway.wire.json import Json


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, None, Kind.BAD_REQUEST),
        (400, {"error": {"code": "context_length_exceeded"}}, Kind.CONTEXT_WINDOW),
        (400, {"error": {"code": "content_policy_violation"}}, Kind.CONTENT_FILTER),
        (400, {"error": {"code": "content_filter"}}, Kind.CONTENT_FILTER),
        (
            400,
            {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
            Kind.CONTEXT_WINDOW,
        ),
        (400, {"error": {"message": "the maximum context length is 8192 tokens"}}, Kind.CONTEXT_WINDOW),
        (400, {"error": {"code": "rate_limit_exceeded"}}, Kind.RATE_LIMIT),
        (400, {"error": {"message": "API key not valid. Please pass a valid API key."}}, Kind.AUTH),
        (400, {"error": "Incorrect API key provided: xa***"}, Kind.AUTH),
        (400, {"error": {"message": "Your credit balance is too low to access the API."}}, Kind.BILLING),
        (400, "not an object", Kind.BAD_REQUEST),
        (401, None, Kind.AUTH),
        (402, None, Kind.BILLING),
        (403, None, Kind.AUTH),
        (404, {"error": {"code": "model_not_found"}}, Kind.NOT_FOUND),
        (408, None, Kind.TIMEOUT),
        (413, None, Kind.BAD_REQUEST),
        (422, None, Kind.BAD_REQUEST),
        (429, None, Kind.RATE_LIMIT),
        (429, {"error": {"code": "insufficient_quota"}}, Kind.BILLING),
        (429, {"error": {"type": "insufficient_quota", "code": None}}, Kind.BILLING),
        (500, None, Kind.SERVER_ERROR),
        (502, None, Kind.SERVER_ERROR),
        (503, None, Kind.OVERLOADED),
        (504, None, Kind.TIMEOUT),
        (529, None, Kind.OVERLOADED),
        (599, None, Kind.SERVER_ERROR),
        (None, {"error": {"type": "overloaded_error"}}, Kind.OVERLOADED),
        (None, {"error": {"message": "The engine is overloaded"}}, Kind.OVERLOADED),
        (500, {"error": {"message": "Overloaded"}}, Kind.OVERLOADED),
        (500, {"error": {"message": "prompt is too long"}}, Kind.SERVER_ERROR),
        (400, {"detail": "the prompt is too long"}, Kind.CONTEXT_WINDOW),
        (422, {"detail": [{"msg": "bad", "input": "prompt is too long"}]}, Kind.BAD_REQUEST),
        (400, {"object": "error", "message": "maximum context length is 8", "code": 400}, Kind.CONTEXT_WINDOW),
        (200, {"error": {"code": 503}}, Kind.OVERLOADED),
        (200, {"error": {"code": "402"}}, Kind.BILLING),
        (200, {"error": {"message": "who knows"}}, Kind.SERVER_ERROR),
        (200, {"error": {"code": 12}}, Kind.SERVER_ERROR),
    ],
)
def test_the_status_gives_the_kind_and_the_body_refines_it(status: int | None, body: Json, kind: Kind) -> None:
    assert classify(status, body) == kind


def test_the_text_of_an_upstream_error_holds_nothing_of_its_body() -> None:
    error = UpstreamError(Kind.BAD_REQUEST, status=400, code="x", body=b'{"error": {"message": "sk-secret"}}')
    assert str(error) == "bad_request (status 400)"


def test_the_envelope_lists_the_attempts_without_upstream_text() -> None:
    attempt = Attempt(target="openai/gpt-4o", label="openai/*", kind=Kind.RATE_LIMIT, status=429, ms=12.34)
    error = UpstreamFailed("no target answered", status=429, attempts=[attempt], retry_after_s=1.2)
    assert error.envelope() == {
        "error": {
            "message": "no target answered",
            "type": "upstream_error",
            "param": None,
            "code": "upstream_failed",
            "attempts": [{"target": "openai/gpt-4o", "kind": "rate_limit", "status": 429, "ms": 12.3}],
        }
    }
    assert error.response_headers() == {"retry-after": "2"}


@pytest.mark.parametrize("kind", Kind)
def test_only_a_limit_and_an_overload_are_waited_for(kind: Kind) -> None:
    wait_s = UpstreamError(kind, retry_after_s=9.0).retry_after_s
    assert wait_s == (9.0 if kind in {Kind.RATE_LIMIT, Kind.OVERLOADED} else None)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Kind.NOT_FOUND, "model_not_found"), (Kind.CONTEXT_WINDOW, "context_length_exceeded"),
     (Kind.BAD_REQUEST, "upstream_refused")],
)  # fmt: skip
def test_a_refusal_without_a_body_has_openais_code_too(kind: Kind, code: str) -> None:
    assert UpstreamRefused(status=400, kind=kind, body=None, attempts=()).envelope()["error"]["code"] == code
