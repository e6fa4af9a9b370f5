"""One refusal of a vendor, and what it must become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.policy.failures import Kind

GOOGLE: Final = "type.googleapis.com/google.rpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refused request."""

    vendor: str
    status: int
    body: Any = None
    """JSON, or text if it is a str."""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: Kind
    code: Any = None
    """The `code` that a client gets if the refusal passes through."""
    wait_s: float | None = None
    """Approximate for dates."""
    says: str | None = None
    """Part of the message that a client gets if the refusal passes through."""

    @property
    def raw(self) -> bytes:
        """The body's bytes."""
        if self.body is None:
            return b""
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()

    def __str__(self) -> str:
        return f"{self.vendor}-{self.status}-{self.kind}".replace(" ", "-")


def error(message: str, code: Any = None, type_: Any = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": None, "code": code, **more}}


def google(status: int, word: str, message: str, *details: Any) -> list[Any]:
    return [{"error": {"code": status, "message": message, "status": word, "details": list(details)}}]


CONTEXT: Final[Mapping[str, Any]] = {"kind": Kind.CONTEXT_WINDOW, "code": "context_length_exceeded"}
GONE: Final[Mapping[str, Any]] = {"kind": Kind.NOT_FOUND, "code": "model_not_found"}
CENSORED: Final[Mapping[str, Any]] = {"kind": Kind.CONTENT_FILTER, "code": "content_policy_violation"}
LIMITED: Final = error("slow down", "rate_limit_exceeded", "requests")
