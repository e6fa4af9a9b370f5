"""Counts requests in plain dicts and arrays, and converts them to Prometheus' metrics at each scrape.

The client library's counters take a lock for each step and its histograms walk their buckets: half a dozen of them took
longer than routing the request.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import add
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client import Metric

LATENCY_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_BUCKET_NAMES: Final = (*map(str, LATENCY_BUCKETS_S), "+Inf")
_SECONDS: Final = 0
_PROMPT: Final = 1
_COMPLETION: Final = 2
_CACHED: Final = 3
_BUCKETS: Final = 4
_NOTHING: Final = (0.0,) * (_BUCKETS + len(_BUCKET_NAMES))
"""Initial sums of one group of requests: seconds, prompt, completion and cached tokens, and a count for each bucket."""


class Counts:
    """A counter with labels. For one thread."""

    __slots__ = ("_help", "_labels", "_name", "counts")

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self._name = name
        self._help = help_text
        self._labels = labels
        self.counts: defaultdict[tuple[Hashable, ...], int] = defaultdict(int)
        """Values of the labels, in order → count: `counts["fast", 200] += 1`."""

    def metric(self) -> Metric:
        """Return the metric in Prometheus' form."""
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, count in self.counts.items():
            family.add_metric([str(value) for value in values], count)
        return family


class Times:
    """A histogram of seconds with one label. For one thread."""

    __slots__ = ("_help", "_label", "_name", "_times")

    def __init__(self, name: str, help_text: str, label: str) -> None:
        self._name = name
        self._help = help_text
        self._label = label
        self._times: defaultdict[str, _Spread] = defaultdict(_Spread)

    def add(self, value: str, seconds: float) -> None:
        """Add one time for the label's `value`."""
        spread = self._times[value]
        spread.counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        spread.sum_s += seconds

    def add_all(self, value: str, counts: Sequence[int], sum_s: float) -> None:
        """Add many times: the number in each bucket, and their sum."""
        spread = self._times[value]
        spread.counts = list(map(add, spread.counts, counts))
        spread.sum_s += sum_s

    def metric(self) -> Metric:
        """Return the metric in Prometheus' form."""
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

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, number of times up to it) for each bucket."""
        return list(zip(_BUCKET_NAMES, accumulate(self.counts), strict=True))


class RequestCounts:
    """Adds up all counts of a request with a single look-up. For one thread.

    The sums of a group of requests are one array: with many aliases in turn, scattered numbers cost cache misses.
    """

    def __init__(self, requests: Counts, attempts: Counts, seconds: Times, tokens: Counts) -> None:
        """The metrics to update. Their labels: alias, operation, status; target, kind; alias; alias, direction."""
        self._requests = requests
        self._attempts = attempts
        self._seconds = seconds
        self._tokens = tokens
        self._groups: dict[tuple[str, str, int, str], array[float]] = {}

    def add(
        self,
        alias: str,
        operation: str,
        status: int,
        seconds: float,
        tokens: Mapping[str, int] | None,
        answered_by: str = "",
    ) -> None:
        """Add one request; without an alias only the number of requests is counted.

        `answered_by`: the label of the target whose answer is counted as an attempt.
        """
        sums = self._groups.get((alias, operation, status, answered_by))
        if sums is None:
            sums = self._groups[alias, operation, status, answered_by] = array("d", _NOTHING)
        sums[_BUCKETS + bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        sums[_SECONDS] += seconds
        if tokens is not None:
            sums[_PROMPT] += tokens.get("prompt", 0)
            sums[_COMPLETION] += tokens.get("completion", 0)
            if "cached" in tokens:
                sums[_CACHED] += tokens["cached"]

    def settle(self) -> None:
        """Move the sums since the last call to the metrics."""
        groups, self._groups = self._groups, {}
        for (alias, operation, status, answered_by), sums in groups.items():
            counts = list(map(int, sums[_BUCKETS:]))
            self._requests.counts[alias, operation, status] += sum(counts)
            if answered_by:
                self._attempts.counts[answered_by, "ok"] += sum(counts)
            if not alias:
                continue
            self._seconds.add_all(alias, counts, sums[_SECONDS])
            for direction, place in (("prompt", _PROMPT), ("completion", _COMPLETION), ("cached", _CACHED)):
                if sums[place]:
                    self._tokens.counts[alias, direction] += int(sums[place])


class Tallies:
    """A collector of counters and histograms for Prometheus' registry."""

    def __init__(self, *members: Counts | Times) -> None:
        self._members = members

    def collect(self) -> Iterator[Metric]:
        """Return the metrics in Prometheus' form."""
        return (member.metric() for member in self._members)
