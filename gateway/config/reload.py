"""Watch the config file, compile each change and swap the new table in; a bad file leaves the old table live."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

from gateway.config.compiler.compiler import Compiled
from gateway.config.moves import Moves
from gateway.config.saves import QUIET_S, TICK_S, Look, Save, wait_for_writer
from gateway.config.sight import Sight, sight_of
from gateway.errors import ConfigError, UsageError
from gateway.policy.overlay import NO_OVERLAY, Overlay
from gateway.policy.problem import Problem
from gateway.policy.regular_file import read_regular_file, why
from gateway.policy.stamp import Stamp, stamp
from gateway.policy.table import RoutingTable
from gateway.wire.json import EMPTY

log = logging.getLogger(__name__)

STEP_MS: Final = 25
"""Interval at which watchfiles collects events; it reports them after one interval without a new event."""
DEBOUNCE_MS: Final = 75
"""Longest time that watchfiles holds events back while new ones keep coming."""
POLL_S: Final = 1.0
"""Interval at which the file's stat is compared, with or without events."""
HASH_EVERY: Final = 10
"""Every this many polls the content is compared, even if stat has not changed."""
BLIND_POLLS: Final = 60
"""Polls before file events are tried again on a system that refused them."""
LOGGED_PROBLEMS: Final = 20
MAX_FILE_BYTES: Final = 64 * 1024 * 1024

_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Compile(Protocol):
    """The part of `Compiler` that a Reloader calls, one thread at a time."""

    def compile(
        self, data: bytes, *, source: str, overlay: Overlay = ..., generation: int = ..., now: float = ...
    ) -> Compiled:
        """Return the table of the file's bytes, or all problems when they give none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadReport:
    """Result of one reading of the file."""

    ok: bool
    """Whether the live table is that of the file as read, or would be without `dry_run`."""
    at: float
    """Seconds since the epoch."""
    digest: str | None
    """SHA-256 of the bytes, in hex; None when the file could not be read."""
    problems: tuple[Problem, ...] = ()
    """In file order; only warnings when `ok`."""
    generation: int
    """Generation of the live table afterwards."""
    changed: bool = False
    """Whether a new table was swapped in."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A good table that is not live yet, as `before_swap` asked for time. A later reading takes its place."""

    table: RoutingTable
    problems: tuple[Problem, ...]
    data: bytes
    over: threading.Event = field(default_factory=threading.Event)
    """It is live, or was replaced, or is waited for no more."""


class Reloader:
    """Owns the live table of one file. Its methods may be called from any thread."""

    def __init__(
        self,
        path: Path,
        compiler: Compile,
        *,
        before_swap: Callable[[RoutingTable, Callable[[], None]], bool] = lambda table, ready: True,
        on_swap: Callable[[RoutingTable], None] = lambda table: None,
        on_report: Callable[[ReloadReport], None] = lambda report: None,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: Callable[[], float] = time.time,
        mounts: Path = Path("/proc/self/mountinfo"),
    ) -> None:
        """`on_swap` is called after each swap; its exceptions are only logged. `on_report`: after each new result.

        `before_swap(table, ready)` says whether a new table may go live at once; if not, it calls `ready` later, from
        a thread that may block. Until then the old table stays live, unless a later reading of the file replaces both.
        All three run under the lock, so they must not call the Reloader. All compiles except that of `load` run in
        `around()`.
        """
        self._path = path
        self._file = path.absolute()
        self._compiler = compiler
        self._before_swap = before_swap
        self._on_swap = on_swap
        self._on_report = on_report
        self._waiting: _Waiting | None = None
        self._around = around
        self._clock = clock
        self._mounts = mounts
        self._lock = threading.Lock()
        self._overlay = NO_OVERLAY
        self._data: bytes | None = None
        self._running = ReloadReport(ok=False, at=0.0, digest=None, generation=0)
        self._refused: str | None = None
        """Digest of the bytes refused last, or the problem's text if they could not be read."""
        self._blind = False
        self.current = RoutingTable(generation=0, routes=EMPTY)
        """The live table; an empty one of generation 0 before `load`. Replaced by one assignment."""
        self.last = self._running
        """Report of the latest reading that found a new result."""

    def load(self) -> ReloadReport:
        """Compile the file for the first time. Raises UsageError when it cannot be read, ConfigError when it is bad.

        While another process has the file open for writing, waits for it; after LONG_S that is a UsageError.
        """
        if self._is_mount_point():
            log.warning(
                "the config file is a mount of its own: a version that replaces it is never seen; mount its folder",
                extra={"source": str(self._path)},
            )
        wait_for_writer(self._file)
        with self._lock:
            try:
                data, _ = _read(self._file)
            except OSError as exc:
                raise UsageError(f"cannot read {self._path}: {why(exc)}") from exc
            table, problems = self._compile(data, self._overlay)
            if table is None:
                raise ConfigError(problems)
            return self._accept(table, problems, data, is_first=True)

    def reload(
        self, *, force: bool = True, wait: bool = True, dry_run: bool = False, complete: Look | None = None
    ) -> ReloadReport:
        """Read the file and, if it is good, swap its table in. Blocks; never raises for a bad file.

        Without `force`, for file events, the bytes of the live table and those refused last are not compiled again.
        With `complete`, a finished save, nothing happens if the file has changed since. With `dry_run` nothing is
        swapped, remembered or logged. Without `wait` it returns before a table that `before_swap` keeps back is live.
        """
        with self._lock:
            try:
                data, found = _read(self._file)
                if complete is not None and found != complete.stamp:
                    return self.last
            except OSError as exc:
                if complete is not None and stamp(self._file) != complete.stamp:
                    return self.last
                unreadable = (self._fault("unreadable-file", f"cannot read the file: {why(exc)}"),)
                if not force and self._refused == _as_text(unreadable):
                    return self.last
                return self._refuse(None, unreadable, dry_run=dry_run)
            if not force and data == self._data:
                return self._back_to_running()
            if not force and _digest(data) == self._refused:
                return self.last
            if not force and self._waiting is not None and data == self._waiting.data:
                return self.last
            with self._around():
                table, problems = self._compile(data, self._overlay)
            if table is None:
                return self._refuse(_digest(data), problems, dry_run=dry_run)
            if dry_run:
                return replace(self._report(table.digest, problems), ok=True)
            self.give_up()
            waiting = self._waiting = _Waiting(table, problems, data)
            if self._before_swap(table, partial(self._swap_waiting, waiting)):
                return self._accept(table, problems, data)
            report = replace(self._report(table.digest, problems), ok=True)
        if wait:
            waiting.over.wait()
            return self.last
        return report

    def give_up(self) -> None:
        """Wait no more for a table that is not live yet; it never will be."""
        if self._waiting is not None:
            self._waiting.over.set()
            self._waiting = None

    def set_overlay(self, overlay: Overlay) -> None:
        """Compile the live table's bytes with `overlay` and swap. On a problem raises ConfigError, changing nothing."""
        with self._lock:
            if self._data is None:
                self._overlay = overlay
                return
            with self._around():
                table, problems = self._compile(self._data, overlay)
            if table is None:
                raise ConfigError(problems)
            self._overlay = overlay
            self.give_up()
            self._swap(table, self._data)

    def disk(self) -> str | None:
        """Return the SHA-256 of the file on disk now, in hex, or None when it cannot be read."""
        try:
            return _digest(_read(self._file)[0])
        except OSError:
            return None

    async def watch(self) -> None:
        """Reload after each change of the file, until cancelled. File and folder may vanish and come back.

        Watches the folders of the file and of each symlink on its path, not the file's inode, so that it sees renames
        and symlink swaps. At each poll it also compares the file's stat. Reads complete saves only, see `Save`.
        """
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-reload")
        moves = Moves()

        def look() -> tuple[Sight, bool]:
            sight = sight_of(self._file)
            moves.watch(sight.entries)
            return sight, moves.renamed()

        def read(sight: Sight) -> None:
            moves.forget()
            self.reload(force=False, wait=False, complete=sight.file)

        async def complete_save() -> Sight:
            save = Save(self._path, now_s=loop.time())
            while True:
                sight, renamed = await loop.run_in_executor(pool, look)
                quiet_s = TICK_S if renamed else QUIET_S
                if save.is_complete(sight.file, now_s=loop.time(), quiet_s=quiet_s):
                    return sight
                await asyncio.sleep(TICK_S)

        try:
            # Slow to import. A save between the first look and the first event is seen at the next poll only.
            with suppress(ImportError):
                await loop.run_in_executor(pool, import_module, "watchfiles")
            polls, sight = 0, await complete_save()
            await loop.run_in_executor(pool, read, sight)
            while True:
                async with aclosing(self._batches(sight.folders)) as batches:
                    async for touched in batches:
                        polls += 1
                        before, (sight, _) = sight, await loop.run_in_executor(pool, look)
                        changed = not touched.isdisjoint({*before.entries, *sight.entries})
                        if changed or sight.file.stamp != before.file.stamp:
                            sight = await complete_save()
                            await loop.run_in_executor(pool, read, sight)
                        elif polls % HASH_EVERY == 0 and not sight.file.held:
                            await loop.run_in_executor(pool, read, sight)
                        # A new folder may reuse the old one's inode number, but the removal was an event.
                        if sight.folders != before.folders or any(name in touched for name, *_ in before.folders):
                            break
        finally:
            pool.submit(moves.close)
            pool.shutdown(wait=False)

    async def _batches(self, folders: tuple[tuple[str, int, int], ...]) -> AsyncGenerator[set[str], None]:
        """Yield the paths touched in `folders`, and an empty set about once a second.

        On a system without file events it yields empty sets only and ends after BLIND_POLLS, to try events again.
        """
        try:
            from watchfiles import awatch

            watched = awatch(
                *(folder for folder, *_ in folders),
                watch_filter=None,
                debounce=DEBOUNCE_MS,
                step=STEP_MS,
                rust_timeout=int(POLL_S * 1000),
                yield_on_timeout=True,
                recursive=False,
                ignore_permission_denied=True,
            )
            async with aclosing(watched) as batches:
                async for batch in batches:
                    self._blind = False
                    yield {path for _, path in batch}
        except Exception as exc:
            if not self._blind:
                log.warning("no file events: the config file is polled", extra={"error": str(exc)}, exc_info=True)
            self._blind = True
        for _ in range(BLIND_POLLS):
            await asyncio.sleep(POLL_S)
            yield set()

    def _swap_waiting(self, waiting: _Waiting) -> None:
        """Swap a table in that has waited, unless another reading took its place meanwhile."""
        with self._lock:
            if self._waiting is waiting:
                self._accept(waiting.table, waiting.problems, waiting.data)

    def _accept(
        self, table: RoutingTable, problems: tuple[Problem, ...], data: bytes, *, is_first: bool = False
    ) -> ReloadReport:
        self._refused = None
        report = self._report(table.digest, problems)
        self._running = self.last = replace(report, ok=True, generation=table.generation, changed=True)
        self._swap(table, data)
        if not is_first:
            self._on_report(self._running)
        self.give_up()
        return self._running

    def _compile(self, data: bytes, overlay: Overlay) -> tuple[RoutingTable | None, tuple[Problem, ...]]:
        try:
            compiled = self._compiler.compile(
                data, source=str(self._path), overlay=overlay, generation=self.current.generation + 1, now=self._clock()
            )
        except Exception as exc:
            log.exception("the compiler failed: please report this")
            message = f"the compiler failed with {type(exc).__name__}; the log has more"
            return None, (self._fault("internal-error", message),)
        return compiled.table, compiled.problems

    def _swap(self, table: RoutingTable, data: bytes) -> None:
        self._data = data
        self.current = table
        aliases = len(table.routes) + len(table.wildcards)
        log.info("routes loaded", extra={"generation": table.generation, "digest": table.digest, "aliases": aliases})
        try:
            self._on_swap(table)
        except Exception:
            log.exception("a listener failed after routes were loaded")

    def _refuse(self, digest: str | None, problems: tuple[Problem, ...], *, dry_run: bool) -> ReloadReport:
        report = self._report(digest, problems)
        if not dry_run:
            extra = {"generation": report.generation, "digest": digest, "problems": _as_text(problems)}
            log.warning("routes refused", extra=extra)
            self._refused, self.last = digest or _as_text(problems), report
            self.give_up()
            self._on_report(report)
        return report

    def _back_to_running(self) -> ReloadReport:
        """Forget the refused text: the file holds the live table's bytes again."""
        self.give_up()
        if self._refused is not None:
            self._refused = None
            generation = self.current.generation
            self.last = replace(self._running, at=self._clock(), generation=generation, changed=False)
            log.info("routes are again as they run", extra={"generation": generation, "digest": self.last.digest})
            self._on_report(self.last)
        return self.last

    def _report(self, digest: str | None, problems: tuple[Problem, ...]) -> ReloadReport:
        generation = self.current.generation
        return ReloadReport(ok=False, at=self._clock(), digest=digest, problems=problems, generation=generation)

    def _is_mount_point(self) -> bool:
        """Tell whether the file is a mount point, as with Kubernetes' `subPath` and Docker's `-v file:file`."""
        try:
            table = self._mounts.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return False
        return os.path.realpath(self._file) in mount_points(table)

    def _fault(self, code: str, message: str) -> Problem:
        return Problem(line=0, column=0, code=code, path="", message=message, source=str(self._path))


def _read(path: Path) -> tuple[bytes, Stamp]:
    """Return the bytes and stamp of one version of the config file. Raises OSError."""
    return read_regular_file(path, limit_bytes=MAX_FILE_BYTES)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _as_text(problems: tuple[Problem, ...]) -> str:
    lines = [str(problem) for problem in problems[:LOGGED_PROBLEMS]]
    if len(problems) > LOGGED_PROBLEMS:
        lines.append(f"and {sum(problem.not_listed or 1 for problem in problems[LOGGED_PROBLEMS:])} more")
    return "\n".join(lines)


def mount_points(table: str) -> set[str]:
    """Return the mount points of a mountinfo table: the fifth field, spaces as octal escapes (proc(5))."""
    fields = (line.split(" ") for line in table.splitlines())
    return {_OCTAL.sub(lambda match: chr(int(match[1], 8)), field[4]) for field in fields if len(field) > 4}
