"""What was measured, as plain values: every round's value, by measure, case and peer."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

Machine: TypeAlias = dict[str, Any]

DISTURBED_PERCENT: Final = 10.0
USED: Final = "of its core used, %"
"""The case that tells whether a peer did all that it could."""
BUSY: Final = 85.0
"""Percent of its core below which a peer was held up by something else, so that it could do more."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one peer, in one case of one measure."""

    measure: str
    case: str
    peer: str
    unit: str
    """`/s`, `ms`, `us`, `s`, `MB`, `%`, or nothing for a count."""
    rounds: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)


@dataclass(slots=True)
class Run:
    """One run of the benchmark: where, how, and what came out."""

    machine: Machine
    settings: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What did not work, or limits what a figure says."""

    @property
    def disturbed(self) -> bool:
        """Tell whether other work took so much of the machine that rates and latencies say little."""
        return bool(self.machine.get("others_percent", 0) > DISTURBED_PERCENT)

    def add(self, measure: str, case: str, peer: str, unit: str, values: Sequence[float]) -> None:
        """Note the values of some rounds; nothing when there were none."""
        if not values:
            return
        for place, known in enumerate(self.figures):
            if (known.measure, known.case, known.peer) == (measure, case, peer):
                self.figures[place] = Figure(measure, case, peer, unit, known.rounds + tuple(values))
                return
        self.figures.append(Figure(measure, case, peer, unit, tuple(values)))

    def value(self, measure: str, case: str, peer: str) -> float | None:
        """Return the median, or None when that was not measured."""
        for figure in self.figures:
            if (figure.measure, figure.case, figure.peer) == (measure, case, peer):
                return figure.value
        return None

    def ratio(self, measure: str, case: str, peer: str, other: str) -> float | None:
        """Return the median of the ratios within the rounds, as what disturbs a round disturbs both."""
        rounds = [
            figure.rounds
            for name in (peer, other)
            for figure in self.figures
            if (figure.measure, figure.case, figure.peer) == (measure, case, name)
        ]
        if len(rounds) != 2 or 0 in rounds[1]:
            return None
        if len(rounds[0]) != len(rounds[1]):
            return statistics.median(rounds[0]) / statistics.median(rounds[1])
        return float(statistics.median(mine / its for mine, its in zip(*rounds, strict=True)))


def save(run: Run, path: Path) -> None:
    """Write a run as JSON."""
    path.write_text(json.dumps(asdict(run), indent=1) + "\n")


def load(path: Path) -> Run:
    """Read what `save` wrote."""
    raw = json.loads(path.read_text())
    figures = [Figure(**{**figure, "rounds": tuple(figure["rounds"])}) for figure in raw["figures"]]
    return Run(raw["machine"], raw["settings"], figures, raw["notes"])


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def number(value: float) -> str:
    """Return a value with three digits that count."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
