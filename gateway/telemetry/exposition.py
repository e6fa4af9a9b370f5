"""Writes our counters, gauges and histograms in Prometheus' text format and in OpenMetrics, in pieces.

The client library builds a dict for each sample: with 10,000 aliases it stopped the event loop for three seconds. It
still writes what is few: its own metrics, and those of the process.

- https://prometheus.io/docs/instrumenting/exposition_formats/
- https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from prometheus_client import Metric

LATENCY_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
BUCKET_NAMES: Final = (*map(str, LATENCY_BUCKETS_S), "+Inf")

ROWS: Final = 1000
"""Rows in one piece: half a millisecond."""
HISTOGRAM_ROWS: Final = 50
"""Of a histogram a row is 17 lines."""

Exemplar: TypeAlias = tuple[str, float, float]
"""Trace id, seconds, and when that was, in seconds since the epoch."""
Row: TypeAlias = tuple[Sequence[object], int | float | Sequence[float], Mapping[int, Exemplar] | None]
"""The labels' values; the value, or of a histogram the number in each bucket and then the sum; exemplars by bucket."""


class Family(NamedTuple):
    """One metric with all its series."""

    name: str
    help: str
    type: Literal["counter", "gauge", "histogram"]
    labels: Sequence[str]
    rows: Iterable[Row]


class Registry(Protocol):
    """Metrics in the form of Prometheus' client library."""

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""


def exposition(families: Iterable[Family], registry: Registry, accept: str) -> tuple[Iterator[bytes], str]:
    """Return all metrics in the format that `accept` asks for, in pieces, and its content type.

    Only OpenMetrics has exemplars.
    """
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    is_open = content_type.startswith("application/openmetrics-text")
    return _pieces(families, registry, encode, is_open=is_open), content_type


def _pieces(families: Iterable[Family], registry: Registry, encode: Any, *, is_open: bool) -> Iterator[bytes]:
    for family in families:
        yield _head(family, is_open=is_open).encode()
        rows = iter(family.rows)
        is_histogram = family.type == "histogram"
        of_rows = _histogram if is_histogram else _numbers
        while some := list(islice(rows, HISTOGRAM_ROWS if is_histogram else ROWS)):
            yield of_rows(family, some, is_open=is_open).encode()
    yield encode(registry)  # at the end, since OpenMetrics' last line is in it


def _head(family: Family, *, is_open: bool) -> str:
    text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    name = family.name
    if is_open:
        text = text.replace('"', '\\"')
        name = name.removesuffix("_total")
    return f"# HELP {name} {text}\n# TYPE {name} {family.type}\n"


def _numbers(family: Family, rows: Sequence[Row], *, is_open: bool) -> str:
    """Return the lines of a counter or a gauge."""
    form = family.name
    if family.labels:
        form += "{" + ",".join(f'{label}="%s"' for label in family.labels) + "}"
    form += " %s\n"
    return "".join([form % (*map(_escaped, values), _number(value)) for values, value, _ in rows])


def _histogram(family: Family, rows: Sequence[Row], *, is_open: bool) -> str:
    label, name = family.labels[0], family.name
    begin = f'{name}_bucket{{{label}="'
    ends = [f'",le="{bucket}"}} ' for bucket in BUCKET_NAMES]
    lines: list[str] = []
    for (value,), numbers, exemplars in rows:
        assert isinstance(numbers, Sequence), "the number in each bucket, and the sum"
        escaped = _escaped(value)
        start = begin + escaped
        counts = list(accumulate(numbers[:-1]))
        if exemplars and is_open:
            for place, (end, count) in enumerate(zip(ends, counts, strict=True)):
                exemplar = exemplars.get(place)
                lines.append(f"{start}{end}{count}.0{_exemplar(exemplar) if exemplar else ''}\n")
        else:
            lines += [f"{start}{end}{count}.0\n" for end, count in zip(ends, counts, strict=True)]
        lines.append(f'{name}_count{{{label}="{escaped}"}} {counts[-1]}.0\n')
        lines.append(f'{name}_sum{{{label}="{escaped}"}} {_number(numbers[-1])}\n')
    return "".join(lines)


def _exemplar(exemplar: Exemplar) -> str:
    trace_id, seconds, at = exemplar
    return f' # {{trace_id="{trace_id}"}} {seconds!r} {at:.3f}'


def _escaped(value: object) -> str:
    text = str(value)
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return text


def _number(value: object) -> str:
    return f"{value}.0" if type(value) is int else repr(value)
