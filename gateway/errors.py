"""The errors for clients and programs.

Exception
├── UpstreamError          one attempt failed; raised by adapters, handled by the engine (policy/failures/)
└── GatewayError           raised to clients and programs; owns an HTTP status
    ├── BadRequest         400 or another: the request itself is at fault
    ├── UnknownModel       404
    ├── Unsupported        400: no target, or a hook, supports the operation
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

from gateway.policy.failures import OPENAI_CODES, Kind, retry_after
from gateway.policy.problem import Problem
from gateway.telemetry.report import Attempt
from gateway.wire.json import EMPTY, JsonObject


class GatewayError(Exception):
    """The root of all errors that this gateway raises to callers. `str(exc)` is safe to show."""

    status: int = 500
    code: ClassVar[str] = "gateway_error"
    type: ClassVar[str] = "gateway_error"

    def __init__(self, message: str, *, param: str | None = None, attempts: Sequence[Attempt] = ()) -> None:
        super().__init__(message)
        self.param = param
        self.attempts = tuple(attempts)
        self.headers: Mapping[str, str] = EMPTY
        """Response headers of the error, such as `retry-after`."""

    def envelope(self) -> JsonObject:
        """Return OpenAI's error envelope, with our `attempts` if there are any."""
        error: JsonObject = {"message": str(self), "type": self.type, "param": self.param, "code": self.code}
        if self.attempts:
            error["attempts"] = [attempt.public() for attempt in self.attempts]
        return {"error": error}


class BadRequest(GatewayError):
    """The request itself is at fault."""

    status = 400
    code = "bad_request"
    type = "invalid_request_error"


class UnknownModel(GatewayError):
    """The request names an alias that the table does not have."""

    status = 404
    code = "model_not_found"
    type = "invalid_request_error"


class Unsupported(GatewayError):
    """No target of the alias supports the operation, or one of its hooks does not."""

    status = 400
    code = "unsupported"
    type = "invalid_request_error"


class HookFailed(GatewayError):
    """A hook raised, took too long, or did not return a dict."""

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
    """The upstream refused the request; its status and body are passed to the client."""

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
        """The upstream's own error body, sent as it is; None if it had none."""
        self.headers = headers

    def envelope(self) -> JsonObject:
        """Return OpenAI's error envelope with OpenAI's code for the kind, for an upstream that sent no body."""
        envelope = super().envelope()
        envelope["error"]["code"] = next(iter(OPENAI_CODES.get(self.kind, ())), self.code)
        return envelope


class StreamBroken(GatewayError):
    """A stream broke after commit, when neither status nor target can change."""

    status = 502
    code = "stream_broken"
    type = "upstream_error"


class ConfigError(GatewayError):
    """The config file has problems: all are in `problems`, in file order."""

    status = 500
    code = "config_error"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class UsageError(GatewayError):
    """The environment or the command line is wrong, or the config file cannot be read. Commands exit with 2."""

    code = "usage_error"
