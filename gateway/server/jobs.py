"""Background jobs: watching the file, loading adapters, reloading at a signal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from gateway.adapters.base import Adapters
from gateway.concurrency.pacing import no_full_collection, short_pauses
from gateway.config.compiler.compiler import Compiler
from gateway.config.reload import Reloader, ReloadReport
from gateway.policy.table import RoutingTable
from gateway.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
"""Seconds before a failed background job starts again."""


class Jobs:
    """Runs the background jobs."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._swapped = asyncio.Event()
        self._reload_requested = asyncio.Event()

    def swapped(self, _: RoutingTable) -> None:
        """Note that another table is live. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._swapped.set)

    def ask_reload(self) -> None:
        """Reload the file soon, whether it changed or not."""
        self._reload_requested.set()

    async def run(self, reloader: Reloader, adapters: Adapters) -> None:
        """Run all jobs until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_restarting(reloader.watch))
                group.create_task(self._prepare(reloader, adapters))
                group.create_task(self._reload_at_signal(reloader))
        finally:
            self._loop = None

    async def _prepare(self, reloader: Reloader, adapters: Adapters) -> None:
        """Prepare the adapters of the live table's targets, so that the first request need not wait."""
        while True:
            self._swapped.clear()
            for name in sorted({target.endpoint.adapter for target in reloader.current.targets}):
                try:
                    await adapters[name].prepare()
                except Exception:
                    log.exception("an adapter could not be made ready", extra={"adapter": name})
            await self._swapped.wait()

    async def _reload_at_signal(self, reloader: Reloader) -> None:
        while True:
            await self._reload_requested.wait()
            self._reload_requested.clear()
            report = await asyncio.to_thread(reloader.reload)
            log.info("reloaded at a signal", extra={"ok": report.ok, "generation": report.generation})


async def _restarting(job: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await job()
        except Exception:
            log.exception("a background job failed and begins again")
        await asyncio.sleep(AGAIN_S)


class CountedReloader(Reloader):
    """A reloader that counts its reloads in the metrics."""

    def __init__(
        self, path: Path, compiler: Compiler, *, metrics: Metrics, on_swap: Callable[[RoutingTable], None]
    ) -> None:
        super().__init__(path, compiler, on_swap=on_swap, around=short_pauses)
        self._metrics = metrics
        self._good_at = 0.0

    def load(self) -> ReloadReport:
        with no_full_collection():
            report = super().load()
        self._good_at = report.at
        return report

    def reload(self, *, force: bool = True, dry_run: bool = False) -> ReloadReport:
        before = self.last
        report = super().reload(force=force, dry_run=dry_run)
        if not dry_run and report is not before:
            self._metrics.count_reload(ok=report.ok)
            if report.ok:
                self._good_at = report.at
        return report

    def show(self) -> None:
        """Update the metrics about the config file."""
        table, last = self.current, self.last
        self._metrics.show_config(ok=last.ok, good_at=self._good_at, generation=table.generation, digest=table.digest)
