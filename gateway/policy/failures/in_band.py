"""The failure that a response with a good status tells of: an error in its body, or in an event of its stream."""

from __future__ import annotations

from gateway.policy.failures.classify import classify, envelope, error_code
from gateway.policy.failures.kinds import Kind, UpstreamError
from gateway.wire.json import JsonObject


def failed_by(error: JsonObject) -> UpstreamError:
    """Return the failure for an error object that came inside a response with a good status."""
    kind = classify(None, {"error": error})
    return UpstreamError(kind, status=200, code=error_code(error), body=envelope(error, kind))


def no_answer() -> UpstreamError:
    """Return the failure for a response with a good status that is no answer."""
    return UpstreamError(Kind.BAD_RESPONSE, status=200)
