"""What is kept of a request for its trace: ids, the sampler's decision, and for each call the id that its upstream got.

Spans are made of it after the request's end (`telemetry/otel`), with its report. Where nothing is exported, a request
has none of this.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import copy
from random import getrandbits
from typing import Final

from gateway.policy.target import Target
from gateway.wire.json import JsonObject

SPAN_BITS: Final = 64
MAX_STATE: Final = 512
"""Characters of a `tracestate` that is kept: https://www.w3.org/TR/trace-context/#tracestate-limits."""


class TracedCall:
    """One call of a target in a trace that is sampled."""

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
    """The trace of one request."""

    __slots__ = (
        "began_ns", "call", "host", "is_sampled", "is_shadow", "method", "parent_id", "path", "route", "span_id",
        "state", "trace_id",
    )  # fmt: skip

    def __init__(self, trace_id: int, parent_id: int | None, state: str | None, *, is_sampled: bool) -> None:
        self.trace_id = trace_id
        self.span_id = getrandbits(SPAN_BITS) or 1
        """Of the request's own span."""
        self.parent_id = parent_id
        """The client's span; None if it sent no valid `traceparent`."""
        self.state = state
        """The client's `tracestate`, which upstreams get too."""
        self.is_sampled = is_sampled
        self.call: TracedCall | None = None
        """The last call that began, if the trace is sampled."""
        self.is_shadow = False
        """Of calls beside the request, which nobody waits for: the request's own span is told by another."""
        self.began_ns = 0
        """Nanoseconds since the epoch; this and what follows only if the trace is sampled."""
        self.method = ""
        self.path = ""
        self.route: str | None = None
        """The path with placeholders, as the endpoint has it; None if there is none."""
        self.host: str | None = None
        """What the client's `Host` says."""

    def call_headers(self, target: Target, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the header fields of a call that begins now: `headers` and the trace's, whose parent is the call."""
        span_id = getrandbits(SPAN_BITS) or 1
        if self.is_sampled:
            self.call = TracedCall(target, span_id)
        sent = {**headers, "traceparent": f"00-{self.trace_id:032x}-{span_id:016x}-{'01' if self.is_sampled else '00'}"}
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
