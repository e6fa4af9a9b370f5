"""`validate --client-keys-file`: the file of client keys beside the config files that are checked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from gateway.config.lint import KnownClients
from gateway.policy.limits import DEFAULT_GROUP
from gateway.policy.problem import Problem, Severity
from gateway.policy.table import RoutingTable
from gateway.reports.problems import Checked
from gateway.server.client_keys import Inspected, inspect
from gateway.words import did_you_mean


class ClientKeysFile:
    """A file of client keys, and the groups that the config files beside it have."""

    def __init__(self, name: str) -> None:
        """Raises UsageError if the file cannot be read."""
        self._name = name
        self._inspected: Inspected = inspect(Path(name))
        self._groups: list[frozenset[str]] = []
        """Of each config file that has a table."""

    @property
    def clients(self) -> KnownClients | None:
        """The clients, for lint; None where malformed lines hide some."""
        found = self._inspected
        if found.faults:
            return None
        groups = frozenset(found.groups) | ({DEFAULT_GROUP} if found.has_default else set())
        return KnownClients(names=found.names, groups=groups)

    def saw(self, table: RoutingTable) -> None:
        """Note the groups of a config file."""
        self._groups.append(frozenset(table.clients) | {DEFAULT_GROUP})

    def checked(self, *, strict: bool, ignore: Collection[str] = ()) -> Checked:
        """Return the result for the file itself: malformed lines, groups that a config file lacks."""
        problems = [self._problem(line, "bad-client-key", fault) for line, fault in self._inspected.faults]
        for group, line in self._inspected.groups.items():
            lacking = [groups for groups in self._groups if group not in groups]
            if lacking and "unknown-group" not in ignore:
                hint = did_you_mean(group, lacking[0])
                message = f"'clients' has no group {group!r}: its requests get 403{hint}"
                problems.append(self._problem(line, "unknown-group", message, severity="warning"))
        return Checked(
            file=self._name,
            ok=not any(problem.severity == "error" or strict for problem in problems),
            problems=tuple(sorted(problems, key=lambda problem: problem.line)),
            client_keys=self._inspected.keys,
        )

    def _problem(self, line: int, code: str, message: str, *, severity: Severity = "error") -> Problem:
        return Problem(line=line, column=1, code=code, path="", message=message, severity=severity, source=self._name)
