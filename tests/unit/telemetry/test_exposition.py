"""What we write of our metrics is what Prometheus' client library would write, and reads as both formats want."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gateway.telemetry.counters import Counts, Gauges, Times
from gateway.telemetry.exposition import HISTOGRAM_ROWS, LATENCY_BUCKETS_S, ROWS, exposition

OPEN = "application/openmetrics-text;version=1.0.0"
NAMES = ('a"b\\', "ü/*", "two\nlines")


def theirs(seconds: float) -> CollectorRegistry:
    registry = CollectorRegistry()
    counter = Counter("requests_total", 'Requests, "all" \\ of them.', ["alias", "status"], registry=registry)
    histogram = Histogram("seconds", "Seconds.", ["alias"], buckets=LATENCY_BUCKETS_S, registry=registry)
    gauge = Gauge("cooldown", "Rests.", ["target"], registry=registry)
    for alias in NAMES:
        gauge.labels(alias).set(1)
        for value in (seconds, 0.02):
            counter.labels(alias, 200).inc(3)
            histogram.labels(alias).observe(value, {"trace_id": "ab" * 16})
    return registry


def ours(seconds: float, accept: str) -> tuple[bytes, str]:
    counts = Counts("requests_total", 'Requests, "all" \\ of them.', ["alias", "status"])
    times = Times("seconds", "Seconds.", "alias")
    gauges = Gauges("cooldown", "Rests.", ["target"])
    gauges.values = dict.fromkeys(((alias,) for alias in NAMES), 1)
    for alias in NAMES:
        for value in (seconds, 0.02):
            counts.counts[alias, 200] += 3
            times.add(alias, value)
            times.exemplify(alias, value, "ab" * 16, 1_700_000_000.25)
    families = [member.family() for member in (counts, times, gauges)]
    pieces, content_type = exposition(families, CollectorRegistry(), accept)
    return b"".join(pieces), content_type


def without_times(text: bytes, *, keep_exemplars: bool) -> list[str]:
    """Return the lines without times of creation, which ours leaves out, and of exemplars."""
    lines = [line for line in text.decode().split("\n") if "_created" not in line]
    return [line.rpartition(" ")[0] if keep_exemplars and "# {" in line else line for line in lines]


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.0100001, 0.3, 300.0, 301.0, 1e5])
def test_both_formats_are_as_the_library_writes_them(seconds: float) -> None:
    text, content_type = ours(seconds, "text/plain")
    known = generate_latest(theirs(seconds))
    assert without_times(text, keep_exemplars=False) == without_times(known, keep_exemplars=False)
    assert content_type.startswith("text/plain; version=")
    text, content_type = ours(seconds, OPEN)
    known = openmetrics.generate_latest(theirs(seconds))  # type: ignore[no-untyped-call]  # as the library has it
    assert without_times(text, keep_exemplars=True) == without_times(known, keep_exemplars=True)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")


def test_both_formats_can_be_read() -> None:
    open_text = ours(0.3, OPEN)[0].decode()
    read = {family.name: family for family in parse_openmetrics(open_text)}  # type: ignore[no-untyped-call]  # likewise
    assert {sample.labels["alias"] for sample in read["requests"].samples} == set(NAMES)
    exemplars = [sample.exemplar for sample in read["seconds"].samples if sample.exemplar is not None]
    assert {float(exemplar.timestamp) for exemplar in exemplars} == {1_700_000_000.25}
    families = list(parse_text(ours(0.3, "")[0].decode()))
    assert [family.type for family in families] == ["counter", "histogram", "gauge"]


def test_many_rows_come_in_pieces_and_all_of_them() -> None:
    counts, times = Counts("a_total", "A.", ["x"]), Times("b", "B.", "x")
    for number in range(ROWS + 1):
        counts.counts[number,] += 1
        times.add(str(number), 0.02)
    pieces = list(exposition([counts.family(), times.family()], CollectorRegistry(), "")[0])
    assert len(pieces) == 1 + 2 + 1 + ROWS // HISTOGRAM_ROWS + 1 + 1
    assert b"".join(pieces).count(b"\n") == 4 + (ROWS + 1) * (1 + len(LATENCY_BUCKETS_S) + 3)


def test_nothing_counted_is_no_sample_and_a_metric_without_labels_has_no_braces() -> None:
    counts, total = Counts("a_total", "A.", ["x"]), Counts("c_total", "C.", [])
    total.counts[()] = 2
    families = [counts.family(), Times("b", "B.", "x").family(), total.family()]
    text = b"".join(exposition(families, CollectorRegistry(), "")[0]).decode()
    heads = "# HELP a_total A.\n# TYPE a_total counter\n# HELP b B.\n# TYPE b histogram\n"
    assert text == heads + "# HELP c_total C.\n# TYPE c_total counter\nc_total 2.0\n"
