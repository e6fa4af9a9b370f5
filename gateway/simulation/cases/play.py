"""Playing test cases against a routing table: each on a gateway of its own, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.policy.table import RoutingTable
from gateway.simulation import clock as virtual
from gateway.simulation.cases.expectations import Mismatch, compare
from gateway.simulation.cases.file import Case, Turn
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import Script, best_match
from gateway.wire.json import Json
from gateway.words import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One request of a case, and what came of it."""

    number: int
    """Which request of the case, from 1."""
    observed: Observed
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one case."""

    case: Case
    played: tuple[Played, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    """What is wrong with the case as a whole."""

    @property
    def ok(self) -> bool:
        """Nothing differs from what is expected."""
        return not self.mismatches and not any(played.mismatches for played in self.played)


def play(table: RoutingTable, case: Case) -> Result:
    """Play one case. Never raises for what the policy or its hooks do."""
    try:
        return virtual.run(_play(table, case))
    except virtual.Stuck as exc:
        message = f"the request never ends: {exc}; does a hook wait without a limit?"
        return Result(case=case, mismatches=(_said(case, message),))


async def _play(table: RoutingTable, case: Case) -> Result:
    simulator = Simulator(table, Script({}))
    hooked = hooks_left_out(table)
    played: list[Played] = []
    for turn in case.turns:
        if turn.upstream is not None:
            simulator.play(Script(turn.upstream))
        await asyncio.sleep(turn.after_s)
        for _ in range(turn.times):
            observed = await simulator.ask(turn.request)
            mismatches = [
                *_unknown_targets(table, turn),
                *_faults(turn, observed),
                *compare(turn.expect, observed, without_hooks=observed.alias in hooked),
            ]
            played.append(Played(number=len(played) + 1, observed=observed, mismatches=tuple(mismatches)))
            if mismatches:
                return Result(case=case, played=tuple(played))
    return Result(case=case, played=tuple(played))


def _faults(turn: Turn, observed: Observed) -> Iterator[Mismatch]:
    """Yield what fails a case whatever it expects: a fault that no gateway should answer with."""
    if observed.crashed and observed.fault:
        yield Mismatch(check="crash", position=turn.expect.position, message=observed.fault)


def _unknown_targets(table: RoutingTable, turn: Turn) -> Iterator[Mismatch]:
    """Yield the scripted targets that no chain has: a slip of the pen, or a target that the policy dropped."""
    if not turn.upstream:
        return
    route = table.find(str(turn.request.get("model")))
    labels = {target.label for target in table.targets}
    names = {step.target.name for step in route.steps} if route is not None else set[str]()
    for written in turn.upstream:
        if written.endswith("*"):
            known = any(best_match(name, (written,)) for name in labels | names)
        else:
            known = written in names or best_match(written, labels) is not None
        if not known:
            hint = did_you_mean(written, sorted(labels | names))
            position = turn.upstream_positions.get(written, turn.expect.position)
            yield Mismatch(check="upstream", position=position, message=f"no chain has the target {written!r}{hint}")


def hooks_left_out(table: RoutingTable) -> frozenset[str]:
    """Return the aliases whose hooks the file names and the table lacks, because they were skipped."""
    config = table.config
    models = config.get("models", {})
    routes = [*table.routes.values(), *table.wildcards.values()]
    return frozenset(
        route.alias
        for route in routes
        if _counted(config.get("hooks")) + _counted_of_alias(models, route.alias) > len(route.pre) + len(route.post)
    )


def _counted_of_alias(models: Mapping[str, Json], alias: str) -> int:
    entry = models.get(alias)
    return _counted(entry.get("hooks")) if isinstance(entry, dict) else 0


def _counted(hooks: Json) -> int:
    return len(hooks.get("pre") or ()) + len(hooks.get("post") or ()) if isinstance(hooks, dict) else 0


def _said(case: Case, message: str) -> Mismatch:
    return Mismatch(check="case", position=case.position, message=message)
