"""Faults of the account, and models that are gone: whatever the status, the next target is tried."""

from __future__ import annotations

from typing import Final

from gateway.policy.failures import Kind
from tests.vendor_failures.case import GONE, GOOGLE, Refusal, error, google

ACCOUNT: Final = [
    Refusal(
        vendor="anthropic",
        status=400,
        kind=Kind.BILLING,
        body={
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "You have reached your specified API usage limits until July.",
            },
        },
    ),
    Refusal(
        vendor="anthropic workspace",
        status=400,
        kind=Kind.BILLING,
        body=error("You have reached your specified workspace API usage limits."),
    ),
    Refusal(vendor="anthropic credit", status=400, kind=Kind.BILLING, body=error("Your credit balance is too low.")),
    Refusal(
        vendor="anthropic disabled", status=400, kind=Kind.AUTH, body=error("This organization has been disabled.")
    ),
    Refusal(
        vendor="anthropic tier",
        status=429,
        kind=Kind.BILLING,
        body={
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "the month's cap",
                "details": {"error_code": "enforced_spend_limit_reached"},
            },
        },
    ),
    Refusal(
        vendor="anthropic extra",
        status=429,
        kind=Kind.BILLING,
        body=error("Extra usage is required for long context requests.", None, "rate_limit_error"),
    ),
    Refusal(
        vendor="openai",
        status=429,
        kind=Kind.BILLING,
        body=error("x", "insufficient_quota"),
        headers={"retry-after": "3600"},
    ),
    Refusal(
        vendor="openai codes",
        status=429,
        kind=Kind.BILLING,
        body=error("x", "project_spend_limit_exceeded", "insufficient_quota"),
    ),
    Refusal(vendor="openai credits", status=429, kind=Kind.BILLING, body=error("x", "credit_balance_exhausted")),
    Refusal(
        vendor="xai key",
        status=400,
        kind=Kind.AUTH,
        body={"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***"},
    ),
    Refusal(
        vendor="xai",
        status=429,
        kind=Kind.BILLING,
        body={
            "code": "Some resource has been exhausted",
            "error": "Your team 16f2-40 has either used all available credits or reached its spending limit.",
        },
    ),
    Refusal(
        vendor="xai new",
        status=403,
        kind=Kind.BILLING,
        body={"code": "no permission", "error": "Your newly created team doesn't have any credits yet."},
    ),
    Refusal(
        vendor="gemini expired",
        status=400,
        kind=Kind.AUTH,
        body=google(
            400,
            "INVALID_ARGUMENT",
            "API key expired. Please renew the API key.",
            {"@type": f"{GOOGLE}.ErrorInfo", "reason": "API_KEY_INVALID"},
        ),
    ),
    Refusal(
        vendor="gemini reason",
        status=400,
        kind=Kind.AUTH,
        body=google(
            400, "INVALID_ARGUMENT", "the key is unfit", {"@type": f"{GOOGLE}.ErrorInfo", "reason": "API_KEY_INVALID"}
        ),
    ),
    Refusal(
        vendor="gemini place",
        status=400,
        kind=Kind.AUTH,
        body=google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
    ),
    Refusal(
        vendor="gemini billing",
        status=400,
        kind=Kind.BILLING,
        body=google(400, "FAILED_PRECONDITION", "Gemini API free tier is not available in your country."),
    ),
    Refusal(
        vendor="gemini prepaid",
        status=429,
        kind=Kind.BILLING,
        body=google(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
    ),
    Refusal(
        vendor="dashscope",
        status=400,
        kind=Kind.BILLING,
        body=error("Access denied, please make sure your account is in good standing.", "Arrearage"),
    ),
    Refusal(
        vendor="dashscope native",
        status=400,
        kind=Kind.BILLING,
        body={"code": "Arrearage", "message": "overdue", "request_id": "r"},
    ),
    Refusal(
        vendor="fireworks",
        status=412,
        kind=Kind.BILLING,
        body=error("Account acme is suspended, possibly due to the spending limit.", "PRECONDITION_FAILED"),
    ),
    Refusal(
        vendor="kimi",
        status=403,
        kind=Kind.BILLING,
        body=error("You've reached your usage limit for this billing cycle.", None, "permission_error"),
    ),
    Refusal(
        vendor="moonshot",
        status=429,
        kind=Kind.BILLING,
        body=error("Your account org-1 is suspended", None, "exceeded_current_quota_error"),
    ),
    Refusal(vendor="zhipu", status=429, kind=Kind.BILLING, body={"error": {"code": "1113", "message": "arrears"}}),
    Refusal(
        vendor="deepseek", status=402, kind=Kind.BILLING, body=error("Insufficient Balance", None, "unknown_error")
    ),
    Refusal(
        vendor="new-api", status=403, kind=Kind.BILLING, body=error("x", "insufficient_user_quota", "new_api_error")
    ),
    Refusal(vendor="groq terms", status=400, kind=Kind.AUTH, body=error("accept first", "model_terms_required")),
    Refusal(
        vendor="aws",
        status=400,
        kind=Kind.AUTH,
        body={"__type": "com.amazon.coral.service#UnrecognizedClientException", "message": "token invalid"},
    ),
    Refusal(
        vendor="nvidia",
        status=404,
        kind=Kind.AUTH,
        body={"status": 404, "title": "Not Found", "detail": "Function '23d4': Not found for account 'BDnm'"},
    ),
    Refusal(
        vendor="openai project",
        status=403,
        kind=Kind.AUTH,
        body=error("Project `proj_1` does not have access to model `m`", "model_not_found"),
    ),
]

MODEL_GONE: Final = [
    Refusal(
        vendor="groq", status=400, body=error("The model `m` has been decommissioned", "model_decommissioned"), **GONE
    ),
    Refusal(
        vendor="nvidia",
        status=410,
        **GONE,
        says="end of life",
        body={
            "type": "about:blank",
            "title": "Gone",
            "status": 410,
            "detail": "The model 'm' has reached its end of life on 2026-05-14 and is no longer available.",
        },
    ),
    Refusal(vendor="azure", status=410, body=error("retired", "ModelDeprecated"), **GONE),
    Refusal(
        vendor="mistral",
        status=400,
        **GONE,
        body={"object": "error", "message": "Invalid model: m", "type": "invalid_model", "param": None, "code": "1500"},
    ),
    Refusal(
        vendor="perplexity",
        status=400,
        **GONE,
        body={"error": {"message": "Invalid model 'm'.", "type": "invalid_model", "code": 400}},
    ),
    Refusal(
        vendor="together",
        status=400,
        **GONE,
        body=error("Unable to access non-serverless model m.", "model_not_available"),
    ),
    Refusal(
        vendor="huggingface",
        status=400,
        **GONE,
        body=error("The requested model 'm' is not supported by any provider you have enabled.", "model_not_supported"),
    ),
    Refusal(vendor="huggingface text", status=400, body={"error": "Model not supported by provider up"}, **GONE),
    Refusal(
        vendor="openrouter", status=400, **GONE, body={"error": {"message": "m/n is not a valid model ID", "code": 400}}
    ),
    Refusal(vendor="deepseek", status=400, body=error("Model Not Exist", "invalid_request_error"), **GONE),
    Refusal(vendor="zhipu", status=400, body={"error": {"code": "1211", "message": "not there"}}, **GONE),
    Refusal(vendor="bedrock", status=400, body={"message": "The provided model identifier is invalid."}, **GONE),
    Refusal(
        vendor="ollama",
        status=404,
        **GONE,
        says="try pulling it",
        body=error('model "m" not found, try pulling it first', None, "api_error"),
    ),
    Refusal(
        vendor="anthropic",
        status=404,
        **GONE,
        body={"type": "error", "error": {"type": "not_found_error", "message": "model: m"}},
    ),
]
