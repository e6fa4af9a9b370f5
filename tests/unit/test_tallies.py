"""What is counted in plain dicts reads as Prometheus' own counters and histograms do."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

from gateway.tallies import LATENCY_BUCKETS_S, Counts, Tallies, Times


def shown(registry: CollectorRegistry) -> list[str]:
    """Return the exposition without the times of creation, which ours leaves out."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.0100001, 0.3, 300.0, 301.0, 1e9])
def test_they_show_what_the_librarys_own_show(seconds: float) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    counter = Counter("requests_total", "Requests.", ["alias", "status"], registry=theirs)
    histogram = Histogram("seconds", "Seconds.", ["alias"], buckets=LATENCY_BUCKETS_S, registry=theirs)
    counts, times = Counts("requests_total", "Requests.", ["alias", "status"]), Times("seconds", "Seconds.", "alias")
    ours.register(Tallies(counts, times))
    for alias in ('a"b\\', "ü/*"):
        for value in (seconds, 0.02):
            counter.labels(alias, 200).inc(3)
            histogram.labels(alias).observe(value)
            counts.counts[alias, 200] += 3
            times.add(alias, value)
    assert shown(ours) == shown(theirs)


def test_nothing_counted_is_no_sample() -> None:
    registry = CollectorRegistry()
    registry.register(Tallies(Counts("a_total", "A.", ["x"]), Times("b", "B.", "x")))
    assert shown(registry) == ["# HELP a_total A.", "# TYPE a_total counter", "# HELP b B.", "# TYPE b histogram"]
