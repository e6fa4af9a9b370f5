"""Play test cases against two tables, and compare the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway.config.document.yaml_tree import Position
from gateway.policy.table import RoutingTable
from gateway.simulation.cases.file import Case
from gateway.simulation.cases.play import GroupByClient, Result, asked_targets, play
from gateway.simulation.simulator import Observed
from gateway.telemetry.report import KEPT, CacheResult

Verdict: TypeAlias = Literal["newly fails", "newly passes", "passes", "fails"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one request for the client, and its calls, without times."""

    target: str | None
    """The target that answered."""
    status: int
    error: str | None
    broken: bool
    limited: str | None
    """The limit that refused the request, or sent it on."""
    attempts: tuple[tuple[str, str | None], ...]
    """(target, kind of its failure) of each attempt; the kind is None when the target answered."""
    kept: CacheResult | None = None
    """How a kept answer came to be the client's; None for another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChange:
    """One case whose outcome or verdict changes."""

    name: str
    position: Position
    verdict: Verdict
    request: int | None = None
    """Number of the first request whose outcome changes, from 1; None when only requests to targets change."""
    old: Outcome | None = None
    new: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChanges:
    """The comparison of one file of test cases."""

    file: str
    played: int
    changed: tuple[CaseChange, ...]


def compare_cases(
    old: RoutingTable,
    new: RoutingTable,
    cases: Sequence[Case],
    *,
    file: str,
    on_case: Callable[[int], None] = lambda number: None,
    groups: GroupByClient | None = None,
) -> CaseChanges:
    """Play every case against both tables. `on_case` hears the number of each, from 1, before it is played.

    `groups` is as for `play`.
    """
    asked = asked_targets(old, cases), asked_targets(new, cases)
    changes = []
    for number, case in enumerate(cases, start=1):
        on_case(number)
        before, after = play(old, case, asked[0], groups=groups), play(new, case, asked[1], groups=groups)
        changes.append(_compare(case, before, after))
    return CaseChanges(file=file, played=len(cases), changed=tuple(change for change in changes if change))


def _compare(case: Case, old: Result, new: Result) -> CaseChange | None:
    request = before = after = None
    for one, other in zip(old.played, new.played, strict=False):
        outcomes = _outcome(one.observed), _outcome(other.observed)
        if outcomes[0] != outcomes[1]:
            request, (before, after) = one.number, outcomes
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


def _outcome(observed: Observed) -> Outcome:
    attempts = tuple((one.target, None if one.kind is None else str(one.kind)) for one in observed.attempts)
    kept = observed.cache if observed.cache in KEPT else None
    return Outcome(observed.target, observed.status, observed.error, observed.broken, observed.limited, attempts, kept)
