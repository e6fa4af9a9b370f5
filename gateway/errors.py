"""What can go wrong with a request, and the rule that names an upstream's failure.

Exception
├── UpstreamError          one attempt failed; lives between adapter and engine, never reaches a client
└── GatewayError           what a client or an embedding program gets; owns an HTTP status
    ├── BadRequest         400, or the status given: the request itself is at fault
    ├── UnknownModel       404
    ├── Unsupported        400: no target, or a hook, knows the operation
    ├── HookFailed         500
    ├── UpstreamFailed     no target answered: 429, 502, 503 or 504
    ├── UpstreamRefused    the upstream's own status and body are the answer
    ├── StreamBroken       a stream broke after commit
    ├── ConfigError        the config file has problems
    └── UsageError         the environment or the command line is wrong
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from gateway.policy.failures import Kind, retry_after
from gateway.policy.problem import Problem
from gateway.telemetry.report import Attempt
from gateway.wire.json import EMPTY, JsonObject


class GatewayError(Exception):
    """The root of what this gateway raises to its callers. `str(exc)` is safe to show."""

    status: int = 500
    code: ClassVar[str] = "gateway_error"
    type: ClassVar[str] = "gateway_error"

    def __init__(self, message: str, *, param: str | None = None, attempts: Sequence[Attempt] = ()) -> None:
        super().__init__(message)
        self.param = param
        self.attempts = tuple(attempts)
        self.headers: Mapping[str, str] = EMPTY
        """Response headers that go with the error, such as `retry-after`."""

    def envelope(self) -> JsonObject:
        """Return OpenAI's error envelope, with our `attempts` where any were made."""
        error: JsonObject = {"message": str(self), "type": self.type, "param": self.param, "code": self.code}
        if self.attempts:
            error["attempts"] = [attempt.public() for attempt in self.attempts]
        return {"error": error}


class BadRequest(GatewayError):
    """The request is at fault and no target would change that."""

    status = 400
    code = "bad_request"
    type = "invalid_request_error"


class UnknownModel(GatewayError):
    """The request names an alias that the table does not have."""

    status = 404
    code = "model_not_found"
    type = "invalid_request_error"


class Unsupported(GatewayError):
    """No target of the alias can be asked for this operation, or a hook of it does not know the operation."""

    status = 400
    code = "unsupported"
    type = "invalid_request_error"


class HookFailed(GatewayError):
    """A hook raised, took too long, or gave back something that is not a dict."""

    status = 500
    code = "hook_failed"


class UpstreamFailed(GatewayError):
    """No target answered."""

    status = 502
    code = "upstream_failed"
    type = "upstream_error"

    def __init__(
        self, message: str, *, status: int, attempts: Sequence[Attempt], retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, attempts=attempts)
        self.status = status
        if retry_after_s is not None:
            self.headers = {"retry-after": retry_after(retry_after_s)}


class UpstreamRefused(GatewayError):
    """The upstream refused in a way that is the client's to know: its status and body pass through."""

    code = "upstream_refused"
    type = "upstream_error"

    def __init__(
        self,
        *,
        status: int,
        kind: Kind,
        body: bytes | None,
        attempts: Sequence[Attempt],
        headers: Mapping[str, str] = EMPTY,
    ) -> None:
        super().__init__(f"the upstream refused the request: {kind}", attempts=attempts)
        self.status = status
        self.kind = kind
        self.body = body
        """The upstream's own error body, to send as it is; None when it had none."""
        self.headers = headers


class StreamBroken(GatewayError):
    """A stream broke after its first content was handed out: no status and no other target can mend that."""

    status = 502
    code = "stream_broken"
    type = "upstream_error"


class ConfigError(GatewayError):
    """The config file has problems; `problems` holds them all, in file order."""

    status = 500
    code = "config_error"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class UsageError(GatewayError):
    """The environment or the command line is wrong, or the config file cannot be read; a command exits with 2."""

    code = "usage_error"
