"""Play test cases against a routing table, each on a gateway of its own, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gateway.errors import UnknownGroup
from gateway.policy.clients import Client
from gateway.policy.table import RoutingTable
from gateway.simulation import clock as virtual
from gateway.simulation.cases.expectations import Mismatch, compare
from gateway.simulation.cases.file import Case, Turn
from gateway.simulation.cases.share import Shares
from gateway.simulation.circumstances import caller
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import Script, best_match
from gateway.wire.json import Json
from gateway.words import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One request of a case and its outcome."""

    number: int
    """Number of the request in its case, from 1."""
    observed: Observed
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one case."""

    case: Case
    played: tuple[Played, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    """Mismatches of the whole case, not of one request."""

    @property
    def ok(self) -> bool:
        """Whether everything is as expected."""
        return not self.mismatches and not any(played.mismatches for played in self.played)


GroupByClient: TypeAlias = Mapping[str, str | None]
"""The group of each client of a client keys file, by the client's name; None for `default`."""


def play(
    table: RoutingTable,
    case: Case,
    asked: frozenset[str] | None = None,
    *,
    groups: GroupByClient | None = None,
) -> Result:
    """Play one case. An exception of the policy or its hooks becomes a part of the result.

    `asked`: what `asked_targets` returns for all cases of the file, which may share their scripts. `groups` is for
    clients whose group the case does not name; None if there is no client keys file.
    """
    known = asked_targets(table, (case,)) if asked is None else asked
    try:
        return virtual.run(_play(table, case, known, groups))
    except virtual.Stuck as exc:
        message = f"the request never ends: {exc}; does a hook wait without a limit?"
        return Result(case=case, mismatches=(Mismatch(check="case", position=case.position, message=message),))


async def _play(table: RoutingTable, case: Case, asked: frozenset[str], groups: GroupByClient | None) -> Result:
    simulator = Simulator(table, Script({}), seed=case.seed, begin=case.begin)
    without_hooks = _without_hooks(table)
    played: list[Played] = []
    number = 0
    for turn in case.turns:
        if turn.upstream is not None:
            simulator.play(Script(turn.upstream))
        await asyncio.sleep(turn.after_s)
        shares, shown = Shares(turn), set[tuple[str, ...]]()
        client, strangers = _client_of(turn, table, groups)
        for time in range(1, turn.times + 1):
            await asyncio.sleep(turn.every_s if time > 1 else 0)
            observed = await simulator.ask(
                turn.request,
                turn.operation.name,
                headers=turn.headers,
                client=client,
                beside=turn.beside,
                uncached=turn.repeats,
            )
            number += 1
            shares.count(observed.target, observed.sticky)
            mismatches = [*strangers, *_unknown_targets(table, turn, asked)] if time == 1 else []
            if observed.crashed and observed.fault:
                mismatches.append(Mismatch(check="crash", position=turn.expect.position, message=observed.fault))
            mismatches += compare(turn.expect, observed, without_hooks=observed.alias in without_hooks)
            if time == turn.times and not mismatches:
                mismatches += shares.mismatches(asked)
            calls = tuple([call.label for call in observed.attempts])
            if mismatches or not turn.repeats or calls not in shown:
                played.append(Played(number=number, observed=observed, mismatches=tuple(mismatches)))
                shown.add(calls)
            if mismatches:
                return Result(case=case, played=tuple(played))
    return Result(case=case, played=tuple(played))


def asked_targets(table: RoutingTable, cases: Iterable[Case]) -> frozenset[str]:
    """Return the targets of the chains that the cases ask for, a wildcard's by the name that it makes."""
    models = {str(turn.request.get("model")) for case in cases for turn in case.turns}
    routes = [route for model in models if (route := table.find(model)) is not None]
    return frozenset(step.target.name for route in routes for step in route.steps)


def needs_groups(cases: Iterable[Case]) -> bool:
    """Tell whether a case names a client without its group."""
    return any(turn.client is not None and turn.group is None for case in cases for turn in case.turns)


def _client_of(turn: Turn, table: RoutingTable, groups: GroupByClient | None) -> tuple[Client | None, list[Mismatch]]:
    """Return who asks, and a mismatch for a client or a group that is not there: misspelt, or removed."""
    group = turn.group
    if group is None and turn.client is not None and groups is not None:
        if turn.client not in groups:
            message = f"the client keys file has no client {turn.client!r}{did_you_mean(turn.client, sorted(groups))}"
            return caller(turn.client, None), [Mismatch(check="client", position=turn.position, message=message)]
        group = groups[turn.client]
    client = caller(turn.client, group)
    if turn.group is None or turn.group in table.clients or turn.expect.values.get("error") == UnknownGroup.code:
        return client, []
    hint = did_you_mean(turn.group, sorted(table.clients))
    message = f"`clients` of the file has no group {turn.group!r}{hint}"
    if not table.clients:
        message = f"the file has no `clients`, so there is no group {turn.group!r}"
    return client, [Mismatch(check="group", position=turn.position, message=message)]


def _unknown_targets(table: RoutingTable, turn: Turn, asked: frozenset[str]) -> Iterator[Mismatch]:
    """Yield a mismatch for each scripted target that no chain has: misspelt, or removed from the policy.

    A wildcard's target could have any name, so it counts by the names that requests make of it, `asked`.
    """
    if not turn.upstream:
        return
    labels = {target.label for target in table.targets}
    names = asked | {label for label in labels if not label.endswith("*")}
    for written in turn.upstream:
        if written.endswith("*"):
            known = any(best_match(name, (written,)) for name in labels | names)
        else:
            known = written in names
        if known:
            continue
        hint = did_you_mean(written, sorted(labels | names))
        if written in table.routes:
            steps = dict.fromkeys(step.target.name for step in table.routes[written].steps)
            hint = f"; it is an alias, whose targets are {', '.join(steps)}"
        position = turn.upstream_positions.get(written, turn.expect.position)
        yield Mismatch(check="upstream", position=position, message=f"no chain has the target {written!r}{hint}")


def _without_hooks(table: RoutingTable) -> set[str]:
    """Return the aliases whose hooks, nested ones too, were skipped: the file names more hooks than the table has."""
    models = table.config.get("models", {})
    routes = [*table.routes.values(), *table.wildcards.values()]
    named = {route.alias: _hooks_in(table.config) + _hooks_in(models.get(route.alias)) for route in routes}
    without = {route.alias for route in routes if named[route.alias] > len(route.pre) + len(route.post)}
    nested = {route.alias: {hooks.alias for step in route.steps for hooks in step.nested} for route in routes}
    return {alias for alias, inserted in nested.items() if alias in without or not inserted.isdisjoint(without)}


def _hooks_in(entry: Json) -> int:
    """Return the number of hooks that the file or an entry of `models` names."""
    hooks = entry.get("hooks") if isinstance(entry, Mapping) else None
    return len(hooks.get("pre") or ()) + len(hooks.get("post") or ()) if isinstance(hooks, dict) else 0
