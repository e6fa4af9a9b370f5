"""Messages that blame the account or the model, and messages that only repeat such words from a request."""

from __future__ import annotations

from typing import Any, Final

import pytest

from gateway.policy.failures import CLIENT_FAULTS, Kind, by_text, classify
from gateway.policy.failures.phrases import Phrase
from gateway.policy.failures.vendor_words import PHRASES, QUOTA_PHRASE

BLAME: Final = [
    (Kind.AUTH, "Incorrect API key provided: xa***mn. You can obtain an API key from https://console.x.ai."),
    (Kind.AUTH, "Invalid API key"),
    (Kind.AUTH, "API key not valid. Please pass a valid API key."),
    (Kind.AUTH, "API Key not found. Please pass a valid API key."),
    (Kind.AUTH, "API key expired. Please renew the API key."),
    (Kind.AUTH, "User location is not supported for the API use."),
    (Kind.AUTH, "This organization has been disabled."),
    (Kind.AUTH, "Function '23d4-11': Not found for account 'BDnm'"),
    (Kind.BILLING, "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."),
    (Kind.BILLING, "You have reached your specified API usage limits. You will regain access on 2026-08-01."),
    (Kind.BILLING, "You have reached your specified workspace API usage limits."),
    (Kind.BILLING, "Extra usage is required for long context requests."),
    (Kind.BILLING, "Your team 16f2-40 has either used all available credits or reached its spending limit."),
    (Kind.BILLING, "Your newly created team doesn't have any credits yet. You can purchase credits at x.ai."),
    (Kind.BILLING, "Your prepayment credits are depleted."),
    (Kind.BILLING, "Gemini API free tier is not available in your country. Please enable billing on your project."),
    (Kind.BILLING, "This API method requires billing to be enabled. Please enable billing on project #1."),
    (Kind.BILLING, "Access denied, please make sure your account is in good standing."),
    (Kind.BILLING, "Account acme is suspended, possibly due to reaching the monthly spending limit."),
    (Kind.BILLING, "Your account org-1 <ak-2> is suspended, please check your plan and billing details"),
    (Kind.BILLING, "You've reached your usage limit for this billing cycle."),
    (Kind.BILLING, "Insufficient Balance"),
    (Kind.BILLING, "Insufficient credits. Add more using https://openrouter.ai/settings/credits"),
    (Kind.BILLING, "You exceeded your current quota, please check your plan and billing details."),
    (Kind.NOT_FOUND, "The model `m` has been decommissioned and is no longer supported."),
    (Kind.NOT_FOUND, "The model 'm' has reached its end of life on 2026-05-14 and is no longer available."),
    (Kind.NOT_FOUND, "The model m is not available in your region."),
    (Kind.NOT_FOUND, "The requested model 'm' is not supported by any provider you have enabled."),
    (Kind.NOT_FOUND, "The model `m` does not exist or you do not have access to it."),
    (Kind.NOT_FOUND, 'model "m" not found, try pulling it first'),
    (Kind.NOT_FOUND, "Model not found, inaccessible, and/or not deployed"),
    (Kind.NOT_FOUND, "Model Not Exist"),
    (Kind.NOT_FOUND, "Model not supported by provider up"),
    (Kind.NOT_FOUND, "m/n:free is not a valid model ID"),
    (Kind.NOT_FOUND, "Invalid model: m"),
    (Kind.NOT_FOUND, "Invalid model 'm'. Permitted models can be found in the documentation at https://d.example."),
    (Kind.NOT_FOUND, "Unable to access non-serverless model m. Please create and start a new dedicated endpoint."),
    (Kind.NOT_FOUND, "The provided model identifier is invalid."),
    (
        Kind.NOT_FOUND,
        "Invocation of model ID m with on-demand throughput isn’t supported. Retry your request.",
    ),
    (Kind.NOT_FOUND, "This model version has reached the end of its life."),
    (
        Kind.RATE_LIMIT,
        "Request too large for model `m` in organization `o` on tokens per minute (TPM)",
    ),
]
"""What vendors say with 400."""

ECHOES: Final = [
    # OpenAI
    "Invalid value: '{}'. Supported values are: 'system', 'assistant', 'user', 'function', and 'tool'.",
    "Invalid 'response_format.json_schema.name': string '{}' does not match pattern. Expected '^[a-zA-Z0-9_-]+$'.",
    "Invalid schema for function '{}': 'x' is not valid under any of the given schemas.",
    "Invalid 'tools[0].function.name': '{}'.",
    "Unrecognized request argument supplied: {}",
    # JSON schema, as OpenAI-like servers put it: https://github.com/tatsu-lab/alpaca_eval/issues/436
    "'{}' is not one of ['auto']",
    "'{}' is not one of ['system', 'assistant', 'user', 'function'] - 'messages.2.role'",
    "{} is not one of ['auto', 'none']",
    '"{}" is not a valid enum',
    "`{}` is not a valid role",
    "“{}” is not a valid role",
    "'{}' does not match '^[a-z]+$'",
    "{} does not match '^[a-z]+$'",
    "'{}' is too long",
    "['{}'] is not of type 'string'",
    "{{'role': '{}'}} is not valid under any of the given schemas",
    # DeepSeek, Rust's serde, Go
    "{}: is not a valid role",
    "{}: invalid role",
    "{}: unknown variant, expected one of `system`, `user`",
    "unknown variant `{}`, expected one of `system`, `user`, `assistant`, `tool`",
    "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant `{}`",
    "json: cannot unmarshal string {} into Go struct field",
    "{} must be one of: system, user",
    "{} is not a valid value for role",
    "{}: must be one of ['user']",
    "{} - unsupported role",
    # Pydantic, vLLM, SGLang
    "Input should be 'a' or 'b', got '{}'",
    "Input should be 'auto' or 'none' [type=literal_error, input_value='{}', input_type=str]",
    "1 validation error for ChatCompletionRequest\nmessages.0.role\n  Input should be 'user' [input_value='{}']",
    "[{{'type': 'literal_error', 'loc': ('body', 'role'), 'msg': \"Input should be 'user'\", 'input': '{}'}}]",
    "{}\n  Input should be 'user' [type=literal_error, input_value='x', input_type=str]",
    "{}: Extra inputs are not permitted",
    "Unknown role: {}",
    # llama.cpp, Anthropic, Gemini, Bedrock
    "Invalid tool_choice: {}",
    "Unsupported content part type: {}",
    'messages: Unexpected role "{}". Allowed roles are "user" or "assistant".',
    "messages.0.{}: Extra inputs are not permitted",
    "tools.0.name: '{}': String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'",
    "Invalid value at 'contents[0].role' (type.googleapis.com/Role), \"{}\"",
    "Value '{}' at 'messages.1.member.role' failed to satisfy constraint: Member must satisfy enum value set",
    # Odd beginnings
    "\n'{}' is not one of ['auto']",
    "\n\n{}: is not a valid role",
    "({}) is not a valid role",
    "[{}] is not a valid role",
    "- {}: is not a valid role",
    "* role: {}",
    "<{}> is not a valid role",
]
"""Frames around a value of the request in which upstreams refuse it."""

CALLS: Final = [phrase for phrase in (*PHRASES, QUOTA_PHRASE) if phrase.kind not in CLIENT_FAULTS]


@pytest.mark.parametrize(("kind", "message"), BLAME, ids=lambda value: str(value)[:30])
def test_what_an_upstream_says_of_the_account_or_the_model_is_believed(kind: Kind, message: str) -> None:
    for said in (message, message.upper(), f"\n {message}\n"):
        status = 404 if "for account" in message else 400
        assert classify(status, {"error": {"message": said, "type": "invalid_request_error"}}) is kind


@pytest.mark.parametrize("phrase", CALLS, ids=lambda phrase: phrase.kind)
def test_every_pattern_that_blames_has_an_example(phrase: Phrase) -> None:
    assert phrase.blames
    for pattern in phrase.patterns:
        assert any(pattern.match(message) for _, message in BLAME), pattern.pattern


@pytest.mark.parametrize("frame", ECHOES, ids=range(len(ECHOES)))
def test_words_that_a_client_wrote_rest_no_target(frame: str) -> None:
    """Else any client could take a target away from everybody else."""
    written = {
        variant
        for _, message in BLAME
        for text in (message, message.rstrip("."), message.partition(".")[0], message.partition(",")[0])
        for variant in (text, text.lower(), f"{text} ", f"\n{text}", f"{text}\n")
    }
    for text in written:
        said = frame.format(text)
        for status, body in (
            (400, {"error": {"message": said, "type": "invalid_request_error"}}),
            (422, {"error": {"message": said}}),
            (422, {"detail": said}),
            (400, said),
        ):
            assert classify(status, body) in CLIENT_FAULTS, (status, said)
        assert by_text(Kind.BAD_REQUEST, said) in CLIENT_FAULTS, said


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Invalid 'name': string 'tokens per min' does not match pattern."}},
        {"error": {"message": "'api key not valid' is not one of ['auto']"}},
        {"error": {"message": '"model not found" is not a valid enum'}},
        {"error": {"message": "insufficient funds: is not a valid role"}},
        {"error": {"message": "api key not valid", "param": "messages[0].role"}},
        {"error": {"message": "api key not valid", "code": "invalid_value"}},
        {"error": {"message": "api key not valid", "code": "string_above_max_length"}},
        {"error": {"message": "you exceeded your current quota", "param": "user"}},
        {"detail": [{"loc": ["api key not valid"], "msg": "Extra inputs are not permitted"}]},
        {"detail": [{"loc": ["api key not valid"], "msg": "bad"}]},
    ],
)
def test_a_fault_of_a_parameter_blames_nobody_else(body: Any) -> None:
    assert classify(400, body) is Kind.BAD_REQUEST


@pytest.mark.parametrize("param", [None, "", "model"])
def test_a_fault_of_the_model_parameter_is_the_models(param: str | None) -> None:
    error = {"message": "The model `m` does not exist", "param": param, "code": None}
    assert classify(400, {"error": error}) is Kind.NOT_FOUND


def test_a_long_value_does_not_hide_what_is_said_of_it() -> None:
    for _, message in BLAME:
        assert by_text(Kind.BAD_REQUEST, f"{message}{' x' * 1_000} is not a valid role") in CLIENT_FAULTS


def test_words_in_the_middle_of_a_word_are_none() -> None:
    assert by_text(Kind.BAD_REQUEST, "insufficient fundsx") is Kind.BAD_REQUEST
