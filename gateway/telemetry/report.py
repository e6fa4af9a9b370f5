"""The report of one request: its attempts, target, tokens and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from gateway.policy.failures import Kind
from gateway.policy.target import Target
from gateway.telemetry.traces import Trace, TracedCall
from gateway.wire.json import JsonObject

PassedOver: TypeAlias = Literal["bound", "condition", "cooldown", "limited", "unsupported"]
PASSED_OVER: Final[frozenset[Kind | PassedOver | Closed | None]] = frozenset(
    {"bound", "condition", "cooldown", "limited", "unsupported"}
)
"""Why a target was not called.

The request is bound to another one, it does not meet a condition, the target is in cooldown, its provider's limits have
no room, or it lacks the operation.
"""

Closed: TypeAlias = Literal["client_gone", "hedged_out"]
HEDGED_OUT: Final[Closed] = "hedged_out"
"""A call was closed, since another one beside it brought content first or ended the request. It tells of no fault."""
ABANDONED: Final[Closed] = "client_gone"
"""A call was closed, since the client left, or a drain ended, before its answer had begun. It tells of no fault either.
"""
CLOSED: Final[frozenset[Kind | PassedOver | Closed | None]] = frozenset({HEDGED_OUT, ABANDONED})

CacheResult: TypeAlias = Literal["hit", "collapsed", "stale", "miss", "bypass"]
"""How a request of an alias with a cache was answered.

By a kept answer, by that of an equal request in flight, by one whose time is over as the chain failed, or by the chain:
since no answer was kept, or none may be.
"""

KEPT: Final[frozenset[CacheResult | None]] = frozenset({"hit", "collapsed", "stale"})
"""Results for which a kept answer was given, or that of an equal request."""

NO_FALL: Final[frozenset[Kind | PassedOver | Closed | None]] = frozenset(
    {None, HEDGED_OUT, ABANDONED, "condition", "unsupported", "bound"}
)
"""Kinds of attempts after which another target's answer is no fallback."""

CLIENT_GONE: Final = 499
"""Status in log and metrics: the caller left before its answer was complete."""


@dataclass(slots=True)
class Attempt:
    """One call of a target, or a target that was passed over, for the log, the metrics and the error's `attempts`."""

    target: str
    label: str
    kind: Kind | PassedOver | Closed | None
    """None if the target answered; else the failure's kind, why it was passed over, or that it was closed."""
    status: int | None
    ms: float
    key: str | None = None
    """Short for the key that was sent, where the target has several."""
    start_ms: float = 0.0
    """From the request's arrival to the call."""
    hedge: bool = False
    """It was begun beside another call that took long."""
    traced: TracedCall | None = None
    """The call's part of a trace, if it was made and the trace is sampled."""
    content_bytes: int | None = None
    """Bytes of text that had come when it failed, counted where limits need them; None: no content had."""

    @property
    def was_called(self) -> bool:
        """The target was called, not passed over."""
        return self.kind not in PASSED_OVER

    @property
    def ended(self) -> Kind | Closed | None:
        """How the call ended; None if the target answered. For one that was called."""
        kind = self.kind
        return kind if kind is None or kind in {HEDGED_OUT, ABANDONED} else Kind(kind)

    def public(self) -> JsonObject:
        """Return the form for clients."""
        return {"target": self.target, "kind": self.kind, "status": self.status, "ms": round(self.ms * 10) / 10}

    def logged(self) -> JsonObject:
        """Return the form for the log."""
        # As `public` has it, without the call: each request's line needs it.
        line: JsonObject = {
            "target": self.target,
            "kind": self.kind,
            "status": self.status,
            "ms": round(self.ms * 10) / 10,
        }
        if self.key is not None:
            line["key"] = self.key
        if self.hedge:
            line["hedge"], line["start_ms"] = True, round(self.start_ms * 10) / 10
        return line


@dataclass(slots=True)
class LimitReport:
    """What the limits of a client's group came to for a request."""

    group: str
    limited: str | None = None
    """The limit that refused the request, or sent it to another alias, by its text."""
    head: str = ""
    """Lines of the response's head that tell of the limits."""


@dataclass(slots=True)
class CallReport:
    """The progress of one request, filled in while it runs, so that a cancelled request has a report too."""

    request_id: str = ""
    alias: str = ""
    """As written in the file; for a wildcard the pattern. Empty until it is found."""
    generation: int = 0
    target: Target | None = None
    """The target that answered."""
    calling: Target | None = None
    """The target being called."""
    attempts: list[Attempt] = field(default_factory=list)
    first_content_s: float | None = None
    """Streams only: seconds from the request's arrival to commit."""
    tokens: Mapping[str, int] | None = None
    """The `prompt`, `completion` and `cached` counts that the target reported; None if it did not.

    `total` in their place if it told nothing else.
    """
    closed_tokens: Mapping[str, int] | None = None
    """The counts that a call told which was closed before its stream committed."""
    closed_bytes: int = 0
    """Bytes of text that had come on such a call, or on one that held back too much; counted where limits need them."""
    next_number: int = 0
    """The number of the stream's next event, on a wire that numbers them."""
    calls: int = 0
    """Number of attempts without those passed over."""
    limits: LimitReport | None = None
    """None where the file has no `clients`."""
    cache: CacheResult | None = None
    """None for an alias without a cache, and where the request did not get as far."""
    sticky: str | None = None
    """Where the key of a sticky pool was from, such as `header x-session-id`; None if none was asked for or found."""
    trace_id: str | None = None
    """The trace, in hex, if it is sampled: ours, or the client's where none is made here."""
    trace: Trace | None = None
    """The trace that is made here, if it is sampled; None if OpenTelemetry is off."""

    @property
    def fell_back(self) -> bool:
        """Another target failed or rested. For a request that was answered: its target's own retry is no fallback."""
        answered = None if self.target is None else self.target.name
        return any(attempt.kind not in NO_FALL and attempt.target != answered for attempt in self.attempts)
