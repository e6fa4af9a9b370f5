"""The table of one worker: it follows the supervisor's, and asks it for reloads."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from gateway.config.reload_report import Compile, ReloadReport
from gateway.config.saves import Looks
from gateway.config.texts import Texts
from gateway.errors import ConfigError, NotAsExpected
from gateway.policy.problem import Problem
from gateway.policy.table import RoutingTable
from gateway.server.jobs import CountedReloader, Jobs
from gateway.server.workers.distribution import COMPILED, report_of, version_of
from gateway.server.workers.member import RELOAD_S, Member
from gateway.telemetry.metrics import Metrics
from gateway.wire.json import Json, JsonObject


class FollowingReloader(CountedReloader):
    """Owns the live table of a worker. The supervisor says when it changes, and to what."""

    def __init__(self, path: Path, compiler: Compile, *, metrics: Metrics, jobs: Jobs, member: Member) -> None:
        super().__init__(path, compiler, metrics=metrics, jobs=jobs)
        self._jobs = jobs
        self._member = member
        self._prepared: dict[int, tuple[RoutingTable, Texts]] = {}
        """Number → a table that all workers may swap in next."""
        self._taken = 0
        """The number of the live table."""
        member.answers("prepare", self._prepare)
        member.answers("ready", self._ready)
        member.answers("swap", self._swap_prepared)
        member.answers("load", self._load)
        member.hears("report", self._take_report)

    def load(self) -> ReloadReport:
        """Compile the version that the supervisor serves. Raises ConfigError if that cannot be served here."""
        hello = self._member.place.hello
        problems = self._compile_version(hello)
        if hello["number"] not in self._prepared:
            raise ConfigError(problems)
        self._take(hello["number"])
        self.history.restore(hello["history"])
        self.last, self.kept_at = report_of(hello["report"]), hello["kept_at"]
        return self.last

    async def watch(self) -> None:
        """Do nothing: the supervisor watches the files."""
        await asyncio.get_running_loop().create_future()

    def reload(
        self,
        *,
        force: bool = True,
        wait: bool = True,
        dry_run: bool = False,
        complete: Looks | None = None,
        only_over: Collection[str] | None = None,
    ) -> ReloadReport:
        """Have the supervisor reload, and return what it found. Blocks; raises NotAsExpected and ChannelClosed."""
        assert complete is None, "the supervisor alone watches"
        expected: Json = None if only_over is None else sorted(only_over)
        answer = self._member.channel.ask_from_thread(
            "reload", within_s=RELOAD_S, force=force, wait=wait, dry_run=dry_run, only_over=expected
        )
        if "not_as_expected" in answer:
            raise NotAsExpected(answer["not_as_expected"], param="if-match")
        return report_of(answer["report"])

    async def _prepare(self, fields: JsonObject) -> JsonObject:
        problems = await asyncio.to_thread(self._compile_version, fields)
        is_good = fields["number"] in self._prepared
        return {"problems": [] if is_good else [asdict(problem) for problem in problems]}

    async def _ready(self, fields: JsonObject) -> JsonObject:
        """Load what a prepared table needs."""
        prepared = self._prepared.get(fields["number"])
        if prepared is not None:
            ready = asyncio.Event()
            loop = asyncio.get_running_loop()

            def tell() -> None:
                loop.call_soon_threadsafe(ready.set)

            if not self._jobs.before_swap(prepared[0], tell):
                await ready.wait()
        return {}

    async def _swap_prepared(self, fields: JsonObject) -> JsonObject:
        if fields["number"] in self._prepared:
            await asyncio.to_thread(self._take, fields["number"])  # a compile may have the lock
        return {"swapped": self._taken == fields["number"]}

    async def _load(self, fields: JsonObject) -> JsonObject:
        await self._prepare(fields)
        return await self._swap_prepared(fields)

    def _compile_version(self, fields: JsonObject) -> tuple[Problem, ...]:
        texts = Texts(self._file, str(self._path), given=version_of(fields))
        with self._lock, self._around():
            table, problems = self._compile(
                texts, self._overlay, judged=False, generation=fields["generation"], now=fields["now"]
            )
        if table is not None:
            self._prepared[fields["number"]] = table, texts
            while len(self._prepared) > COMPILED:
                del self._prepared[min(self._prepared)]
        return problems

    def _take(self, number: int) -> None:
        with self._lock:
            table, texts = self._prepared.pop(number)
            self._latest, self._taken = texts, number
            self._swap(table, texts)
        for older in [one for one in self._prepared if one < number]:
            self._prepared.pop(older, None)

    def _take_report(self, fields: JsonObject) -> None:
        report = report_of(fields["report"])
        self.last = report
        self.kept_at = None if report.ok else self.kept_at
        self.history.add(report)
