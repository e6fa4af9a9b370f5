"""Makes a new table live in all workers or in none. The supervisor's reloader calls it from the thread of a reload."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, replace
from itertools import count
from typing import Any, Final, TypeVar

from gateway.config.compiler.compiler import Compiled
from gateway.config.include import Include, Included
from gateway.config.kept import Kept
from gateway.config.reload_report import Compile, ReloadReport
from gateway.policy.overlay import NO_OVERLAY, Overlay
from gateway.policy.problem import Problem
from gateway.policy.table import RoutingTable
from gateway.server.workers.channel import ChannelClosed
from gateway.server.workers.together import GATHER_S, PREPARE_S, READY_S, SWAP_S, Member, Together
from gateway.wire.json import JsonObject

log = logging.getLogger(__name__)

COMPILED: Final = 16
"""Number of tables whose files are kept until one of them goes live."""

_T = TypeVar("_T")


class Distribution:
    """Compiles for all. It is the reloader's compiler, and what it asks before and after a swap."""

    def __init__(self, compiler: Compile, together: Together) -> None:
        self._compiler = compiler
        self._together = together
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = count(1)
        self._compiled: deque[tuple[RoutingTable, JsonObject]] = deque(maxlen=COMPILED)
        """The last tables with their files: one may go live after another was compiled, for a dry run."""
        self.live: JsonObject = {}
        """The files of the live table, with its generation, time and number: the fields of `prepare` and `load`."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask the workers from now on, on this loop."""
        self._loop = loop

    def compile(
        self,
        data: bytes,
        *,
        source: str,
        include: Include | None = None,
        overlay: Overlay = NO_OVERLAY,
        generation: int = 1,
        now: float = 0.0,
    ) -> Compiled:
        """Compile here; if that gives a table, in all workers too. Their problems are problems of the file."""
        included = Included()

        def noted(patterns: Sequence[str]) -> Included:
            nonlocal included
            assert include is not None, "only asked where it is given"
            included = include(patterns)
            return included

        compiled = self._compiler.compile(
            data,
            source=source,
            include=None if include is None else noted,
            overlay=overlay,
            generation=generation,
            now=now,
        )
        if compiled.table is None:
            return compiled
        number = next(self._numbers)
        fields: JsonObject = {"number": number, "generation": generation, "now": now, **_files(data, included)}
        self._compiled.append((compiled.table, fields))
        if self._loop is None:
            return compiled
        members, answers = self._wait(self._prepare(fields), within_s=PREPARE_S)
        refused = next((answer["problems"] for answer in answers.values() if answer["problems"]), None)
        if refused is not None:
            return replace(compiled, table=None, found=tuple([Problem(**each) for each in refused]))
        if len(answers) < members:
            message = "a worker ended, or did not answer, while it compiled this; the log has more"
            fault = Problem(line=0, column=0, code="internal-error", path="", message=message, source=source)
            return replace(compiled, table=None, found=(fault,))
        return compiled

    async def _prepare(self, fields: JsonObject) -> tuple[int, dict[Member, JsonObject]]:
        """Return the number of workers, and the answers of those that gave one."""
        members = len(self._together.members)
        return members, await self._together.ask_all("prepare", within_s=PREPARE_S, **fields)

    def _fields(self, table: RoutingTable) -> JsonObject:
        return next(fields for one, fields in self._compiled if one is table)

    def before_swap(self, table: RoutingTable, ready: Callable[[], None]) -> bool:
        """Have all workers load what the table needs, and call `ready` then; from a reload's thread."""
        if self._loop is None:
            return True
        asyncio.run_coroutine_threadsafe(self._ready_soon(self._fields(table)["number"], ready), self._loop)
        return False

    async def _ready_soon(self, number: int, ready: Callable[[], None]) -> None:
        await self._together.ask_all("ready", within_s=READY_S, number=number)
        await asyncio.to_thread(ready)

    def swapped(self, table: RoutingTable) -> None:
        """Have all workers swap, and wait until they have."""
        self.live = self._fields(table)
        if self._loop is not None:
            self._wait(self._swap(self.live["number"]), within_s=SWAP_S + PREPARE_S)

    async def _swap(self, number: int) -> None:
        answers = await self._together.ask_all("swap", within_s=SWAP_S, number=number)
        for member, answer in answers.items():
            if not answer["swapped"]:  # it was started between the first question and this one
                try:
                    await member.channel.ask("load", within_s=PREPARE_S, **self.live)
                except ChannelClosed:
                    log.warning("a worker did not take the new table", extra={"worker": member.number})

    def reported(self, report: ReloadReport) -> None:
        """Tell all workers of a reload's result."""
        if self._loop is not None:
            fields = asdict(report)
            self._loop.call_soon_threadsafe(lambda: self._together.tell_all("report", report=fields))

    def _wait(self, what: Coroutine[Any, Any, _T], *, within_s: float) -> _T:
        """Return what the workers answer. Raises TimeoutError a little later, where the loop has ended meanwhile."""
        assert self._loop is not None, "there are no workers yet"
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(within_s + GATHER_S)


def _files(main: bytes, included: Included) -> JsonObject:
    return {
        "main": base64.b64encode(main).decode(),
        "included": {file.name: base64.b64encode(file.data).decode() for file in included.files},
    }


def version_of(fields: JsonObject) -> Kept:
    """Return the files of a table, as `prepare` and `load` bring them."""
    included = {name: base64.b64decode(data) for name, data in fields["included"].items()}
    return Kept(main=base64.b64decode(fields["main"]), included=included, accepted_at=fields["now"])


def report_of(fields: JsonObject) -> ReloadReport:
    """Return a reload's result, as `report` and `hello` bring it."""
    problems = tuple([Problem(**problem) for problem in fields["problems"]])
    return ReloadReport(**{**fields, "problems": problems, "changes": tuple(fields["changes"])})
