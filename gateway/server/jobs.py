"""Background jobs: watching the file, loading adapters, reloading at a signal."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from gateway.adapters.base import Adapters, NotInstalled
from gateway.concurrency.pacing import no_full_collection, short_pauses
from gateway.config.kept import LastGood
from gateway.config.reload import Reloader
from gateway.config.reload_report import Canary, Compile, ReloadReport
from gateway.policy.table import RoutingTable
from gateway.policy.target import AdapterName, Endpoint
from gateway.server.history import History, describe
from gateway.server.systemd import notify, notify_reloading
from gateway.telemetry.metrics import Metrics
from gateway.wire.local_faults import note_local_fault

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
"""Seconds before a failed background job starts again."""
LOOK_S: Final = 1.0
"""Seconds between two looks whether descriptors are left."""
NAMED: Final = 20
"""Number of providers that a log line names."""
DISK_S: Final = 1.0
"""Seconds that a scrape waits at most for the config files on disk; then they count as not in sync."""
LOAD_S: Final = 120.0
"""Seconds that a new table waits at most for an adapter that it is the first to need."""


class Jobs:
    """Runs the background jobs."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._adapters: Adapters = {}
        self._swapped = asyncio.Event()
        self._reload_requested = asyncio.Event()
        self._prepared: set[AdapterName] = set()
        self.may_prepare = asyncio.Event()
        """Adapters are loaded from then on. A server that may not be able to listen clears it until it does."""
        self.may_prepare.set()
        self.settled = asyncio.Event()
        """Set once the adapters of the table at the start are ready, or could not be made ready."""
        self._absent: dict[AdapterName, str] = {}
        """Adapters that are not installed here, and what their targets lack."""
        self._passed_over: dict[AdapterName, list[str]] = {}
        """The providers of the live table behind each of them, as last logged."""
        self.prepare_first: tuple[str, Callable[[], Awaitable[None]]] | None = None
        """What is made ready before the adapters, by its name in `waiting_for`; it raises nothing."""
        self.waiting_for: tuple[str, ...] = ("adapters",)
        """What the start needs and is not ready: adapters of the first table mostly; empty for good once all are."""

    def before_swap(self, table: RoutingTable, ready: Callable[[], None]) -> bool:
        """Tell whether a table's adapters are ready, so that its first request need not wait; else call `ready` later.

        An adapter that cannot be made ready is logged, and the table goes live all the same. For reloads' threads.
        """
        missing = _adapters_of(table) - self._prepared - self._absent.keys()
        if self._loop is None or not missing:
            return True
        asyncio.run_coroutine_threadsafe(self._ready_soon(missing, ready), self._loop)
        return False

    async def _ready_soon(self, missing: set[AdapterName], ready: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(LOAD_S):
                await asyncio.shield(self._make_ready(missing, self._adapters))
        except TimeoutError:
            log.warning(
                "an adapter takes long: the new table goes live without it", extra={"adapters": sorted(missing)}
            )
        await asyncio.to_thread(ready)

    def swapped(self, _: RoutingTable) -> None:
        """Note that another table is live. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._swapped.set)

    def ask_reload(self) -> None:
        """Reload the file soon, whether it changed or not."""
        self._reload_requested.set()

    async def run(self, reloader: Reloader, adapters: Adapters) -> None:
        """Run all jobs until cancelled."""
        self._loop, self._adapters = asyncio.get_running_loop(), adapters
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(restarting(reloader.watch))
                group.create_task(self._prepare(reloader, adapters))
                group.create_task(self._reload_at_signal(reloader))
                group.create_task(_watch_descriptors())
        finally:
            self._loop = None
            reloader.give_up()

    async def _prepare(self, reloader: Reloader, adapters: Adapters) -> None:
        """Prepare the adapters of the live table's targets, so that the first request need not wait."""
        await self.may_prepare.wait()
        if self.prepare_first is not None:
            name, prepare = self.prepare_first
            self.waiting_for = (name,)
            await prepare()
        while True:
            self._swapped.clear()
            table = reloader.current
            needed = _adapters_of(table) - self._prepared - self._absent.keys()
            if self.waiting_for:
                self.waiting_for = tuple(sorted(needed))
            await self._make_ready(needed, adapters)
            self._warn_of_absent(table)
            self.settled.set()
            await self._swapped.wait()

    async def _make_ready(self, names: Iterable[AdapterName], adapters: Adapters) -> None:
        for name in sorted(names):
            try:
                await adapters[name].prepare()
            except NotInstalled as error:
                self._absent[name] = str(error)
            except Exception:
                log.exception("an adapter could not be made ready", extra={"adapter": name})
                continue
            else:
                self._prepared.add(name)
            self.waiting_for = tuple(other for other in self.waiting_for if other != name)

    def _warn_of_absent(self, table: RoutingTable) -> None:
        """Log which providers of a new table are passed over, once for as long as they are the same."""
        endpoints = _endpoints_of(table)
        for name, reason in self._absent.items():
            providers = sorted({endpoint.provider for endpoint in endpoints if endpoint.adapter == name})
            if providers and providers != self._passed_over.get(name):
                named = {"adapter": name, "providers": providers[:NAMED], "count": len(providers), "reason": reason}
                log.warning("targets are passed over: a package is not installed", extra=named)
            self._passed_over[name] = providers

    async def _reload_at_signal(self, reloader: Reloader) -> None:
        while True:
            await self._reload_requested.wait()
            self._reload_requested.clear()
            notify_reloading()
            report = await asyncio.to_thread(reloader.reload, wait=False)
            notify("READY=1")
            log.info("reloaded at a signal", extra={"ok": report.ok, "generation": report.generation})


async def _watch_descriptors() -> None:
    """Log when no descriptor is left: uvloop closes connections that it cannot accept, and tells nobody."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            note_local_fault(error, doing="accept")


def _endpoints_of(table: RoutingTable) -> list[Endpoint]:
    return list({id(target.endpoint): target.endpoint for target in table.targets}.values())


def _adapters_of(table: RoutingTable) -> set[AdapterName]:
    endpoints = _endpoints_of(table)
    return {endpoint.adapter for endpoint in endpoints if endpoint.adapter in endpoint.adapters.values()}


async def restarting(job: Callable[[], Awaitable[None]]) -> None:
    """Run a job for ever, again whenever it ends or fails."""
    while True:
        try:
            await job()
        except Exception:
            log.exception("a background job failed and begins again")
        await asyncio.sleep(AGAIN_S)


class Swaps(Protocol):
    """What a reloader asks before and after a swap. From the thread of a reload."""

    def before_swap(self, table: RoutingTable, ready: Callable[[], None]) -> bool:
        """Tell whether a table may go live at once; else call `ready` later, from a thread that may block."""

    def swapped(self, table: RoutingTable, /) -> None:
        """Note that another table is live."""


class CountedReloader(Reloader):
    """A reloader that counts its reloads in the metrics, and remembers the last ones."""

    def __init__(
        self,
        path: Path,
        compiler: Compile,
        *,
        metrics: Metrics,
        jobs: Swaps,
        on_report: Callable[[ReloadReport], None] = lambda report: None,
        last_good: LastGood | None = None,
        canary: Canary | None = None,
    ) -> None:
        super().__init__(
            path,
            compiler,
            before_swap=jobs.before_swap,
            on_swap=jobs.swapped,
            on_report=self._note,
            describe=describe,
            around=short_pauses,
            last_good=last_good,
            canary=canary,
        )
        self._metrics = metrics
        self._tell = on_report
        self.history = History()
        self._good_at = 0.0
        self._looking: asyncio.Future[str | None] | None = None
        """Reads what is on disk, which a network mount may not answer."""

    def load(self) -> ReloadReport:
        with no_full_collection():
            report = super().load()
        self._good_at = self.kept_at or report.at
        self.history.add(report)
        return report

    def _note(self, report: ReloadReport) -> None:
        self.history.add(report)
        self._metrics.count_reload(ok=report.ok)
        if report.ok:
            self._good_at = report.at
        self._tell(report)

    def in_sync(self, on_disk: str | None) -> bool:
        """Tell whether the files on disk, of this digest, are what runs."""
        return self.last.ok and on_disk == self.current.digest

    async def show(self) -> None:
        """Update the metrics about the config file. Looks at the disk, for DISK_S at most."""
        looking = self._looking
        if looking is None or looking.done():
            looking = self._looking = asyncio.get_running_loop().run_in_executor(None, self.disk)
        done, _ = await asyncio.wait((looking,), timeout=DISK_S)
        on_disk = looking.result() if done else None
        table = self.current
        self._metrics.show_config(
            ok=self.last.ok,
            in_sync=self.in_sync(on_disk),
            good_at=self._good_at,
            generation=table.generation,
            digest=table.digest,
        )
