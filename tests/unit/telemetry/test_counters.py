"""What is counted in plain dicts reads as Prometheus' own counters and histograms do."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

from gateway.telemetry.counters import LATENCY_BUCKETS_S, Counts, RequestCounts, Tallies, Times


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


def test_requests_are_shown_once_by_each_of_their_metrics() -> None:
    requests = Counts("requests_total", "Requests.", ["alias", "operation", "status"])
    attempts = Counts("attempts_total", "Attempts.", ["target", "kind"])
    seconds, tokens = Times("seconds", "Seconds.", "alias"), Counts("tokens_total", "Tokens.", ["alias", "direction"])
    registry = CollectorRegistry()
    registry.register(Tallies(requests, attempts, seconds, tokens))
    gathered = RequestCounts(requests, attempts, seconds, tokens)
    gathered.add("a", "chat", 200, 0.02, {"prompt": 5}, "up/m")
    gathered.settle()
    gathered.settle()
    gathered.add("a", "chat", 200, 0.3, {"prompt": 1, "completion": 2}, "up/m")
    attempts.counts["up/m", "ok"] += 1
    gathered.add("a", "chat", 502, 0.02, None)
    gathered.add("", "chat", 404, 0.02, None)
    gathered.settle()
    samples = {line for line in shown(registry) if line[0] != "#" and "_bucket" not in line}
    assert samples == {
        'requests_total{alias="a",operation="chat",status="200"} 2.0',
        'requests_total{alias="a",operation="chat",status="502"} 1.0',
        'requests_total{alias="",operation="chat",status="404"} 1.0',
        'attempts_total{kind="ok",target="up/m"} 3.0',
        'seconds_count{alias="a"} 3.0',
        'seconds_sum{alias="a"} 0.34',
        'tokens_total{alias="a",direction="prompt"} 6.0',
        'tokens_total{alias="a",direction="completion"} 2.0',
    }
    assert 'seconds_bucket{alias="a",le="0.025"} 2.0' in shown(registry)


def test_nothing_counted_is_no_sample() -> None:
    registry = CollectorRegistry()
    registry.register(Tallies(Counts("a_total", "A.", ["x"]), Times("b", "B.", "x")))
    assert shown(registry) == ["# HELP a_total A.", "# TYPE a_total counter", "# HELP b B.", "# TYPE b histogram"]
