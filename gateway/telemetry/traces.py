"""What is kept of a request for its trace: ids, and for each call the one that its upstream got.

Spans are made of it after the request's end (`telemetry/otel`), with its report. A request that is not sampled, or
where nothing is exported, has none of this.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import copy
from random import getrandbits
from typing import Final, NamedTuple

from gateway.policy.target import Target
from gateway.wire.json import JsonObject

SPAN_BITS: Final = 64
OTHER_METHOD: Final = "_OTHER"
"""Any method that HTTP does not define, since a client may send any word (semantic conventions: `http.request.method`).
"""
MAX_STATE: Final = 512
"""Characters of a `tracestate` that is kept: https://www.w3.org/TR/trace-context/#tracestate-limits."""


class Unsampled(NamedTuple):
    """What upstreams get of a trace that is not sampled. All calls of a request share it, as none has a span."""

    traceparent: str
    state: str | None


def new_span_id() -> int:
    """Return a new id of a span; it may not be 0."""
    return getrandbits(SPAN_BITS) or 1


def traceparent_of(trace_id: int, span_id: int, *, is_sampled: bool) -> str:
    """Return a `traceparent`: https://www.w3.org/TR/trace-context/#traceparent-header."""
    return f"00-{trace_id:032x}-{span_id:016x}-{'01' if is_sampled else '00'}"


class TracedCall:
    """One call of a target."""

    __slots__ = ("answered", "asked", "began_ns", "span_id", "target")

    def __init__(self, target: Target, span_id: int) -> None:
        self.target = target
        self.span_id = span_id
        self.began_ns = time.time_ns()
        self.asked: JsonObject = {}
        """Attributes of the request that was sent: numbers and the like, no text of a prompt."""
        self.answered: JsonObject = {}
        """Attributes of the answer, likewise."""


class Trace:
    """The trace of one request that is sampled."""

    __slots__ = (
        "began_ns", "call", "host", "is_shadow", "method", "parent_id", "path", "route", "span_id", "state", "trace_id",
    )  # fmt: skip

    def __init__(self, trace_id: int, parent_id: int | None, state: str | None) -> None:
        self.trace_id = trace_id
        self.span_id = new_span_id()
        """Of the request's own span."""
        self.parent_id = parent_id
        """The client's span; None if it sent no valid `traceparent`."""
        self.state = state
        """The client's `tracestate`, which upstreams get too."""
        self.began_ns = time.time_ns()
        """Nanoseconds since the epoch."""
        self.call: TracedCall | None = None
        """The last call that began."""
        self.is_shadow = False
        """Of calls beside the request, which nobody waits for: the request's own span is told by another."""
        self.method = ""
        self.path = ""
        """Empty for data that is no request."""
        self.route: str | None = None
        """The path with placeholders, as the endpoint has it; None if there is none."""
        self.host: str | None = None
        """What the client's `Host` says."""

    def call_headers(self, target: Target, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the header fields of a call that begins now: `headers` and the trace's, whose parent is the call."""
        self.call = call = TracedCall(target, new_span_id())
        sent = {**headers, "traceparent": traceparent_of(self.trace_id, call.span_id, is_sampled=True)}
        if self.state is not None:
            sent["tracestate"] = self.state
        return sent

    def beside(self, *, is_shadow: bool = False) -> Trace:
        """Return the same trace for calls that run beside the others."""
        other = copy(self)
        other.call, other.is_shadow = None, is_shadow
        if is_shadow:
            other.began_ns = time.time_ns()
        return other
