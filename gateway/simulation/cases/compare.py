"""Test cases played against two tables, and what comes of them otherwise than before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway.config.document.yaml_tree import Position
from gateway.policy.table import RoutingTable
from gateway.simulation.cases.file import Case
from gateway.simulation.cases.play import Result, play
from gateway.simulation.simulator import Observed

Verdict: TypeAlias = Literal["newly fails", "newly passes", "passes", "fails"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client sees of one request, and which calls it came to. Times are left out."""

    target: str | None
    """Who answered."""
    status: int
    error: str | None
    broken: bool
    attempts: tuple[tuple[str, str | None], ...]
    """Targets in order, each with the kind of its failure; None where it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChange:
    """One case that ends otherwise, or passes where it failed."""

    name: str
    position: Position
    verdict: Verdict
    request: int | None = None
    """Which of its requests is the first to end otherwise, from 1; None where only what was sent differs."""
    old: Outcome | None = None
    new: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChanges:
    """What came of a whole file of cases."""

    file: str
    played: int
    changed: tuple[CaseChange, ...]


def compare_cases(old: RoutingTable, new: RoutingTable, cases: Sequence[Case], *, file: str) -> CaseChanges:
    """Play every case against both tables."""
    changes = (_compare(case, play(old, case), play(new, case)) for case in cases)
    return CaseChanges(file=file, played=len(cases), changed=tuple(change for change in changes if change))


def _compare(case: Case, old: Result, new: Result) -> CaseChange | None:
    request = before = after = None
    for one, other in zip(old.played, new.played, strict=False):
        outcomes = outcome(one.observed), outcome(other.observed)
        if outcomes[0] != outcomes[1]:
            request = one.number
            before, after = outcomes
            break
    if before is None and old.ok == new.ok:
        return None
    verdict = _VERDICTS[old.ok, new.ok]
    return CaseChange(name=case.name, position=case.position, verdict=verdict, request=request, old=before, new=after)


_VERDICTS: dict[tuple[bool, bool], Verdict] = {
    (True, False): "newly fails",
    (False, True): "newly passes",
    (True, True): "passes",
    (False, False): "fails",
}


def outcome(observed: Observed) -> Outcome:
    """Return what of a request's fate is compared."""
    return Outcome(
        target=observed.target,
        status=observed.status,
        error=observed.error,
        broken=observed.broken,
        attempts=tuple((one.target, one.kind.value if one.kind else None) for one in observed.attempts),
    )
