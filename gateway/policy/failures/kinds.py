"""The kinds of upstream failures, and the exception that carries one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from gateway.wire.json import EMPTY


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

KEY_FAULTS: Final = frozenset({Kind.AUTH, Kind.BILLING, Kind.RATE_LIMIT})
"""Kinds after which another key of the same target may do better."""

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
        """The error in OpenAI's envelope, for failures that pass through. Never logged."""
        self.headers = headers
        """Response headers that may go back to the client with the body."""
        self.reused_connection = reused_connection
        """A pooled connection closed before a byte came back."""
        self.counts = counts and not reused_connection
        """It may count towards the target's cooldown."""
        self.asked_once = ""
        """Why the request must not be made again, here or elsewhere; completes a sentence. Empty: it may be."""
        self.content_bytes: int | None = None
        """Bytes of text that had come before it, where they were counted; None: no content had."""
        self.limit = limit
        """For a `timeout`: the limit that passed; None if the upstream told of the timeout itself."""
