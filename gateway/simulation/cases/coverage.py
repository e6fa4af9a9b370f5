"""What of a policy its test cases reach: the aliases that are asked for and the targets that are called."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.policy.table import RoutingTable
from gateway.simulation.cases.play import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What all cases of one config file reach, names as the file writes them."""

    aliases: tuple[str, ...]
    targets: tuple[str, ...]
    missed_aliases: tuple[str, ...]
    missed_targets: tuple[str, ...]

    @property
    def percent(self) -> int:
        """How much is reached, rounded down: 100 means that nothing is missed."""
        whole = len(self.aliases) + len(self.targets)
        missed = len(self.missed_aliases) + len(self.missed_targets)
        return 100 if not whole else math.floor(100 * (whole - missed) / whole)


def measure(table: RoutingTable, results: Iterable[Result]) -> Coverage:
    """Return what the requests of all results reached of a table."""
    observed = [played.observed for result in results for played in result.played]
    asked = {one.alias for one in observed}
    called = {attempt.label for one in observed for attempt in one.attempts}
    aliases = (*table.routes, *(route.alias for route in table.wildcards.values()))
    targets = tuple(dict.fromkeys(target.label for target in table.targets))
    return Coverage(
        aliases=aliases,
        targets=targets,
        missed_aliases=tuple(alias for alias in aliases if alias not in asked),
        missed_targets=tuple(target for target in targets if target not in called),
    )
