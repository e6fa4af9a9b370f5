"""Plays the policy's test cases against each new table before it goes live, as `gateway test` does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.concurrency.pacing import REST_S
from gateway.errors import UsageError
from gateway.policy.problem import Problem, listed
from gateway.policy.regular_file import read_regular_file, why
from gateway.policy.stamp import Stamp, stamp
from gateway.policy.table import RoutingTable
from gateway.server.client_keys import inspect
from gateway.simulation.cases.expectations import Mismatch
from gateway.simulation.cases.file import Case, read
from gateway.simulation.cases.play import GroupByClient, Result, asked_targets, needs_groups, play
from gateway.words import count, cut, shown

log = logging.getLogger(__name__)

LIMIT_S: Final = 10.0
"""Seconds for all cases."""
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_VALUE: Final = 120
"""Characters that a problem shows of an expected and of an actual value."""


class Canary:
    """The test cases of one file, read anew for each table."""

    def __init__(self, path: Path, *, limit_s: float = LIMIT_S, client_keys_file: Path | None = None) -> None:
        """`client_keys_file` has the groups of clients that are named without one."""
        self._path = path
        self._client_keys_file = client_keys_file
        self._limit_s = limit_s
        self._playing: threading.Thread | None = None

    def version(self) -> Stamp | None:
        """Return the stamp of the file; None while there is none."""
        return stamp(self._path)

    def __call__(self, table: RoutingTable) -> tuple[Problem, ...]:
        """Return a problem for each case that fails, or those of the file; blocks for `limit_s` at most.

        A case that does not end, as a hook blocks, is left behind in its thread.
        """
        try:
            data, _ = read_regular_file(self._path, limit_bytes=MAX_BYTES)
        except OSError as exc:
            return (self._problem("unreadable-file", f"cannot read the test cases of --canary: {why(exc)}"),)
        file, problems = read(data, name=str(self._path))
        if file is None:
            return problems
        if self._playing is not None:
            self._playing.join(self._limit_s)
        if self._playing is not None and self._playing.is_alive():
            message = "the cases of an earlier edit are still being played: a hook blocks; restart the gateway"
            return (self._problem("canary-failed", message),)
        groups: GroupByClient | None = None
        if self._client_keys_file is not None and needs_groups(file.cases):
            try:
                groups = inspect(self._client_keys_file).by_name
            except UsageError as exc:
                return (self._problem("unreadable-file", f"for the clients of --canary: {exc}"),)
        run = _Run(table, file.cases, groups)
        self._playing = threading.Thread(target=run.play, name="gateway-canary", daemon=True)
        self._playing.start()
        self._playing.join(self._limit_s)
        results = tuple(run.results)
        if self._playing.is_alive() and len(results) < len(file.cases):
            run.stop.set()
            return (self._too_slow(file.cases[len(results)], len(results), len(file.cases)),)
        failures = [self._failed(result) for result in results if not result.ok]
        if len(results) < len(file.cases):
            message = "playing the test cases failed; the log has more"
            failures.append(self._problem("internal-error", message, file.cases[len(results)]))
        return listed(failures)

    def _too_slow(self, case: Case, played: int, of: int) -> Problem:
        ended = f"{played} of {count(of, 'case')} ended within {shown(self._limit_s)}"
        message = f"case {_name(case)} took too long: {ended}; play fewer, or a hook blocks"
        return self._problem("canary-failed", message, case)

    def _failed(self, result: Result) -> Problem:
        first, *more = _mismatches(result)
        rest = f"; and {count(len(more), 'mismatch')} more" if more else ""
        return self._problem("canary-failed", f"case {_name(result.case)} fails: {_said(first)}{rest}", result.case)

    def _problem(self, code: str, message: str, case: Case | None = None) -> Problem:
        line, column = (0, 0) if case is None else case.position
        return Problem(line=line, column=column, code=code, path="", message=message, source=str(self._path))


class _Run:
    """Plays cases in a thread of its own, so that nobody waits for one that does not end."""

    def __init__(self, table: RoutingTable, cases: tuple[Case, ...], groups: GroupByClient | None) -> None:
        self.stop = threading.Event()
        self.results: list[Result] = []
        self._table = table
        self._cases = cases
        self._groups = groups

    def play(self) -> None:
        """Play the cases one after the other until `stop` is set."""
        try:
            asked = asked_targets(self._table, self._cases)
            for case in self._cases:
                if self.stop.is_set():
                    return
                self.results.append(play(self._table, case, asked, groups=self._groups))
                time.sleep(REST_S)  # the event loop takes its turn
        except Exception:
            log.exception("the canary failed: please report this")


def _mismatches(result: Result) -> Iterator[Mismatch]:
    yield from result.mismatches
    for played in result.played:
        yield from played.mismatches


def _said(mismatch: Mismatch) -> str:
    where = f"{mismatch.check} (line {mismatch.position[0]})"
    if mismatch.message is not None:
        return f"{where}: {cut(mismatch.message, 2 * MAX_VALUE)}"
    expected, actual = (cut("; ".join(lines), MAX_VALUE) or "nothing" for lines in (mismatch.expected, mismatch.actual))
    return f"{where}: expected {expected}, got {actual}"


def _name(case: Case) -> str:
    return repr(cut(case.name, MAX_VALUE))
