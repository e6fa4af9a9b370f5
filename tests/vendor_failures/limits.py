"""Limits and how long they last, moderation, and failures of the upstream's own."""

from __future__ import annotations

from typing import Final

from gateway.policy.failures import Kind
from tests.vendor_failures.case import CENSORED, GOOGLE, LIMITED, Refusal, error, google

FILTERED: Final = [
    Refusal(
        vendor="openrouter",
        status=403,
        **CENSORED,
        body={
            "error": {
                "code": 403,
                "message": "m requires moderation",
                "metadata": {"reasons": ["violence"], "flagged_input": "hi", "provider_name": "Up", "model_slug": "m"},
            }
        },
    ),
    Refusal(
        vendor="xai",
        status=403,
        **CENSORED,
        body={
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
        },
    ),
    Refusal(
        vendor="moonshot",
        status=400,
        **CENSORED,
        body={"error": {"code": 400, "message": "considered high risk", "param": "prompt", "type": "content_filter"}},
    ),
    Refusal(vendor="deepseek", status=400, body=error("Content Exists Risk", "invalid_request_error"), **CENSORED),
    Refusal(
        vendor="dashscope",
        status=400,
        **CENSORED,
        body=error("Input data may contain inappropriate content.", "data_inspection_failed"),
    ),
    Refusal(vendor="zhipu", status=400, body={"error": {"code": "1301", "message": "unsafe"}}, **CENSORED),
    Refusal(
        vendor="azure",
        status=400,
        kind=Kind.CONTENT_FILTER,
        code="content_filter",
        body=error("filtered", "content_filter", None, innererror={"code": "ResponsibleAIPolicyViolation"}),
    ),
    Refusal(
        vendor="azure inner",
        status=400,
        **CENSORED,
        body=error("filtered", "400", None, innererror={"code": "ResponsibleAIPolicyViolation"}),
    ),
    Refusal(vendor="openai", status=400, body=error("flagged", "invalid_prompt"), **CENSORED),
    Refusal(vendor="anthropic", status=400, body=error("Output blocked by content filtering policy"), **CENSORED),
]

LIMITS: Final = [
    Refusal(
        vendor="groq too large",
        status=413,
        kind=Kind.RATE_LIMIT,
        code="rate_limit_exceeded",
        body=error("Request too large for model `m` on tokens per minute", "rate_limit_exceeded", "tokens"),
    ),
    Refusal(
        vendor="groq text",
        status=413,
        kind=Kind.RATE_LIMIT,
        body=error("Request too large on tokens per minute (TPM)", None, "tokens"),
    ),
    Refusal(
        vendor="aws throttled",
        status=400,
        kind=Kind.RATE_LIMIT,
        body={"__type": "ThrottlingException", "message": "Rate exceeded"},
    ),
    Refusal(
        vendor="gemini",
        status=429,
        kind=Kind.RATE_LIMIT,
        code=429,
        wait_s=36.5,
        body=google(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details.",
            {"@type": f"{GOOGLE}.QuotaFailure", "violations": []},
            {"@type": f"{GOOGLE}.RetryInfo", "retryDelay": "36.5s"},
        ),
    ),
    Refusal(
        vendor="openai ms",
        status=429,
        kind=Kind.RATE_LIMIT,
        code="rate_limit_exceeded",
        body=LIMITED,
        wait_s=0.25,
        headers={"retry-after-ms": "250", "retry-after": "9"},
    ),
    Refusal(
        vendor="openai reset",
        status=429,
        kind=Kind.RATE_LIMIT,
        code="rate_limit_exceeded",
        body=LIMITED,
        wait_s=90.5,
        headers={"x-ratelimit-reset-requests": "1m30.5s"},
    ),
    Refusal(
        vendor="openai tokens",
        status=429,
        kind=Kind.RATE_LIMIT,
        code="rate_limit_exceeded",
        body=LIMITED,
        wait_s=360,
        headers={
            "x-ratelimit-remaining-requests": "9",
            "x-ratelimit-reset-requests": "20ms",
            "x-ratelimit-remaining-tokens": "5",
            "x-ratelimit-reset-tokens": "6m0s",
        },
    ),
    Refusal(
        vendor="openai hit",
        status=429,
        kind=Kind.RATE_LIMIT,
        code="rate_limit_exceeded",
        body=LIMITED,
        wait_s=0.02,
        headers={
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "20ms",
            "x-ratelimit-remaining-tokens": "5",
            "x-ratelimit-reset-tokens": "6m0s",
        },
    ),
    Refusal(
        vendor="cerebras",
        status=429,
        kind=Kind.RATE_LIMIT,
        code="rate_limit_exceeded",
        body=LIMITED,
        wait_s=11.5,
        headers={
            "x-ratelimit-remaining-tokens-minute": "0",
            "x-ratelimit-reset-tokens-minute": "11.5",
            "x-ratelimit-remaining-requests-day": "7",
            "x-ratelimit-reset-requests-day": "33011.4",
        },
    ),
    Refusal(
        vendor="anthropic long past",
        status=429,
        kind=Kind.RATE_LIMIT,
        code=None,
        wait_s=0,
        body=error("x", None, "rate_limit_error"),
        headers={
            "anthropic-ratelimit-input-tokens-reset": "2024-01-01T00:00:00Z",
            "anthropic-ratelimit-input-tokens-remaining": "0",
        },
    ),
    Refusal(
        vendor="reset without 429",
        status=503,
        kind=Kind.OVERLOADED,
        body=error("x"),
        headers={"x-ratelimit-reset-requests": "1m30.5s"},
    ),
    Refusal(
        vendor="header wins", status=503, kind=Kind.OVERLOADED, body=error("x"), wait_s=7, headers={"retry-after": "7"}
    ),
    Refusal(vendor="exponent", status=429, kind=Kind.RATE_LIMIT, body=error("x"), headers={"retry-after": "1e308"}),
    Refusal(vendor="underscore", status=429, kind=Kind.RATE_LIMIT, body=error("x"), headers={"retry-after": "1_0"}),
    Refusal(
        vendor="no zone",
        status=429,
        kind=Kind.RATE_LIMIT,
        body=error("x"),
        headers={"retry-after": "Tue, 14 Nov 2090 22:13:30"},
    ),
    Refusal(vendor="unauthorized", status=401, kind=Kind.AUTH, body=error("x"), headers={"retry-after": "3600"}),
    Refusal(vendor="server", status=500, kind=Kind.SERVER_ERROR, body=error("x"), headers={"retry-after": "3600"}),
    Refusal(
        vendor="moderated", status=400, **CENSORED, body=error("x", "invalid_prompt"), headers={"retry-after": "3600"}
    ),
]

THE_UPSTREAMS: Final = [
    *(
        Refusal(vendor="status", status=status, kind=Kind.SERVER_ERROR, body=error("x"))
        for status in (409, 424, 425, 498, 499)
    ),
    Refusal(vendor="status", status=408, kind=Kind.TIMEOUT, body=error("x")),
    Refusal(
        vendor="groq flex",
        status=498,
        kind=Kind.SERVER_ERROR,
        code="capacity_exceeded",
        body=error("x", "capacity_exceeded"),
    ),
    Refusal(
        vendor="tgi",
        status=424,
        kind=Kind.SERVER_ERROR,
        code=None,
        body={"error": "Request failed during generation", "error_type": "generation"},
    ),
    Refusal(
        vendor="groq tool",
        status=400,
        kind=Kind.BAD_RESPONSE,
        code="tool_use_failed",
        body=error("Failed to call a function.", "tool_use_failed", failed_generation="<f>"),
    ),
    Refusal(
        vendor="groq json",
        status=400,
        kind=Kind.BAD_RESPONSE,
        code="json_validate_failed",
        body=error("Failed to generate JSON.", "json_validate_failed"),
    ),
]
