"""Watch the config files, compile each change and swap the new table in; a bad file leaves the old table live."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final

from gateway.config.file_events import FileEvents
from gateway.config.kept import LastGood, UnusableError
from gateway.config.mounts import warn_of_mounts
from gateway.config.moves import Moves
from gateway.config.reload_report import Canary, Compile, FileState, ReloadReport
from gateway.config.saves import QUIET_S, TICK_S, Looks, Save, wait_for_writer
from gateway.config.sight import Sight, looks_of, sight_of, stamps_of
from gateway.config.texts import Texts, UnsettledError
from gateway.errors import ConfigError, GatewayError, NotAsExpected, UsageError
from gateway.policy.overlay import NO_OVERLAY, Overlay
from gateway.policy.problem import Problem, Severity, Told, number_of
from gateway.policy.regular_file import why
from gateway.policy.stamp import Stamp, stamp
from gateway.policy.table import RoutingTable
from gateway.wire.json import EMPTY

log = logging.getLogger(__name__)

HASH_EVERY: Final = 10
"""Every this many polls the content is compared, even if stat has not changed."""
LOGGED_PROBLEMS: Final = 20


@dataclass(slots=True, eq=False)
class _Waiting:
    """A good table that is not live yet, as `before_swap` asked for time. A later reading takes its place."""

    table: RoutingTable
    problems: tuple[Problem, ...]
    texts: Texts
    over: threading.Event = field(default_factory=threading.Event)
    """It is live, or was replaced, or is waited for no more."""


class Reloader:
    """Owns the live table of one file and those that it includes. Its methods may be called from any thread."""

    def __init__(
        self,
        path: Path,
        compiler: Compile,
        *,
        before_swap: Callable[[RoutingTable, Callable[[], None]], bool] = lambda table, ready: True,
        on_swap: Callable[[RoutingTable], None] = lambda table: None,
        on_report: Callable[[ReloadReport], None] = lambda report: None,
        describe: Callable[[RoutingTable, RoutingTable], tuple[str, ...]] = lambda old, new: (),
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        last_good: LastGood | None = None,
        canary: Canary | None = None,
        clock: Callable[[], float] = time.time,
        mounts: Path = Path("/proc/self/mountinfo"),
    ) -> None:
        """`on_swap` is called after each swap; its exceptions are only logged. `on_report`: after each new result.

        `before_swap(table, ready)` says whether a new table may go live at once; if not, it calls `ready` later, from
        a thread that may block. Until then the old table stays live, unless a later reading of the file replaces both.
        `describe(old, new)` says in lines what a table changes, for the report. All four run under the lock, so they
        must not call the Reloader. All compiles except that of `load` run in `around()`.

        `last_good` keeps each version that goes live, for a `load` that finds the file unfit. `canary` judges the
        file's tables.
        """
        self._path = path
        self._file = path.absolute()
        self._compiler = compiler
        self._before_swap = before_swap
        self._on_swap = on_swap
        self._on_report = on_report
        self._describe = describe
        self._waiting: _Waiting | None = None
        self._around = around
        self._last_good = last_good
        self._canary = canary
        self._objected: tuple[Stamp | None] | None = None
        """The canary's version, if it refused the last table."""
        self._clock = clock
        self._mounts = mounts
        self._lock = threading.Lock()
        self._overlay = NO_OVERLAY
        self._texts: Texts | None = None
        """Those of the live table."""
        self._latest: Texts | None = None
        """Those read last."""
        self._running = ReloadReport(ok=False, at=0.0, digest=None, generation=0)
        self._refused: str | None = None
        """Digest of the texts refused last, or the problem's text if they could not be read."""
        self.current = RoutingTable(generation=0, routes=EMPTY)
        """The live table; an empty one of generation 0 before `load`. Replaced by one assignment."""
        self.last = self._running
        """Report of the latest reading that found a new result."""
        self.kept_at: float | None = None
        """When the live version was accepted, if it is the kept one, as the file is unfit; seconds since the epoch."""

    def load(self) -> ReloadReport:
        """Compile the file for the first time. Raises UsageError when it cannot be read, ConfigError when it is bad.

        While another process has the file open for writing, waits for it; after LONG_S that is a UsageError. With a
        kept version none of that is raised: it goes live, and the report returned is of the file.
        """
        try:
            wait_for_writer(self._file)
            texts = Texts(self._file, str(self._path), before_reading=wait_for_writer)
            with self._lock:
                self._latest = texts
                table, problems = self._compile(texts, self._overlay)
                warn_of_mounts(texts.paths, self._mounts)
                if table is not None:
                    return self._accept(table, problems, texts, is_first=True)
        except UsageError as exc:
            return self._load_kept(exc, (self._fault("unreadable-file", str(exc)),), None)
        except OSError as exc:
            error = UsageError(f"cannot read {self._path}: {why(exc)}")
            return self._load_kept(error, (self._unreadable(exc),), None)
        return self._load_kept(ConfigError(problems), problems, texts.digest)

    def _load_kept(self, error: GatewayError, problems: tuple[Problem, ...], digest: str | None) -> ReloadReport:
        """Make the kept version live, as the file has `problems`. Raises `error`, or ConfigError, if there is none."""
        if self._last_good is None:
            raise error
        with self._lock:
            found = self._compile_kept(self._last_good)
            if found is None and isinstance(error, UsageError):
                raise error
            if not isinstance(found, tuple):
                message = f"the last good version in {self._last_good.folder} {found or 'is not there yet'}"
                raise ConfigError((*problems, self._fault("last-good", message, "warning")))
            table, texts, self.kept_at = found
            self._running = replace(self._report(table.digest, ()), ok=True, generation=table.generation)
            self._swap(table, texts)
            told = Told(problems, most=LOGGED_PROBLEMS)
            self._refused, self.last = digest or told, self._report(digest, problems)
            accepted_at = datetime.fromtimestamp(self.kept_at, UTC).isoformat(timespec="milliseconds")
            extra = {"source": str(self._path), "accepted_at": accepted_at, "problems": told}
            log.error("the config file cannot be served: the last good version is", extra=extra)
            return self.last

    def _compile_kept(self, last_good: LastGood) -> tuple[RoutingTable, Texts, float] | str | None:
        """Return table, texts and time of the kept version, or why it cannot serve; None if no version was kept."""
        try:
            kept = last_good.read()
        except UnusableError as exc:
            return str(exc)
        if kept is None:
            return None
        texts = Texts(self._file, str(self._path), given=kept)
        table, faults = self._compile(texts, self._overlay, judged=False)
        if table is None:
            first = next(fault for fault in faults if fault.severity == "error")
            where = "" if first.source == str(self._path) else f" of {first.source}"
            return f"cannot be served: line {first.line}{where}: {first.code}: {first.message}"
        return table, texts, kept.accepted_at

    def reload(
        self,
        *,
        force: bool = True,
        wait: bool = True,
        dry_run: bool = False,
        complete: Looks | None = None,
        only_over: Collection[str] | None = None,
    ) -> ReloadReport:
        """Read the file and, if it is good, swap its table in. Blocks; never raises for a bad file.

        Without `force`, for file events, the bytes of the live table and those refused last are not compiled again.
        With `complete`, a finished save, nothing happens if the file has changed since. With `dry_run` nothing is
        swapped, remembered or logged. Without `wait` it returns before a table that `before_swap` keeps back is live.
        With `only_over`, digests of texts, raises NotAsExpected when another text runs, and reads nothing.
        """
        with self._lock:
            if only_over is not None and self.current.digest not in only_over:
                raise NotAsExpected(f"another text runs: its digest is {self.current.digest}", param="if-match")
            try:
                texts = self._read(complete)
                if not force and texts.is_same(self._texts):
                    return self._back_to_running()
                if not force and texts.digest == self._refused and not self._judges_anew():
                    return self.last
                if not force and self._waiting is not None and texts.is_same(self._waiting.texts):
                    return self.last
                with self._around():
                    table, problems = self._compile(texts, self._overlay)
            except UnsettledError:
                return self.last
            except OSError as exc:
                if complete is not None and stamp(self._file) != complete.main.stamp:
                    return self.last
                unreadable = (self._unreadable(exc),)
                if not force and self._refused == Told(unreadable, most=LOGGED_PROBLEMS):
                    return self.last
                return self._refuse(None, unreadable, dry_run=dry_run)
            if table is None:
                return self._refuse(texts.digest, problems, dry_run=dry_run)
            if dry_run:
                changes = self._changes(self.current, table)
                return replace(self._report(table.digest, problems), ok=True, changes=changes)
            self.give_up()
            waiting = self._waiting = _Waiting(table, problems, texts)
            if self._before_swap(table, partial(self._swap_waiting, waiting)):
                return self._accept(table, problems, texts)
            report = replace(self._report(table.digest, problems), ok=True)
        if wait:
            waiting.over.wait()
            with self._lock:  # what replaced it may not be told in full yet
                return self.last
        return report

    def give_up(self) -> None:
        """Wait no more for a table that is not live yet; it never will be."""
        if self._waiting is not None:
            self._waiting.over.set()
            self._waiting = None

    def set_overlay(self, overlay: Overlay) -> None:
        """Compile the live table's texts with `overlay` and swap. On a problem raises ConfigError, changing nothing."""
        with self._lock:
            if self._texts is None:
                self._overlay = overlay
                return
            with self._around():
                table, problems = self._compile(self._texts, overlay)
            if table is None:
                raise ConfigError(problems)
            self._overlay = overlay
            self.give_up()
            self._swap(table, self._texts)

    def disk(self) -> str | None:
        """Return the SHA-256 over the files on disk now, in hex, or None when the main one cannot be read.

        Of a text that was never compiled it is that of the main file alone.
        """
        texts = self._on_disk()
        return None if texts is None else texts.digest

    def files(self) -> list[FileState]:
        """Compare each file of the live table with the one on disk; then come those that are new on disk. Blocks."""
        texts = self._on_disk()
        running = {} if self._texts is None else self._texts.digests
        on_disk = {} if texts is None else texts.digests
        return [FileState(path, running.get(path), on_disk.get(path)) for path in {**running, **on_disk}]

    def _on_disk(self) -> Texts | None:
        try:
            texts = Texts(self._file, str(self._path))
        except OSError:
            return None
        texts.include(self._known_patterns(texts))
        return texts

    def looks(self) -> Looks:
        """Look at the files of the text read last."""
        return looks_of(self._file, self._patterns)

    def stamps(self) -> dict[str, Stamp | None]:
        """Return the stamps of the same files, as in `Looks.stamps`."""
        return stamps_of(self._file, self._patterns)

    @property
    def read_stamps(self) -> dict[str, Stamp | None]:
        """The stamps of the files of the text read last, as they were read."""
        return self._latest.stamps if self._latest is not None else {}

    async def watch(self) -> None:
        """Reload after each change of the file, until cancelled. File and folder may vanish and come back.

        Watches the folders of the file and of each symlink on its path, not the file's inode, so that it sees renames
        and symlink swaps. At each poll it also compares the file's stat. Reads complete saves only, see `Save`.
        """
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-reload")
        moves, events = Moves(), FileEvents()
        last: dict[str, Stamp | None] = {}
        """The stamps of the files as they were read last."""

        def look() -> tuple[Sight, bool]:
            sight = sight_of(self._file, self._patterns, last)
            moves.watch(folder for folder, *_ in sight.folders)
            stamps, now = sight.files.stamps, self._clock()
            changed = [path for path in {**last, **stamps} if path not in last or stamps.get(path) != last[path]]
            return sight, bool(changed) and all(is_settled(path, sight, now) for path in changed)

        def is_settled(path: str, sight: Sight, now: float) -> bool:
            if moves.renamed(sight.ways.get(path, ())):
                return True
            # A file that is only now included may have been there for long.
            looked = sight.files.included.get(path) if path not in last else None
            return looked is not None and (looked.age_s(now=now) or 0) >= QUIET_S

        def read(sight: Sight) -> None:
            nonlocal last
            moves.forget()
            self.reload(force=False, wait=False, complete=sight.files)
            last = sight.files.stamps

        async def complete_save() -> Sight:
            save = Save(self._path, now_s=loop.time())
            while True:
                sight, settled = await loop.run_in_executor(pool, look)
                if save.is_complete(sight.files, now_s=loop.time(), in_place=not settled):
                    return sight
                await asyncio.sleep(TICK_S)

        async def read_complete_save() -> Sight:
            while True:
                patterns, sight = self._patterns, await complete_save()
                await loop.run_in_executor(pool, read, sight)
                if self._patterns == patterns:
                    return sight

        try:
            # Slow to import. A save between the first look and the first event is seen at the next poll only.
            with suppress(ImportError):
                await loop.run_in_executor(pool, import_module, "watchfiles")
            polls, sight = 0, await read_complete_save()
            while True:
                async with aclosing(events.batches(folder for folder, *_ in sight.folders)) as batches:
                    async for touched in batches:
                        polls += 1
                        before, (sight, _) = sight, await loop.run_in_executor(pool, look)
                        changed = not touched.isdisjoint({*before.entries, *sight.entries})
                        if changed or sight.files.stamps != before.files.stamps:
                            sight = await read_complete_save()
                        elif (polls % HASH_EVERY == 0 or self._judges_anew()) and sight.files.held is None:
                            await loop.run_in_executor(pool, read, sight)
                        # A new folder may reuse the old one's inode number, but the removal was an event.
                        if sight.folders != before.folders or any(name in touched for name, *_ in before.folders):
                            break
        finally:
            pool.submit(moves.close)
            pool.shutdown(wait=False)

    def _swap_waiting(self, waiting: _Waiting) -> None:
        """Swap a table in that has waited, unless another reading took its place meanwhile."""
        with self._lock:
            if self._waiting is waiting:
                self._accept(waiting.table, waiting.problems, waiting.texts)

    def _accept(
        self, table: RoutingTable, problems: tuple[Problem, ...], texts: Texts, *, is_first: bool = False
    ) -> ReloadReport:
        self._refused = None
        before, self.kept_at = self.current, None
        report = self._report(table.digest, problems)
        if self._last_good is not None:
            # Before the swap: what was live once is kept, wherever the process is killed.
            self._last_good.keep(texts.main, texts.included, accepted_at=report.at)
        self._running = self.last = replace(report, ok=True, generation=table.generation, changed=True)
        self._swap(table, texts)
        if not is_first:
            self._running = self.last = replace(self._running, changes=self._changes(before, table))
            self._on_report(self._running)
        self.give_up()
        return self._running

    @property
    def _patterns(self) -> tuple[str, ...]:
        """What the text read last includes."""
        return self._latest.patterns if self._latest is not None else ()

    def _read(self, complete: Looks | None) -> Texts:
        """Read the main file; if its bytes were compiled before, the included files as well, to compare them.

        Raises OSError, and UnsettledError when the files are not those of `complete`.
        """
        texts = Texts(self._file, str(self._path), complete=complete)
        known = self._known_patterns(texts)
        self._latest = texts
        texts.include(known)
        return texts

    def _known_patterns(self, texts: Texts) -> tuple[str, ...]:
        """Return what a text includes if that is known already, else nothing."""
        known = (one.patterns for one in (self._texts, self._latest) if one is not None and one.main == texts.main)
        return next(known, ())

    def _compile(
        self,
        texts: Texts,
        overlay: Overlay,
        *,
        judged: bool = True,
        generation: int | None = None,
        now: float | None = None,
    ) -> tuple[RoutingTable | None, tuple[Problem, ...]]:
        if judged:
            self._objected = None
        try:
            compiled = self._compiler.compile(
                texts.main,
                source=str(self._path),
                include=texts.include,
                overlay=overlay,
                generation=self.current.generation + 1 if generation is None else generation,
                now=self._clock() if now is None else now,
            )
        except (UnsettledError, UsageError):
            raise
        except Exception as exc:
            log.exception("the compiler failed: please report this")
            message = f"the compiler failed with {type(exc).__name__}; the log has more"
            return None, (self._fault("internal-error", message),)
        if self._canary is None or compiled.table is None or not judged:
            return compiled.table, compiled.problems
        version = self._canary.version()
        problems = (*compiled.problems, *self._canary(compiled.table))
        if number_of(problems, "error"):
            self._objected = (version,)
            return None, problems
        return compiled.table, problems

    def _judges_anew(self) -> bool:
        """Tell whether the canary's file has changed since it refused, so that it may accept now."""
        return self._canary is not None and self._objected is not None and self._canary.version() != self._objected[0]

    def _swap(self, table: RoutingTable, texts: Texts) -> None:
        self._texts = texts
        self.current = table
        aliases = len(table.routes) + len(table.wildcards)
        log.info("routes loaded", extra={"generation": table.generation, "digest": table.digest, "aliases": aliases})
        try:
            self._on_swap(table)
        except Exception:
            log.exception("a listener failed after routes were loaded")

    def _changes(self, old: RoutingTable, new: RoutingTable) -> tuple[str, ...]:
        try:
            with self._around():
                return self._describe(old, new)
        except Exception:
            log.exception("what a reload changed cannot be told")
            return ()

    def _refuse(self, digest: str | None, problems: tuple[Problem, ...], *, dry_run: bool) -> ReloadReport:
        report = self._report(digest, problems)
        if not dry_run:
            told = Told(problems, most=LOGGED_PROBLEMS)
            extra = {"generation": report.generation, "digest": digest, "problems": told}
            log.warning("routes refused", extra=extra)
            self._refused, self.last = digest or told, report
            self.give_up()
            self._on_report(report)
        return report

    def _back_to_running(self) -> ReloadReport:
        """Forget the refused text: the file holds the live table's bytes again."""
        self.give_up()
        if self._refused is not None:
            self._refused = self.kept_at = None
            generation = self.current.generation
            self.last = replace(self._running, at=self._clock(), generation=generation, changed=False, changes=())
            log.info("routes are again as they run", extra={"generation": generation, "digest": self.last.digest})
            self._on_report(self.last)
        return self.last

    def _report(self, digest: str | None, problems: tuple[Problem, ...]) -> ReloadReport:
        generation = self.current.generation
        return ReloadReport(ok=False, at=self._clock(), digest=digest, problems=problems, generation=generation)

    def _unreadable(self, exc: OSError) -> Problem:
        return self._fault("unreadable-file", f"cannot read the file: {why(exc)}")

    def _fault(self, code: str, message: str, severity: Severity = "error") -> Problem:
        source = str(self._path)
        return Problem(line=0, column=0, code=code, path="", message=message, severity=severity, source=source)
