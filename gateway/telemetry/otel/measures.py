"""Counts requests and calls for OTLP's metrics, in plain lists: the SDK's instruments take 12 µs for each value.

Labels come from the routing table, never from a client.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from operator import add
from typing import Final, NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from gateway.policy.overlay import Tables
from gateway.policy.target import Target
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.otel.names import INFERENCE, SCHEMA_URL, Attributes, operation_name, target_attributes
from gateway.telemetry.report import CLOSED, HEDGED_OUT, Attempt

BOUNDS_S: Final = tuple(0.01 * 2**power for power in range(14))
"""As the conventions ask for: 10 ms, doubled until 81.92 s."""
BATCH: Final = 128
"""Requests that are counted at once: in half the time for each, a fifth of a millisecond for all."""
OLD_TOKEN_BOUNDS: Final = tuple(float(4**power) for power in range(14))
_TOKENS: Final = (
    ("prompt", "gen_ai.client.inference.usage.input_tokens"),
    ("completion", "gen_ai.client.inference.usage.output_tokens"),
    ("cached", "gen_ai.client.inference.usage.cache_read.input_tokens"),
)


class _Times:
    """How long something took: a histogram."""

    __slots__ = ("bounds", "counts", "largest", "smallest", "total")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.smallest, self.largest = math.inf, -math.inf

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        if value < self.smallest:
            self.smallest = value
        if value > self.largest:
            self.largest = value

    def join(self, other: _Times) -> None:
        """Add all that another one has."""
        self.counts = list(map(add, self.counts, other.counts))
        self.total += other.total
        self.smallest, self.largest = min(self.smallest, other.smallest), max(self.largest, other.largest)


class _RequestKey(NamedTuple):
    """What requests are counted by."""

    operation: str
    alias: str
    status: int
    label: str
    """Of the target that answered; empty if none did."""


class _CallKey(NamedTuple):
    """What calls are counted by."""

    operation: str
    label: str
    kind: str | None


class _Requests:
    """What the requests of one key came to."""

    __slots__ = ("first_token", "per_token", "seconds")

    def __init__(self) -> None:
        self.seconds = _Times()
        self.first_token = _Times()
        self.per_token = _Times()

    def add(self, seconds: float, first_s: float | None, tokens: Mapping[str, int] | None) -> None:
        """Count one request. `first_s`: until its stream's first content."""
        self.seconds.add(seconds)
        if first_s is not None:
            self.first_token.add(first_s)
            if tokens is not None and tokens.get("completion", 0) > 1:
                self.per_token.add((seconds - first_s) / (tokens["completion"] - 1))

    def join(self, other: _Requests) -> None:
        """Add all that another one has."""
        self.seconds.join(other.seconds)
        self.first_token.join(other.first_token)
        self.per_token.join(other.per_token)


class _Calls:
    """What the calls of one key came to."""

    __slots__ = ("first_chunk", "seconds", "token_sizes", "tokens")

    def __init__(self) -> None:
        self.seconds = _Times()
        self.first_chunk = _Times()
        self.tokens: dict[str, int] = {}
        self.token_sizes: dict[str, _Times] = {}
        """For the old names only."""

    def join(self, other: _Calls) -> None:
        """Add all that another one has."""
        self.seconds.join(other.seconds)
        self.first_chunk.join(other.first_chunk)
        for direction, count in other.tokens.items():
            self.tokens[direction] = self.tokens.get(direction, 0) + count
        for direction, sizes in other.token_sizes.items():
            self.token_sizes.setdefault(direction, _Times(OLD_TOKEN_BOUNDS)).join(sizes)


class Measures:
    """Counts on the event loop, read in the exporter's thread."""

    def __init__(
        self,
        *,
        scope: InstrumentationScope,
        tables: Tables,
        old_names: bool,
        deltas: bool,
    ) -> None:
        """`tables` has the targets of today. `old_names` and `deltas`: as in `Settings`."""
        self._scope = scope
        self._tables = tables
        self._old_names = old_names
        self._deltas = deltas
        self._lock = threading.Lock()
        self._rows: list[EndedRow] = []
        """Requests that are not counted yet."""
        self._requests: dict[tuple[str, str, int, str], _Requests] = {}
        """What came since the last export, by the fields of `_RequestKey`."""
        self._calls: dict[tuple[str, str, str | None], _Calls] = {}
        self._usual: dict[tuple[str, str, str], tuple[_Requests, _Calls]] = {}
        """The same by operation, alias and label, for requests answered at their first call."""
        self._all_requests: dict[tuple[str, str, int, str], _Requests] = {}
        """What came before. For the exporter's thread."""
        self._all_calls: dict[tuple[str, str, str | None], _Calls] = {}
        self._since_ns = time.time_ns()

    def hear(self, ended: Sequence[EndedRow]) -> None:
        """Have finished requests counted."""
        with self._lock:
            self._rows += ended
            if len(self._rows) >= BATCH:
                self._count()

    def _count(self) -> None:
        """Count the requests that named an alias, of those heard of since the last time."""
        rows, self._rows = self._rows, []
        for report, operation, status, stream, _, _, _, seconds, _ in rows:
            alias, attempts, tokens = report.alias, report.attempts, report.tokens
            if not alias:
                continue
            first_s = report.first_content_s if stream else None
            if status == 200 and len(attempts) == 1 and attempts[0].kind is None:
                attempt = attempts[0]
                found = self._usual.get((operation, alias, attempt.label))
                if found is None:
                    requests = self._requests_of(operation, alias, status, attempt.label)
                    found = requests, self._calls_of(operation, attempt.label, None)
                    self._usual[operation, alias, attempt.label] = found
                requests, calls = found
                requests.add(seconds, first_s, tokens)
                self._add_last(calls, attempt, seconds, first_s, tokens)
                continue
            label = report.target.label if report.target is not None else ""
            self._requests_of(operation, alias, status, label).add(seconds, first_s, tokens)
            for attempt in attempts:
                if not attempt.was_called:
                    continue
                calls = self._calls_of(operation, attempt.label, attempt.kind)
                if attempt is attempts[-1]:
                    self._add_last(calls, attempt, seconds, first_s, tokens)
                    continue
                calls.seconds.add(attempt.ms / 1000)
                if attempt.kind == HEDGED_OUT and report.closed_tokens is not None:
                    self._add_tokens(calls, report.closed_tokens)

    def _add_last(
        self, calls: _Calls, attempt: Attempt, seconds: float, first_s: float | None, tokens: Mapping[str, int] | None
    ) -> None:
        """Count a request's last call. That of a stream lasts until the request's end."""
        if first_s is None:
            calls.seconds.add(attempt.ms / 1000)
        else:
            calls.seconds.add(seconds - attempt.start_ms / 1000)
            calls.first_chunk.add(attempt.ms / 1000)
        if tokens is not None:
            self._add_tokens(calls, tokens)

    def _requests_of(self, operation: str, alias: str, status: int, label: str) -> _Requests:
        requests = self._requests.get((operation, alias, status, label))
        if requests is None:
            requests = self._requests[operation, alias, status, label] = _Requests()
        return requests

    def _calls_of(self, operation: str, label: str, kind: str | None) -> _Calls:
        calls = self._calls.get((operation, label, kind))
        if calls is None:
            calls = self._calls[operation, label, kind] = _Calls()
        return calls

    def _add_tokens(self, calls: _Calls, tokens: Mapping[str, int]) -> None:
        counted = calls.tokens
        for direction, count in tokens.items():
            counted[direction] = counted.get(direction, 0) + count
            if self._old_names:
                if direction not in calls.token_sizes:
                    calls.token_sizes[direction] = _Times(OLD_TOKEN_BOUNDS)
                calls.token_sizes[direction].add(count)

    def data(self) -> list[ScopeMetrics]:
        """Return what was counted until now; nothing if that is none. For the exporter's thread."""
        now_ns = time.time_ns()
        with self._lock:
            self._count()
            requests, self._requests = self._requests, {}
            calls, self._calls = self._calls, {}
            self._usual = {}
        if self._deltas:
            self._all_requests, self._all_calls = requests, calls
        else:
            for of_requests, some in requests.items():
                self._all_requests.setdefault(of_requests, _Requests()).join(some)
            for of_calls, more in calls.items():
                self._all_calls.setdefault(of_calls, _Calls()).join(more)
        metrics = list(self._metrics(now_ns))
        if self._deltas:
            self._since_ns = now_ns
        if not metrics:
            return []
        return [ScopeMetrics(self._scope, metrics, SCHEMA_URL)]

    def _metrics(self, now_ns: int) -> Iterator[Metric]:
        targets = {target.label: target for target in self._tables.current.targets}
        requests = [(_request_attributes(_RequestKey(*key), targets), each) for key, each in self._all_requests.items()]
        calls = [(_CallKey(*key), each) for key, each in self._all_calls.items()]
        told = [(_call_attributes(key, targets), key, each) for key, each in calls]
        inference = [(attributes, each) for attributes, key, each in told if key.operation in INFERENCE]
        others = [(attributes, each) for attributes, key, each in told if key.operation not in INFERENCE]
        times = (
            ("gen_ai.server.request.duration", "Seconds from a request's arrival to the end of its answer.",
             [(attributes, each.seconds) for attributes, each in requests]),
            ("gen_ai.server.time_to_first_token", "Seconds from a request's arrival to its stream's first content.",
             [(attributes, each.first_token) for attributes, each in requests]),
            ("gen_ai.server.time_per_output_token", "Seconds per token after the first content of a stream.",
             [(attributes, each.per_token) for attributes, each in requests]),
            ("gen_ai.client.inference.duration", "Seconds that a call of a target took.",
             [(attributes, each.seconds) for attributes, each in inference]),
            ("gen_ai.client.inference.time_to_first_chunk", "Seconds from a call's begin to its first content.",
             [(attributes, each.first_chunk) for attributes, each in inference]),
            ("gen_ai.client.operation.duration", "Seconds that a call of a target took.",
             [(attributes, each.seconds) for attributes, each in (*others, *(inference if self._old_names else ()))]),
        )  # fmt: skip
        for name, text, found in times:
            points = [self._histogram_point(attributes, each, now_ns) for attributes, each in found if any(each.counts)]
            if points:
                yield Metric(name, text, "s", Histogram(points, self._temporality))
        for direction, name in _TOKENS:
            numbers = [
                NumberDataPoint(attributes, self._since_ns, now_ns, each.tokens[direction])
                for attributes, each in inference
                if direction in each.tokens
            ]
            if numbers:
                text = "Tokens as targets reported them."
                yield Metric(name, text, "{token}", Sum(numbers, self._temporality, is_monotonic=True))
        sizes = [
            self._histogram_point({**attributes, "gen_ai.token.type": name}, each.token_sizes[direction], now_ns)
            for direction, name in (("prompt", "input"), ("completion", "output"))
            for attributes, _, each in told
            if direction in each.token_sizes
        ]
        if sizes:
            text = "Tokens of calls as targets reported them."
            yield Metric("gen_ai.client.token.usage", text, "{token}", Histogram(sizes, self._temporality))

    @property
    def _temporality(self) -> AggregationTemporality:
        return AggregationTemporality.DELTA if self._deltas else AggregationTemporality.CUMULATIVE

    def _histogram_point(self, attributes: Attributes, times: _Times, now_ns: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=self._since_ns,
            time_unix_nano=now_ns,
            count=sum(times.counts),
            sum=times.total,
            bucket_counts=times.counts[:],
            explicit_bounds=times.bounds,
            min=times.smallest,
            max=times.largest,
        )


def _request_attributes(key: _RequestKey, targets: Mapping[str, Target]) -> Attributes:
    found: Attributes = {
        "gen_ai.operation.name": operation_name(key.operation),
        "gen_ai.request.model": key.alias,
        "gateway.alias": key.alias,
        "gateway.operation": key.operation,
    }
    if key.label:
        found |= _of_target(key.label, targets)
        found["gen_ai.response.model"] = _model(key.label)
    if key.status >= 400:
        found["error.type"] = str(key.status)
    return found


def _call_attributes(key: _CallKey, targets: Mapping[str, Target]) -> Attributes:
    found: Attributes = {
        "gen_ai.operation.name": operation_name(key.operation),
        "gen_ai.request.model": _model(key.label),
        "gateway.operation": key.operation,
        "gateway.target": key.label,
        **_of_target(key.label, targets),
    }
    if key.kind in CLOSED:
        found["gateway.outcome"] = str(key.kind)
    elif key.kind is not None:
        found["error.type"] = str(key.kind)
    return found


def _of_target(label: str, targets: Mapping[str, Target]) -> Attributes:
    """Return the attributes of a target; of one that an edit has removed, its provider's name."""
    target = targets.get(label)
    return {"gen_ai.provider.name": label.partition("/")[0]} if target is None else target_attributes(target)


def _model(label: str) -> str:
    return label.partition("/")[2]
