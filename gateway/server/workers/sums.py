"""Adds up what the workers count: their metrics, and the targets' state."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from operator import add, itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from gateway.telemetry.exposition import Exemplar, Family, Row, exposition
from gateway.telemetry.metrics import Metrics
from gateway.wire.json import Json, JsonObject

if TYPE_CHECKING:
    from prometheus_client import Metric

Families: TypeAlias = dict[str, JsonObject]
"""Metric's name → `help` and `type`, and

either `samples`, each a list of name, labels and value, or `labels` and `rows`, as a `Family` has them; exemplars are
lists of bucket, trace id, seconds and time.
"""

_COUNTED: Final = frozenset({"counter", "histogram"})
"""Types of metrics whose sums go on after a worker has ended."""
_HIGHEST: Final = frozenset(
    {
        "gateway_target_cooldown",
        "gateway_key_cooldown",
        "gateway_alias_cooldown",
        "gateway_limit_used_ratio",
        "process_max_fds",
        "process_virtual_memory_max_bytes",
        "gateway_config",
    }
)
"""Metrics of which the highest value is that of all."""
_LOWEST: Final = frozenset({"process_start_time_seconds", "gateway_state_up"})
AT_REST: Final[JsonObject] = {"state": "ok", "cooldown_ends_in_s": None, "in_flight": 0}
"""The state in a row of a worker that has ended: only what it counted stays."""
_WORST: Final = {"cooldown": 2, "probing": 1, "ok": 0}

_AT_ONCE: Final = 500
"""Rows that are collected in one turn of the event loop."""


PIECE: Final = 256 * 1024
"""Characters of one piece of a text."""
KEPT_TEXTS: Final = 8
"""Texts of which not all pieces are asked for yet."""


def collecting(metrics: Metrics, families: Families) -> Iterator[None]:
    """Put the metrics of one process, as last settled, into `families`, some at each step."""
    for family in metrics.registry.collect():
        samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
        families[family.name] = {"help": family.documentation, "type": family.type, "samples": samples}
    for own in metrics.families():
        rows: list[Json] = []
        families[own.name] = {"help": own.help, "type": own.type, "labels": own.labels, "rows": rows}
        left = iter(own.rows)
        while some := [[*row[:2], _as_lists(row[2])] for row in islice(left, _AT_ONCE)]:
            rows += some
            yield


def collected(metrics: Metrics) -> Families:
    """Return the metrics of one process, as last settled."""
    families: Families = {}
    deque(collecting(metrics, families), maxlen=0)
    return families


def without_config(families: Families) -> Families:
    """Return the metrics of a worker without those of the config, which the supervisor has."""
    return {name: family for name, family in families.items() if not name.startswith("gateway_config")}


def counted(families: Families) -> Families:
    """Return the metrics whose sums go on after their worker has ended."""
    return {name: family for name, family in families.items() if family["type"] in _COUNTED}


def added(parts: Iterable[Families]) -> Families:
    """Return the metrics of all processes in one."""
    by_name: dict[str, list[JsonObject]] = {}
    for families in parts:
        for name, family in families.items():
            by_name.setdefault(name, []).append(family)
    return {
        name: _added_rows(name, same) if "rows" in same[0] else _added_samples(name, same)
        for name, same in by_name.items()
    }


def _added_samples(name: str, same: Sequence[JsonObject]) -> JsonObject:
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in same:
        for sample, labels, value in family["samples"]:
            key = sample, tuple(sorted(labels.items()))
            known = values.get(key)
            values[key] = value if known is None else _joined(name, known, value)
    return {**same[0], "samples": [[sample, dict(labels), value] for (sample, labels), value in values.items()]}


def _added_rows(name: str, same: Sequence[JsonObject]) -> JsonObject:
    if len(same) == 1:
        return same[0]
    found: dict[tuple[Json, ...], list[Any]] = {}
    for family in same:
        for labels, value, exemplars in family["rows"]:
            row = found.get(tuple(labels))
            if row is None:
                found[tuple(labels)] = [labels, value, exemplars]
                continue
            row[1] = _joined(name, row[1], value) if isinstance(value, int | float) else list(map(add, row[1], value))
            if exemplars:
                row[2] = _latest([*(row[2] or ()), *exemplars])
    return {**same[0], "rows": list(found.values())}


def _joined(name: str, known: float, value: float) -> float:
    if name in _HIGHEST:
        return max(known, value)
    return min(known, value) if name in _LOWEST else known + value


def _latest(exemplars: list[Any]) -> list[Any]:
    """Return the latest exemplar of each bucket."""
    return list({exemplar[0]: exemplar for exemplar in sorted(exemplars, key=itemgetter(3))}.values())


def _as_lists(exemplars: Mapping[int, Exemplar] | None) -> list[Json] | None:
    return [[place, *exemplar] for place, exemplar in exemplars.items()] if exemplars else None


def shown(families: Families, accept: str) -> tuple[str, str]:
    """Return all processes' metrics in the format that `accept` asks for, and its content type."""
    own = [
        Family(name, family["help"], family["type"], family["labels"], _rows(family))
        for name, family in families.items()
        if "rows" in family
    ]
    pieces, content_type = exposition(own, _AsRegistry(families), accept)
    return b"".join(pieces).decode(), content_type


class Texts:
    """The last texts for workers, which ask for them in pieces: to decode one long message takes too long."""

    def __init__(self) -> None:
        self._kept: dict[int, str] = {}
        self._numbers = count(1)

    def keep(self, text: str) -> JsonObject:
        """Keep a text, and return its first piece, and how many there are."""
        number = next(self._numbers)
        self._kept[number] = text
        if len(self._kept) > KEPT_TEXTS:
            del self._kept[next(iter(self._kept))]
        return {"pieces": max(1, -(-len(text) // PIECE)), **self.piece(number, 0)}

    def piece(self, number: int, place: int) -> JsonObject:
        """Return a piece; the last one forgets the text. Raises KeyError when that is gone."""
        text = self._kept[number]
        if (place + 1) * PIECE >= len(text):
            del self._kept[number]
        return {"number": number, "text": text[place * PIECE : (place + 1) * PIECE]}


def _rows(family: JsonObject) -> Iterator[Row]:
    for values, value, exemplars in family["rows"]:
        yield values, value, {place: (trace, s, at) for place, trace, s, at in exemplars} if exemplars else None


class _AsRegistry:
    """The other metrics of all processes, for Prometheus' client library."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Return the metrics in the library's form."""
        from prometheus_client import Metric

        for name, family in self._families.items():
            if "samples" not in family:
                continue
            metric = Metric(name, str(family["help"]), str(family["type"]))
            for sample, labels, value in family["samples"]:
                metric.add_sample(sample, labels, value)
            yield metric


def joined_targets(parts: Sequence[Sequence[JsonObject]]) -> list[JsonObject]:
    """Return the rows of `/-/targets` of all workers in one; the first part says which rows there are."""
    others = [{row_key(row): row for row in part} for part in parts[1:]]
    return [_joined_row([row, *[part[row_key(row)] for part in others if row_key(row) in part]]) for row in parts[0]]


def row_key(row: JsonObject) -> tuple[Json, Json, Json]:
    """Return what names the target of a row."""
    return row["target"], row.get("key"), row["base_url"]


def _joined_row(rows: Sequence[JsonObject]) -> JsonObject:
    worst = max(rows, key=lambda row: (_WORST[row["state"]], row["cooldown_ends_in_s"] or 0.0))
    attempts: dict[str, int] = {}
    for row in rows:
        for kind, number in row["attempts"].items():
            attempts[kind] = attempts.get(kind, 0) + number
    return {
        **rows[0],
        "state": worst["state"],
        "cooldown_ends_in_s": worst["cooldown_ends_in_s"],
        "attempts": attempts,
        "in_flight": sum(row["in_flight"] for row in rows),
    }
