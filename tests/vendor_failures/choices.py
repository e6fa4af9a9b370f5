"""Choices with a good status that are no answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from gateway.policy.failures import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A choice, on OpenAI's wire and with a good status, that is no answer."""

    vendor: str
    finish: str | None = "error"
    error: Any = None
    kind: Kind = Kind.BAD_RESPONSE

    def __str__(self) -> str:
        return f"{self.vendor}-{self.finish}"

    def body(self, *, stream: bool) -> bytes:
        """Return a response's body."""
        more = {} if self.error is None else {"error": self.error}
        said = {"role": "assistant", "content": "" if stream else "half of it"}
        choice = {"index": 0, "delta" if stream else "message": said, "finish_reason": self.finish, **more}
        data = {"id": "x", "object": "chat.completion.chunk" if stream else "chat.completion", "created": 1,
                "model": "m", "choices": [choice]}  # fmt: skip
        return f"data: {json.dumps(data)}\n\ndata: [DONE]\n\n".encode() if stream else json.dumps(data).encode()


FAILED: Final = [
    Failed(vendor="openrouter"),
    Failed(vendor="deepseek", finish="insufficient_system_resource"),
    Failed(vendor="gemini", finish="MALFORMED_FUNCTION_CALL"),
    Failed(vendor="gemini", finish="function_call_filter: MALFORMED_FUNCTION_CALL"),
    Failed(vendor="gemini", finish="UNEXPECTED_TOOL_CALL"),
    Failed(vendor="bedrock", finish="malformed_model_output"),
    Failed(vendor="bedrock", finish="malformed_tool_use"),
    Failed(vendor="sglang", finish="abort"),
    Failed(vendor="zhipu", finish="network_error"),
    Failed(vendor="cohere", finish="ERROR"),
    Failed(vendor="openrouter own", error={"code": 429, "message": "slow down"}, kind=Kind.RATE_LIMIT),
    Failed(vendor="openrouter stop", finish="stop", error={"code": 502, "message": "down"}, kind=Kind.SERVER_ERROR),
    Failed(vendor="openrouter long", error={"code": 400, "message": "maximum context length is 8"},
           kind=Kind.CONTEXT_WINDOW),
]  # fmt: skip

WHOLE_ANSWERS: Final = (
    "stop", "length", "tool_calls", "content_filter", "eos_token", "end_turn", "COMPLETE", "sensitive", "repetition",
    "ERROR_TOXIC", "terror", "model_length",
)  # fmt: skip
"""Finish reasons of answers, known and unknown ones."""
