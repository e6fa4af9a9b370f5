"""The shapes in which the wires tell errors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.wire.json import JsonObject, encode_json, json_in

_ANTHROPIC_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        409: "conflict_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
"""Status → Anthropic's type of error. Source: https://platform.claude.com/docs/en/api/errors"""


class OpenAIErrors:
    """OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""

    def envelope(self, error: JsonObject, status: int, request_id: str) -> JsonObject:
        """Return OpenAI's envelope `error` in this shape."""
        return error

    def body(self, body: bytes, status: int, request_id: str) -> bytes:
        """Return an upstream's error body in this shape; as it came if it has it already."""
        value = json_in(body)
        said = value.get("error") if isinstance(value, dict) and value.get("type") == "error" else None
        if not isinstance(said, dict):
            return body
        fields = {name: said.get(name) for name in ("message", "type", "param", "code")}
        return encode_json({"error": fields})


class AnthropicErrors(OpenAIErrors):
    """Anthropic's shape: `{"type": "error", "error": {"type", "message"}, "request_id"}`."""

    def envelope(self, error: JsonObject, status: int, request_id: str) -> JsonObject:
        """Return OpenAI's envelope `error` in this shape, with what it has of `code, param, limit, attempts`."""
        said = error["error"]
        kind = _ANTHROPIC_TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
        inner: JsonObject = {"type": kind, "message": said.get("message") or kind}
        inner |= {name: said[name] for name in ("code", "param", "limit", "attempts") if said.get(name) is not None}
        return {"type": "error", "error": inner, "request_id": request_id}

    def body(self, body: bytes, status: int, request_id: str) -> bytes:
        """Return an upstream's error body in this shape; as it came if it has it already."""
        value = json_in(body)
        if not isinstance(value, dict) or not isinstance(value.get("error"), dict) or value.get("type") == "error":
            return body
        return encode_json(self.envelope(value, status, request_id))


OPENAI_ERRORS: Final = OpenAIErrors()
ANTHROPIC_ERRORS: Final = AnthropicErrors()
