"""How the processes of `make test` share out the files of tests. A file runs whole in one process.

The first process takes the files whose tests start processes and wait, the longest first; the others take the rest, the
most tests first. So what waits runs beside what computes, and what starts many processes seldom beside its like. A
process that finds nothing left on its side goes on with the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

WAITING: Final = (
    "tests/failover/test_suite.py",
    "tests/server/test_workers.py",
    "tests/bench/test_bench.py",
    "tests/server/test_page_browser.py",
    "tests/server/test_live_edits.py",
    "tests/server/test_included_files.py",
    "tests/server/test_process.py",
    "tests/unit/test_ci.py",
    "tests/server/test_shared_state.py",
    "tests/server/test_workers_limits.py",
    "tests/unit/test_docs.py",
    "tests/unit/state/test_link.py",
    "tests/unit/library/test_live_edits.py",
    "tests/server/test_drill.py",
    "tests/server/test_run.py",
    "tests/unit/engine/test_attempts.py",
    "tests/integration/test_litellm_host.py",
    "tests/supply/test_kubernetes.py",
    "tests/live/test_rotation.py",
    "tests/model/test_model.py",
    "tests/unit/adapters/litellm/test_loading.py",
    "tests/unit/config/test_reload.py",
    "tests/audit/test_audit.py",
    "tests/server/test_opentelemetry.py",
    "tests/server/test_top.py",
    "tests/server/test_keepalive.py",
    "tests/server/test_connection.py",
    "tests/supply/test_slim.py",
    "tests/server/test_draining.py",
    "tests/server/test_kept_counts.py",
    "tests/server/test_dashboard.py",
    "tests/server/test_metrics.py",
    "tests/server/test_state_dir.py",
)
"""Files whose tests take five seconds and more, most of it in other processes or asleep, the longest first."""
_AHEAD: Final = 2
"""Tests that a process must know of to run one: that one and the next."""


class Process(Protocol):
    """What a scheduler sees of one of pytest-xdist's worker processes."""

    @property
    def shutting_down(self) -> bool: ...

    def send_runtest_some(self, indices: Sequence[int]) -> None: ...

    def shutdown(self) -> None: ...


class Sharing:
    """A scheduler of pytest-xdist: `Scheduling` in its `scheduler/protocol.py`. Places are those of the collection.

    Each event takes time for itself alone: xdist's own scheduler goes through all tests for each of them.
    """

    def __init__(self, processes: int, waiting: Sequence[str] = WAITING) -> None:
        self._processes = processes
        self._waiting = waiting
        self._collected: dict[Process, list[str]] = {}
        self._pending: dict[Process, dict[int, None]] = {}
        """Places that a process was given and has not finished, in order."""
        self._tests: list[str] | None = None
        """The collection, once all processes have told the same."""
        self._files_that_wait: deque[list[int]] = deque()
        self._other_files: deque[list[int]] = deque()

    @property
    def nodes(self) -> list[Process]:
        """The processes that run."""
        return list(self._pending)

    @property
    def collection_is_completed(self) -> bool:
        """Whether as many processes have collected as began."""
        return len(self._collected) >= self._processes

    @property
    def has_pending(self) -> bool:
        """Whether a test is still to be run or to be finished."""
        return self._has_files or any(self._pending.values())

    @property
    def tests_finished(self) -> bool:
        """Whether each process has at most the one test left that it runs once it is told to end."""
        return (
            self._tests is not None
            and not self._has_files
            and all(len(pending) < _AHEAD for pending in self._pending.values())
        )

    @property
    def _has_files(self) -> bool:
        return bool(self._files_that_wait or self._other_files)

    def add_node(self, node: Process) -> None:
        """Take a process that has started."""
        self._pending[node] = {}

    def add_node_collection(self, node: Process, collection: Sequence[str]) -> None:
        """Note what a process has collected. Raises ValueError if it is not what the others have."""
        self._collected[node] = list(collection)
        first = next(iter(self._collected.values()))
        if self._collected[node] != first:
            differing = sorted(set(first) ^ set(collection)) or ["the order"]
            raise ValueError(f"processes collected different tests: {', '.join(differing[:5])}")

    def schedule(self) -> None:
        """Give work to each process: to all once all have collected, or to one that replaces a crashed one."""
        if self._tests is None:
            self._tests = next(iter(self._collected.values()))
            self._queue(range(len(self._tests)))
        for node in self._pending:
            self._top_up(node)

    def mark_test_complete(self, node: Process, item_index: int, duration: float = 0) -> None:
        """Note that a test has ended."""
        del self._pending[node][item_index]
        self._top_up(node)

    def mark_test_pending(self, item: str) -> None:
        """Never: nothing asks for a test to be run again."""
        raise NotImplementedError

    def remove_pending_tests_from_node(self, node: Process, indices: Sequence[int]) -> None:
        """Never: no tests are taken back."""
        raise NotImplementedError

    def remove_node(self, node: Process) -> str | None:
        """Forget a process that has ended; others run what it leaves. Return the test that it ended in, if any."""
        left = list(self._pending.pop(node))
        if not left:
            return None
        assert self._tests is not None
        self._queue(left[1:])
        for other in self._pending:
            self._top_up(other)
        return self._tests[left[0]]

    def _queue(self, places: Iterable[int]) -> None:
        assert self._tests is not None
        files: dict[str, list[int]] = {}
        for place in places:
            files.setdefault(self._tests[place].partition("::")[0], []).append(place)
        self._files_that_wait += [files.pop(name) for name in self._waiting if name in files]
        self._other_files += sorted(files.values(), key=len, reverse=True)

    def _top_up(self, node: Process) -> None:
        pending = self._pending[node]
        while len(pending) < _AHEAD and not node.shutting_down:
            file = self._next_file(node)
            if file is None:
                node.shutdown()
                return
            pending.update(dict.fromkeys(file))
            node.send_runtest_some(file)

    def _next_file(self, node: Process) -> list[int] | None:
        sides = [self._files_that_wait, self._other_files]
        if node is not next(iter(self._pending)):
            sides.reverse()
        return next((side.popleft() for side in sides if side), None)
