"""Counts requests in plain dicts and arrays, which become Prometheus' metrics at each scrape.

The client library's counters take a lock for each step and its histograms walk their buckets: half a dozen of them took
longer than routing the request.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice
from operator import add
from typing import Final

from gateway.telemetry.exposition import BUCKET_NAMES, LATENCY_BUCKETS_S, Exemplar, Family, Row

MAX_EXEMPLARS: Final = 500
"""Values of a histogram's label that have exemplars: those whose last one is youngest."""
SETTLED: Final = 200
"""Groups of requests that are settled at a time: less than a millisecond."""

DIRECTIONS: Final = ("prompt", "completion", "cached")
"""The token counts of a report that are counted."""

_SIZE: Final = len(BUCKET_NAMES)
_SECONDS: Final = 0
_PROMPT: Final = 1
_COMPLETION: Final = 2
_CACHED: Final = 3
_BUCKETS: Final = 4
_CONTENT: Final = _BUCKETS + _SIZE
"""Of streams: the seconds to the first content, then their buckets."""
_CONTENT_BUCKETS: Final = _CONTENT + 1
_CALLED: Final = _CONTENT_BUCKETS + _SIZE
"""The same from the call of the target."""
_CALLED_BUCKETS: Final = _CALLED + 1
_NOTHING: Final = (0.0,) * _CONTENT
"""Initial sums of one group of requests: seconds, prompt, completion and cached tokens, and a count for each bucket."""
_NO_STREAM: Final = (0.0,) * (_CALLED_BUCKETS + _SIZE)


class Counts:
    """A counter with labels. For one thread."""

    __slots__ = ("_help", "_labels", "_name", "counts")

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self._name = name
        self._help = help_text
        self._labels = labels
        self.counts: defaultdict[tuple[Hashable, ...], int] = defaultdict(int)
        """Values of the labels, in order → count: `counts["fast", 200] += 1`."""

    def family(self) -> Family:
        """Return the metric. Its rows are made as they are read."""
        rows: Iterator[Row] = ((values, count, None) for values, count in list(self.counts.items()))
        return Family(self._name, self._help, "counter", self._labels, rows)


class Gauges:
    """Numbers that go up and down, with labels."""

    __slots__ = ("_help", "_labels", "_name", "values")

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self._name = name
        self._help = help_text
        self._labels = labels
        self.values: Mapping[tuple[str, ...], float] = {}
        """Values of the labels, in order → number. Replaced as a whole."""

    def family(self) -> Family:
        """Return the metric, likewise."""
        rows: Iterator[Row] = ((values, number, None) for values, number in self.values.items())
        return Family(self._name, self._help, "gauge", self._labels, rows)


class Times:
    """A histogram of seconds with one label. For one thread."""

    __slots__ = ("_exemplars", "_help", "_label", "_name", "_times")

    def __init__(self, name: str, help_text: str, label: str) -> None:
        self._name = name
        self._help = help_text
        self._label = label
        self._times: defaultdict[str, _Spread] = defaultdict(_Spread)
        self._exemplars: dict[str, dict[int, Exemplar]] = {}

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

    def exemplify(self, value: str, seconds: float, trace_id: str, at: float) -> None:
        """Keep a trace as the example of a time that is counted by `add` or `add_all`; the last of a bucket stays.

        `at`: seconds since the epoch.
        """
        kept = self._exemplars
        of_value = kept.pop(value, None)
        if of_value is None:
            of_value = {}
            if len(kept) >= MAX_EXEMPLARS:
                del kept[next(iter(kept))]
        of_value[bisect_left(LATENCY_BUCKETS_S, seconds)] = trace_id, seconds, at
        kept[value] = of_value

    def family(self) -> Family:
        """Return the metric, likewise."""
        return Family(self._name, self._help, "histogram", (self._label,), self._rows())

    def _rows(self) -> Iterator[Row]:
        exemplars = self._exemplars
        for value, spread in list(self._times.items()):
            yield (value,), (*spread.counts, spread.sum_s), exemplars.get(value)


class _Spread:
    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * _SIZE
        self.sum_s = 0.0


class RequestCounts:
    """Adds up all counts of a request with a single look-up. For one thread.

    The sums of a group of requests are one array: with many aliases in turn, scattered numbers cost cache misses.
    """

    def __init__(
        self,
        *,
        requests: Counts,
        attempts: Counts,
        answers: Counts,
        tokens: Counts,
        seconds: Times,
        first_content: Times,
        called: Times,
    ) -> None:
        """The metrics to update. Their labels are

        alias, operation, status; kind, target; alias, fallback, target; alias, direction, target; alias; alias; target.
        """
        self._requests = requests
        self._attempts = attempts
        self._answers = answers
        self._tokens = tokens
        self._seconds = seconds
        self._first_content = first_content
        self._called = called
        self._groups: dict[tuple[str, str, int, str], array[float]] = {}
        self._streams: dict[tuple[str, str, int, str], array[float]] = {}
        """The same of streams that committed; their arrays are longer."""
        self._unsettled: dict[tuple[str, str, int, str], array[float]] = {}
        self._unsettled_streams: dict[tuple[str, str, int, str], array[float]] = {}

    def add(
        self,
        alias: str,
        operation: str,
        status: int,
        seconds: float,
        tokens: Mapping[str, int] | None,
        answered_by: str,
    ) -> None:
        """Add one request that is no stream; without an alias only the number of requests is counted.

        `answered_by`: the label of the target whose answer is counted as an attempt and gets the tokens; may be empty.
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

    def add_stream(
        self,
        alias: str,
        operation: str,
        status: int,
        seconds: float,
        tokens: Mapping[str, int] | None,
        answered_by: str,
        content_s: float,
        called_ms: float,
    ) -> None:
        """Add one stream, likewise: the times from its arrival, and from the target's call, to the first content."""
        called_s = called_ms / 1000
        sums = self._streams.get((alias, operation, status, answered_by))
        if sums is None:
            sums = self._streams[alias, operation, status, answered_by] = array("d", _NO_STREAM)
        sums[_BUCKETS + bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        sums[_SECONDS] += seconds
        sums[_CONTENT_BUCKETS + bisect_left(LATENCY_BUCKETS_S, content_s)] += 1
        sums[_CONTENT] += content_s
        sums[_CALLED_BUCKETS + bisect_left(LATENCY_BUCKETS_S, called_s)] += 1
        sums[_CALLED] += called_s
        if tokens is not None:
            sums[_PROMPT] += tokens.get("prompt", 0)
            sums[_COMPLETION] += tokens.get("completion", 0)
            if "cached" in tokens:
                sums[_CACHED] += tokens["cached"]

    def settling(self) -> Iterator[None]:
        """Move the sums until now to the metrics, some at each step; first what a broken-off run has left."""
        yield from self._move()
        self._unsettled, self._groups = self._groups, {}
        self._unsettled_streams, self._streams = self._streams, {}
        yield from self._move()

    def _move(self) -> Iterator[None]:
        while left := self._unsettled or self._unsettled_streams:
            for group in list(islice(left, SETTLED)):
                self._settle(*group, left.pop(group))
            yield

    def _settle(self, alias: str, operation: str, status: int, answered_by: str, sums: array[float]) -> None:
        counts = list(map(int, sums[_BUCKETS:_CONTENT]))
        number = sum(counts)
        self._requests.counts[alias, operation, status] += number
        if answered_by:
            self._attempts.counts["ok", answered_by] += number
        if not alias:
            return
        self._seconds.add_all(alias, counts, sums[_SECONDS])
        if answered_by and status < 400:
            self._answers.counts[alias, "no", answered_by] += number
        for direction, place in zip(DIRECTIONS, (_PROMPT, _COMPLETION, _CACHED), strict=True):
            if sums[place]:
                self._tokens.counts[alias, direction, answered_by] += int(sums[place])
        if len(sums) > _CONTENT:
            self._first_content.add_all(alias, list(map(int, sums[_CONTENT_BUCKETS:_CALLED])), sums[_CONTENT])
            if answered_by:
                self._called.add_all(answered_by, list(map(int, sums[_CALLED_BUCKETS:])), sums[_CALLED])
