"""The kinds of upstream failures, and the rules that classify a failure as one of them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from gateway.wire.json import EMPTY, Json, JsonObject


class Kind(StrEnum):
    """The class of an upstream failure: one closed vocabulary for YAML, logs, metrics and tests."""

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    BAD_RESPONSE = "bad_response"
    AUTH = "auth"
    BILLING = "billing"
    NOT_FOUND = "not_found"
    CONTEXT_WINDOW = "context_window"
    CONTENT_FILTER = "content_filter"
    BAD_REQUEST = "bad_request"


RETRY_ON: Final = frozenset({Kind.CONNECTION, Kind.RATE_LIMIT, Kind.OVERLOADED, Kind.SERVER_ERROR, Kind.BAD_RESPONSE})
"""Default of `retry_on`. How often, and while what is left: `engine/next_step`."""

FALLBACK_ON: Final = frozenset(Kind) - {Kind.CONTENT_FILTER, Kind.BAD_REQUEST}
"""Default of `fallback_on`."""


def names_of(kinds: Collection[Kind]) -> list[str]:
    """Return the kinds' names in the order of the vocabulary."""
    return [kind.value for kind in Kind if kind in kinds]


CLIENT_FAULTS: Final = frozenset({Kind.BAD_REQUEST, Kind.CONTENT_FILTER, Kind.CONTEXT_WINDOW})
"""Kinds that never count towards a target's cooldown: the request is at fault."""


LimitName: TypeAlias = Literal["connect_s", "first_token_s", "idle_s", "total_s", "stream_total_s"]
"""A field of `Limits`."""


PAUSING: Final = frozenset({Kind.RATE_LIMIT, Kind.OVERLOADED})
"""Kinds whose Retry-After is heeded: RFC 9110, section 10.2.3, and RFC 6585, section 4."""


class UpstreamError(Exception):
    """One attempt failed. `str()` has kind and status only: bodies may contain prompts and keys."""

    def __init__(
        self,
        kind: Kind,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] = EMPTY,
        reused_connection: bool = False,
        counts: bool = True,
        limit: LimitName | None = None,
    ) -> None:
        super().__init__(f"{kind} (status {status})" if status else str(kind))
        self.kind = kind
        self.status = status
        self.code = code
        """The error body's `code`, or its `type`; for the log."""
        self.retry_after_s = retry_after_s if kind in PAUSING else None
        """Seconds that the upstream asked to wait; None if it asked for none, or the kind is not in PAUSING."""
        self.body = body
        """The upstream's JSON error body, for failures that pass through. Never logged."""
        self.headers = headers
        """Response headers that may go back to the client with the body."""
        self.reused_connection = reused_connection
        """A pooled connection closed before a byte came back."""
        self.counts = counts and not reused_connection
        """It may count towards the target's cooldown."""
        self.limit = limit
        """For a `timeout`: the limit that passed; None if the upstream told of the timeout itself."""


_KIND_OF_STATUS: Final[Mapping[int, Kind]] = {
    401: Kind.AUTH,
    402: Kind.BILLING,
    403: Kind.AUTH,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    429: Kind.RATE_LIMIT,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}

_KIND_OF_CODE: Final[Mapping[str, Kind]] = {
    # OpenAI, https://platform.openai.com/docs/guides/error-codes
    "insufficient_quota": Kind.BILLING,
    "billing_hard_limit_reached": Kind.BILLING,
    "billing_not_active": Kind.BILLING,
    "context_length_exceeded": Kind.CONTEXT_WINDOW,
    "content_policy_violation": Kind.CONTENT_FILTER,
    "content_filter": Kind.CONTENT_FILTER,
    "model_not_found": Kind.NOT_FOUND,
    "rate_limit_exceeded": Kind.RATE_LIMIT,
    "invalid_api_key": Kind.AUTH,
    "server_error": Kind.SERVER_ERROR,
    # Anthropic, https://docs.anthropic.com/en/api/errors
    "authentication_error": Kind.AUTH,
    "permission_error": Kind.AUTH,
    "billing_error": Kind.BILLING,
    "not_found_error": Kind.NOT_FOUND,
    "rate_limit_error": Kind.RATE_LIMIT,
    "api_error": Kind.SERVER_ERROR,
    "timeout_error": Kind.TIMEOUT,
    "overloaded_error": Kind.OVERLOADED,
    "request_too_large": Kind.CONTEXT_WINDOW,
    "invalid_request_error": Kind.BAD_REQUEST,
}

_REFINED: Final[Mapping[int, frozenset[Kind]]] = {
    400: frozenset({Kind.CONTEXT_WINDOW, Kind.CONTENT_FILTER, Kind.NOT_FOUND, Kind.BILLING, Kind.AUTH}),
    403: frozenset({Kind.BILLING, Kind.CONTENT_FILTER, Kind.RATE_LIMIT}),
    413: frozenset({Kind.CONTEXT_WINDOW}),
    422: frozenset({Kind.CONTEXT_WINDOW, Kind.CONTENT_FILTER}),
    429: frozenset({Kind.BILLING}),
    500: frozenset({Kind.OVERLOADED}),
}
"""Status → kinds that the error body may refine it to. Other codes in a body leave the status' kind."""

_TEXT: Final = tuple(
    (kind, re.compile(pattern, re.IGNORECASE), refined)
    for kind, pattern, refined in (
        (Kind.BAD_REQUEST, r"(incorrect|invalid) api key provided|api key not valid|API_KEY_INVALID", Kind.AUTH),
        (Kind.BAD_REQUEST, r"credit balance is too low|exceeded your current quota", Kind.BILLING),
        (Kind.BAD_REQUEST, r"maximum context length|context window|context.length.exceeded", Kind.CONTEXT_WINDOW),
        (Kind.BAD_REQUEST, r"prompt is too long|too many (input )?tokens", Kind.CONTEXT_WINDOW),
        (Kind.SERVER_ERROR, r"\boverloaded\b", Kind.OVERLOADED),
    )
)
"""(kind, pattern, refined kind): Google, Anthropic and xAI tell some failures by the message only."""


def error_object(body: Json) -> JsonObject | None:
    """Return the `error` object of a decoded body; None if the body is not an error.

    A string under `error`, as some OpenAI-wire servers send, becomes `{"message": …}`. Older vLLM releases send the
    error object itself, with `"object": "error"`.
    """
    if not isinstance(body, dict):
        return None
    error = body.get("error") or (body if body.get("object") == "error" else None)
    return error if isinstance(error, dict | None) else {"message": str(error)}


def error_code(error: JsonObject | None) -> str | None:
    """Return an error object's `code` if that is text, else its `type`; None if it has neither."""
    for key in ("code", "type"):
        value = error.get(key) if error else None
        if isinstance(value, str) and value:
            return value[:64]
    return None


def classify(status: int | None, body: Json = None) -> Kind:
    """Return the kind of a failure: by status first, then the body's `code` and `type`, message text last.

    For a `status` of None or below 400, an error inside a good response, the body alone decides; unknown errors are
    `server_error`.
    """
    error = error_object(body)
    named = _kinds_named(error)
    if status is None or status < 400:
        embedded = error.get("code") if error else None
        if isinstance(embedded, str) and embedded.isdigit():
            embedded = int(embedded)
        if isinstance(embedded, int) and 400 <= embedded <= 599:
            return classify(embedded, body)
        return named[0] if named else by_text(Kind.SERVER_ERROR, _message(body, error))
    kind = _KIND_OF_STATUS.get(status) or (Kind.SERVER_ERROR if status >= 500 else Kind.BAD_REQUEST)
    allowed = _REFINED.get(status, frozenset())
    return next((refined for refined in named if refined in allowed), None) or by_text(kind, _message(body, error))


def by_text(kind: Kind, message: str) -> Kind:
    """Return `kind` as the error's message refines it."""
    return next((refined for plain, text, refined in _TEXT if plain is kind and text.search(message)), kind)


def _message(body: Json, error: JsonObject | None) -> str:
    """Return an error's message; without an error object the body's `message`, or its `detail` as FastAPI names it."""
    fields = error or (body if isinstance(body, dict) else {})
    words = fields.get("message") or fields.get("detail")
    return words if isinstance(words, str) else ""


def _kinds_named(error: JsonObject | None) -> list[Kind]:
    words = (error.get("code"), error.get("type")) if error else ()
    return [_KIND_OF_CODE[word] for word in words if isinstance(word, str) and word in _KIND_OF_CODE]


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds that an upstream asks to wait, never below zero; None if it asks for none.

    Reads `retry-after-ms` (OpenAI's SDKs), then `retry-after` as seconds or as an HTTP date (RFC 9110, section 10.2.3).
    `headers` has lower-case names or ignores case; `now` is in seconds since the epoch.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after(wait_s: float) -> str:
    """Return the value of a `retry-after` header: whole seconds, rounded up, at least 1."""
    return str(max(1, math.ceil(wait_s)))


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None
