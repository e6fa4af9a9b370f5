"""The errors for clients and programs.

Exception
├── UpstreamError          one attempt failed; raised by adapters, handled by the engine (policy/failures/)
└── GatewayError           raised to clients and programs; owns an HTTP status
    ├── BadRequest         400 or another: the request itself is at fault
    │   ├── BodyTooLarge   413
    │   └── NotAsExpected  412: another text runs than the one that If-Match names
    ├── UnknownModel       404
    ├── NotAllowed         403: the client's group may not ask for the model, or is not in the table
    ├── Limited            429: a limit of the client's group is reached
    ├── StateUnavailable   503: the state that replicas share is out of reach, and --on-state-error is deny
    ├── NotKept            504: the client wants a kept answer only, and there is none
    ├── NoStep             400: the request meets no condition of the chain
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
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Final

from gateway.wire.json import EMPTY, JsonObject, json_in

if TYPE_CHECKING:
    # Each command loads this module, and the patterns of the failures take longer to load than `gateway status` to run.
    from gateway.policy.failures import Kind
    from gateway.policy.problem import Problem
    from gateway.telemetry.report import Attempt

NO_REPEAT: Final[Mapping[str, str]] = {"x-should-retry": "false"}
"""Tells OpenAI's and Anthropic's SDKs not to repeat the request (`_should_retry` in their `_base_client.py`)."""

_TELLS_WHEN: Final = frozenset({429, 503})
"""The statuses that carry `retry-after`."""

_WORTH_A_REPEAT: Final = frozenset({408, 409, 425, 429})
"""The statuses below 500 that say: later, or again (RFC 9110, 15.5; RFC 8470, 5.2; RFC 6585, 4)."""


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
        """Response headers of the error, such as `www-authenticate`."""
        self.retry_after_s: float | None = None
        """Seconds after which a repeat may help; None where that is not known."""

    @property
    def is_final(self) -> bool:
        """Whether the same request can only fail again, so that clients should not repeat it by themselves."""
        return 400 <= self.status < 500 and self.status not in _WORTH_A_REPEAT

    def response_headers(self) -> dict[str, str]:
        """Return all header fields of the error's response: its own, `retry-after` and `x-should-retry`."""
        headers = dict(self.headers)
        if self.retry_after_s is not None and self.status in _TELLS_WHEN:
            from gateway.policy.failures import retry_after

            headers.setdefault("retry-after", retry_after(self.retry_after_s))
        if self.is_final:
            headers.update(NO_REPEAT)
        return headers

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


class BodyTooLarge(BadRequest):
    """The body is larger than a limit of the server."""

    status = 413
    code = "body_too_large"


class NotAsExpected(BadRequest):
    """The text that runs is none of those that the request's If-Match names (RFC 9110, 13.1.1)."""

    status = 412
    code = "precondition_failed"


class UnknownModel(GatewayError):
    """The request names an alias that the table does not have."""

    status = 404
    code = "model_not_found"
    type = "invalid_request_error"


class NotAllowed(GatewayError):
    """The client's group may not ask for the model, or the table has no such group."""

    status = 403
    type = "invalid_request_error"
    code = "model_not_allowed"


class UnknownGroup(NotAllowed):
    """The client is of a group that the table does not have."""

    code = "unknown_group"


class Limited(GatewayError):
    """A limit of the client's group is reached, or those of the providers that were left."""

    status = 429
    code = "limited"
    type = "rate_limit_error"

    def __init__(self, message: str, *, limit: str, retry_after_s: float) -> None:
        """`limit` is its text."""
        super().__init__(message)
        self.limit = limit
        self.retry_after_s = retry_after_s

    def envelope(self) -> JsonObject:
        """Return OpenAI's error envelope with the limit."""
        envelope = super().envelope()
        envelope["error"]["limit"] = self.limit
        return envelope


class BudgetExceeded(Limited):
    """A limit of a day or a month is reached: SDKs, which repeat a request within seconds, should not."""

    code = "budget_exceeded"

    @property
    def is_final(self) -> bool:
        """True: it stays so until the window ends."""
        return True


class StateUnavailable(GatewayError):
    """The state that replicas share is out of reach, and nobody is let in without it."""

    status = 503
    code = "state_unavailable"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.retry_after_s = 1.0


class NotKept(GatewayError):
    """The request says `Cache-Control: only-if-cached`, and no answer to it is kept (RFC 9111, 5.2.1.7)."""

    status = 504
    code = "not_kept"
    type = "invalid_request_error"

    @property
    def is_final(self) -> bool:
        """True: a repeat finds nothing either."""
        return True


class NoStep(GatewayError):
    """The request meets the condition of no step of its chain."""

    status = 400
    code = "no_step"
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
        self.retry_after_s = retry_after_s

    @property
    def is_final(self) -> bool:
        """Whether every target failed for a reason that lasts, such as a refused key."""
        return self.status != 504 and _last_for_all(self.attempts)  # 504: targets may be left untried


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
        """Return OpenAI's error envelope with OpenAI's code for the kind.

        It has what the upstream says, for a stream whose head is sent; elsewhere a body is sent as it is.
        """
        from gateway.policy.failures import OPENAI_CODES

        envelope = super().envelope()
        error = envelope["error"]
        error["code"] = next(iter(OPENAI_CODES.get(self.kind, ())), self.code)
        body = json_in(self.body)
        said = body.get("error") if isinstance(body, dict) else None
        if isinstance(said, dict):
            error |= {name: value for name, value in said.items() if value is not None and name != "attempts"}
        return envelope

    @property
    def is_final(self) -> bool:
        """Whether the request is at fault, or every target failed for a reason that lasts."""
        if self.status in _WORTH_A_REPEAT:
            return False
        from gateway.policy.failures import Kind

        return self.kind in {Kind.BAD_REQUEST, Kind.CONTENT_FILTER} or _last_for_all(self.attempts)


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


@cache
def _final_kinds() -> frozenset[str | None]:
    """Return the ends of an attempt that the next request would come to as well."""
    from gateway.policy.failures import Kind

    kinds = {Kind.AUTH, Kind.BILLING, Kind.NOT_FOUND, Kind.CONTEXT_WINDOW, Kind.CONTENT_FILTER, Kind.BAD_REQUEST}
    return frozenset({*kinds, "bound", "condition", "unsupported"})


def _last_for_all(attempts: Sequence[Attempt]) -> bool:
    """Tell whether each target's last attempt ended in a way that the next request would come to as well."""
    last = {attempt.target: attempt.kind for attempt in attempts}
    return bool(last) and _final_kinds().issuperset(last.values())
