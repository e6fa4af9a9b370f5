"""Gemini's error object for clients of OpenAI's wire: its word for the fault instead of the status, which HTTP has.

Source: https://ai.google.dev/gemini-api/docs/troubleshooting
"""

from __future__ import annotations

from gateway.policy.failures import UpstreamError, classify, envelope, error_code
from gateway.wire.json import JsonObject


def openai_error(error: JsonObject) -> JsonObject:
    """Return an error object whose `code` is Gemini's word for it, such as INVALID_ARGUMENT."""
    word = error.get("status")
    return {**error, "code": word} if isinstance(word, str) and type(error.get("code")) is int else error


def failed_by(error: JsonObject) -> UpstreamError:
    """Return the failure for an error object inside a response with a good status."""
    kind = classify(None, {"error": error})
    told = openai_error(error)
    return UpstreamError(kind, status=200, code=error_code(told), body=envelope(told, kind))
