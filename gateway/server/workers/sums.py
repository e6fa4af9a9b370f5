"""Adds up what the workers count: their metrics, and the targets' state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.wire.json import Json, JsonObject

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

Families: TypeAlias = dict[str, JsonObject]
"""Metric's name → `help`, `type`, and `samples`, each a list of name, labels and value."""

_COUNTED: Final = frozenset({"counter", "histogram"})
"""Types of metrics whose sums go on after a worker has ended."""
_HIGHEST: Final = frozenset(
    {"gateway_target_cooldown", "process_max_fds", "process_virtual_memory_max_bytes", "gateway_config"}
)
"""Metrics of which the highest value is that of all."""
_LOWEST: Final = frozenset({"process_start_time_seconds"})
AT_REST: Final[JsonObject] = {"state": "ok", "cooldown_ends_in_s": None, "in_flight": 0}
"""The state in a row of a worker that has ended: only what it counted stays."""
_WORST: Final = {"cooldown": 2, "probing": 1, "ok": 0}


def collected(registry: CollectorRegistry) -> Families:
    """Return the metrics of one process."""
    return {
        family.name: {
            "help": family.documentation,
            "type": family.type,
            "samples": [[sample.name, sample.labels, sample.value] for sample in family.samples],
        }
        for family in registry.collect()
    }


def without_config(families: Families) -> Families:
    """Return the metrics of a worker without those of the config, which the supervisor has."""
    return {name: family for name, family in families.items() if not name.startswith("gateway_config")}


def counted(families: Families) -> Families:
    """Return the metrics whose sums go on after their worker has ended."""
    return {name: family for name, family in families.items() if family["type"] in _COUNTED}


def added(parts: Iterable[Families]) -> Families:
    """Return the metrics of all processes in one."""
    sums: dict[str, tuple[JsonObject, dict[tuple[str, tuple[tuple[str, str], ...]], float]]] = {}
    for families in parts:
        for name, family in families.items():
            _, values = sums.setdefault(name, (family, {}))
            for sample, labels, value in family["samples"]:
                key = sample, tuple(sorted(labels.items()))
                values[key] = _joined(name, values.get(key), value)
    return {
        name: {**family, "samples": [[sample, dict(labels), value] for (sample, labels), value in values.items()]}
        for name, (family, values) in sums.items()
    }


def _joined(name: str, known: float | None, value: float) -> float:
    if known is None:
        return value
    if name in _HIGHEST:
        return max(known, value)
    return min(known, value) if name in _LOWEST else known + value


class AsRegistry:
    """Metrics of all processes, for Prometheus' client library."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Return the metrics in the library's form."""
        from prometheus_client import Metric

        for name, family in self._families.items():
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
