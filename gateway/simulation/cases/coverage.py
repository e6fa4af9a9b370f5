"""Coverage of a policy by its test cases: the aliases they ask for, the targets they call, and the groups that ask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.policy.table import RoutingTable
from gateway.simulation.cases.play import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The coverage of one config file by all its cases. Names are written as in the file."""

    aliases: tuple[str, ...]
    targets: tuple[str, ...]
    missed_aliases: tuple[str, ...]
    missed_targets: tuple[str, ...]
    groups: tuple[str, ...] = ()
    """The groups of clients that the file has."""
    missed_groups: tuple[str, ...] = ()
    """Those of which no client asks."""

    @property
    def percent(self) -> int:
        """Share of the aliases, targets and groups that is reached, rounded down: 100 only if nothing is missed."""
        whole = len(self.aliases) + len(self.targets) + len(self.groups)
        missed = len(self.missed_aliases) + len(self.missed_targets) + len(self.missed_groups)
        return 100 * (whole - missed) // whole if whole else 100


def measure(table: RoutingTable, results: Iterable[Result]) -> Coverage:
    """Return the coverage of a table by the requests of all results."""
    observed = [played.observed for result in results for played in result.played]
    requested = {one.alias for one in observed}
    called = {attempt.label for one in observed for attempt in one.attempts}
    aliases = (*table.routes, *(route.alias for route in table.wildcards.values()))
    targets = tuple(dict.fromkeys(target.label for target in table.targets))
    asking = {one.group for one in observed}
    groups = tuple(name for name in table.config.get("clients") or () if name in table.clients)
    return Coverage(
        aliases=aliases,
        targets=targets,
        missed_aliases=tuple(alias for alias in aliases if alias not in requested),
        missed_targets=tuple(target for target in targets if target not in called),
        groups=groups,
        missed_groups=tuple(group for group in groups if group not in asking),
    )
