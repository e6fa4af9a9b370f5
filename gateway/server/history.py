"""The last reloads, good and refused, and what each changed for clients."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway.config.compare.policies import compare
from gateway.config.model.read import Dump
from gateway.config.reload_report import ReloadReport
from gateway.engine.arrange import shares
from gateway.policy.table import RoutingTable
from gateway.reports.diff_text import change_lines
from gateway.telemetry.logs import timestamp
from gateway.wire.json import JsonObject
from gateway.words import count, cut

KEPT: Final = 20
"""Number of reloads that are remembered."""
MAX_PROBLEMS: Final = 20
"""Problems of one reload that are remembered; the rest is counted."""
MAX_ALIASES: Final = 200
"""Aliases of one reload that are compared, a third of a millisecond each; of more only the number is told."""
MAX_LINES: Final = 50
"""Lines of what one reload changed; the rest is counted."""
MAX_LINE: Final = 500
"""Characters of such a line."""


class History:
    """The last KEPT reloads. One thread adds; any may read."""

    def __init__(self) -> None:
        self._entries: deque[JsonObject] = deque(maxlen=KEPT)

    def add(self, report: ReloadReport) -> None:
        """Remember a reload."""
        self._entries.append(_entry(report))

    def restore(self, entries: Sequence[JsonObject]) -> None:
        """Take over another process' reloads, the newest first."""
        self._entries.extend(reversed(entries))

    def as_json(self) -> list[JsonObject]:
        """Return the reloads for `/-/config`, the newest first."""
        return [*self._entries.copy()][::-1]


def _entry(report: ReloadReport) -> JsonObject:
    """Return one reload. Its `result` is `loaded`, `refused`, or `restored`: the file holds the running text again."""
    problems = [str(problem) for problem in report.problems[:MAX_PROBLEMS]]
    more = sum(problem.not_listed or 1 for problem in report.problems[MAX_PROBLEMS:])
    return {
        "at": timestamp(report.at),
        "result": "loaded" if report.changed else "restored" if report.ok else "refused",
        "generation": report.generation,
        "digest": report.digest,
        "changes": list(report.changes),
        "problems": [*problems, f"and {more} more"] if more else problems,
    }


def describe(old: RoutingTable, new: RoutingTable) -> tuple[str, ...]:
    """Return what a new table changes for clients in the lines of `gateway diff`, MAX_LINES at most."""
    names = _changed(old, new)
    if len(names) > MAX_ALIASES:
        return (f"~ {len(names)} aliases: too many to compare here; `gateway diff` does",)
    changes = compare(_with_entries(old, names), _with_entries(new, names), shares, only=names)
    lines = [cut(line, MAX_LINE) for line in change_lines(changes)]
    if len(lines) > MAX_LINES:
        return (*lines[:MAX_LINES], f"and {count(len(lines) - MAX_LINES, 'line')} more")
    return tuple(lines)


def _changed(old: RoutingTable, new: RoutingTable) -> set[str]:
    """Return the aliases with a new route: the compiler keeps that of an alias that nothing changed for."""
    before, after = ({**table.routes, **table.wildcards} for table in (old, new))
    keys = (key for key in {**before, **after} if before.get(key) is not after.get(key))
    return {route.alias for key in keys for route in (before.get(key), after.get(key)) if route is not None}


def _with_entries(table: RoutingTable, names: set[str]) -> RoutingTable:
    """Return the table with the parts of the file that belong to these aliases: to mask all takes half a second."""
    if not isinstance(table.config, Dump):
        return table
    routes = [route for route in (*table.routes.values(), *table.wildcards.values()) if route.alias in names]
    nested = {one.alias for route in routes for step in route.steps for one in step.nested}
    wildcards = {route.alias for route in table.wildcards.values()}  # the other table's aliases may fall to them
    return replace(table, config=table.config.of(names | nested | wildcards))
