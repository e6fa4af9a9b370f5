"""Counts of requests in plain dicts, laid out for Prometheus when it asks.

The client library's own counters take a lock for each step and its histograms walk their buckets: half a dozen of them
took longer than the routing of the request they counted.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from operator import add
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client import Metric

LATENCY_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_BUCKET_NAMES: Final = (*map(str, LATENCY_BUCKETS_S), "+Inf")
_SECONDS: Final = 0
_PROMPT: Final = 1
_COMPLETION: Final = 2
_BUCKETS: Final = 3
_NOTHING: Final = (0.0,) * (_BUCKETS + len(_BUCKET_NAMES))
"""Of one sort of request: their seconds, their tokens, and how many took how long, by buckets."""


class Counts:
    """One counter, by its labels' values. For one thread."""

    __slots__ = ("_help", "_labels", "_name", "counts")

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self._name = name
        self._help = help_text
        self._labels = labels
        self.counts: defaultdict[tuple[Hashable, ...], int] = defaultdict(int)
        """By the labels' values, in their order: `counts["fast", 200] += 1`."""

    def metric(self) -> Metric:
        """Return what the registry shows."""
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, count in self.counts.items():
            family.add_metric([str(value) for value in values], count)
        return family


class Times:
    """One histogram of seconds, by one label's value. For one thread."""

    __slots__ = ("_help", "_label", "_name", "_times")

    def __init__(self, name: str, help_text: str, label: str) -> None:
        self._name = name
        self._help = help_text
        self._label = label
        self._times: dict[str, _Spread] = {}

    def add(self, value: str, seconds: float) -> None:
        """Take one time in."""
        spread = self._times.get(value)
        if spread is None:
            spread = self._times[value] = _Spread()
        spread.add(seconds)

    def add_all(self, value: str, counts: Sequence[int], sum_s: float) -> None:
        """Take many times in: how many fell into each bucket, and their sum."""
        spread = self._times.setdefault(value, _Spread())
        spread.counts = list(map(add, spread.counts, counts))
        spread.sum_s += sum_s

    def metric(self) -> Metric:
        """Return what the registry shows."""
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily(self._name, self._help, labels=[self._label])
        for value, spread in self._times.items():
            family.add_metric([value], spread.buckets(), spread.sum_s)
        return family


class _Spread:
    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * len(_BUCKET_NAMES)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return each bucket's upper bound and how many were at most that."""
        total = 0
        found: list[tuple[str, float]] = []
        for name, count in zip(_BUCKET_NAMES, self.counts, strict=True):
            total += count
            found.append((name, total))
        return found


class RequestCounts:
    """Gathers what is counted of each request, so that one look-up is enough for all of it. For one thread.

    It lies in arrays: a number in a place of its own is one more that the processor has to fetch where many aliases
    are asked for in turn.
    """

    def __init__(self, requests: Counts, attempts: Counts, seconds: Times, tokens: Counts) -> None:
        """Whom to hand it to, with the labels alias, operation, status; target, kind; alias; alias, direction."""
        self._requests = requests
        self._attempts = attempts
        self._seconds = seconds
        self._tokens = tokens
        self._alike: dict[tuple[str, str, int, str], array[float]] = {}

    def add(
        self,
        alias: str,
        operation: str,
        status: int,
        seconds: float,
        tokens: Mapping[str, int] | None,
        answered_by: str = "",
    ) -> None:
        """Take one request in; of one without an alias only the number is shown.

        `answered_by` is the label of a target whose answer is to be counted too.
        """
        alike = self._alike.get((alias, operation, status, answered_by))
        if alike is None:
            alike = self._alike[alias, operation, status, answered_by] = array("d", _NOTHING)
        alike[_BUCKETS + bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        alike[_SECONDS] += seconds
        if tokens is not None:
            alike[_PROMPT] += tokens.get("prompt", 0)
            alike[_COMPLETION] += tokens.get("completion", 0)

    def settle(self) -> None:
        """Hand on what has come since the last time."""
        gathered, self._alike = self._alike, {}
        for (alias, operation, status, answered_by), alike in gathered.items():
            counts = list(map(int, alike[_BUCKETS:]))
            self._requests.counts[alias, operation, status] += sum(counts)
            if answered_by:
                self._attempts.counts[answered_by, "ok"] += sum(counts)
            if not alias:
                continue
            self._seconds.add_all(alias, counts, alike[_SECONDS])
            for direction, place in (("prompt", _PROMPT), ("completion", _COMPLETION)):
                if alike[place]:
                    self._tokens.counts[alias, direction] += int(alike[place])


class Tallies:
    """A collector, as the registry takes one, of counters and histograms."""

    def __init__(self, *members: Counts | Times) -> None:
        self._members = members

    def collect(self) -> Iterator[Metric]:
        """Yield what the registry shows."""
        return (member.metric() for member in self._members)
