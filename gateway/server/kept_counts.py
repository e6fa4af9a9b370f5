"""Keeps what is used of limits per day and month in `--state-dir`, and says so where nothing does."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

import orjson

from gateway.config.kept import entry
from gateway.engine.limits.kept import Count, Counts, CountSource, current
from gateway.policy.regular_file import read_regular_file, replace_file, why
from gateway.policy.table import RoutingTable
from gateway.wire.json import Json

log = logging.getLogger(__name__)

WRITE_S: Final = 5.0
"""Seconds between two writes: what a killed process loses at most."""
MAX_BYTES: Final = 256 * 1024 * 1024
"""Limit of the file that is read."""

_VERSION: Final = 1
_LAST_S: Final = 1e11
"""Times from then on are no times: the calendar ends before."""
_AT_ONCE: Final = 1000
"""Counts that are written as text in one step, which other threads wait for."""
_BUDGETS: Final = frozenset({"day", "month"})


class _Tables(Protocol):
    @property
    def current(self) -> RoutingTable:
        """The table that serves."""


class KeptCounts:
    """The file of one config's counts. It holds names of clients, groups and providers, and no keys."""

    def __init__(self, folder: Path, config: Path, *, wall_clock: Callable[[], float] = time.time) -> None:
        """`folder` is there, and safe. Several configs may share it."""
        self.path = entry(folder, config, "counts-", ".json")
        self._wall_clock = wall_clock
        self._counts: dict[str, Count] = {}
        """All that the file holds, or will."""
        self._is_written = True
        self._has_failed = False
        # Hooks may use up the threads of the executor, and two writes never meet.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="counts")

    def read(self) -> Counts:
        """Return the counts of windows that are not over; none, and a warning in the log, for a file that is unfit."""
        try:
            data, _ = read_regular_file(self.path, limit_bytes=MAX_BYTES)
            found = current(_counts(data), self._wall_clock())
        except FileNotFoundError:
            return ()
        except OSError as exc:
            reason = why(exc)
        except ValueError as exc:
            reason = str(exc)
        else:
            self._counts = found
            return tuple(found.values())
        extra = {"file": str(self.path), "reason": reason}
        log.warning("the counts of days and months cannot be read: all begin at 0", extra=extra)
        return ()

    def write(self, changed: Counts = ()) -> None:
        """Write all counts if some have changed, or the last write failed. A failure is logged once. Blocks."""
        for count in changed:
            self._counts[count.key] = count
            self._is_written = False
        if self._is_written:
            return
        used = [count for count in self._counts.values() if count.used]
        kept = self._counts = current(used, self._wall_clock())
        reason = None
        try:
            replace_file(self.path, _text(kept), mode=0o600, durable=False)
        except OSError as exc:
            reason = why(exc)
        self._is_written = reason is None
        if reason is not None and not self._has_failed:
            extra = {"file": str(self.path), "reason": reason}
            log.error("the counts of days and months cannot be written: the file stays as it is", extra=extra)
        self._has_failed = reason is not None

    async def run(self, source: CountSource) -> None:
        """Write what changes, in a thread, until cancelled. `close` does so a last time."""
        while True:
            await asyncio.sleep(WRITE_S)
            await self._write(source)

    async def close(self, source: CountSource) -> None:
        """Write what has changed."""
        await self._write(source)
        self._thread.shutdown(wait=False)

    async def _write(self, source: CountSource) -> None:
        read = source.changes()
        await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: self.write(() if read is None else read())
        )


async def warn_of_forgotten(tables: _Tables) -> None:
    """Log once, as soon as the table has one, that limits per day or month are forgotten with the process."""
    looked_at = -1
    text: str | None = None
    while text is None:
        table = tables.current
        if table.generation == looked_at:  # a look at all targets takes longer, and their memory the processor's caches
            await asyncio.sleep(WRITE_S)
        else:
            looked_at, text = table.generation, _budget(table)
    log.warning(
        "what is used in a day or a month is forgotten when the process ends: give it --state-dir or --state",
        extra={"limit": text},
    )


def _budget(table: RoutingTable) -> str | None:
    """Return the first limit of days or months."""
    lists = [group.limits for group in table.clients.values()]
    lists += [target.endpoint.limits for target in table.targets]
    return next((limit.text for limits in lists for limit in limits if limit.per in _BUDGETS), None)


def _counts(data: bytes) -> list[Count]:
    """Return the counts of a file's text. Raises ValueError."""
    try:
        read = orjson.loads(data)
    except ValueError:
        raise ValueError("it is no JSON") from None
    if not isinstance(read, dict) or read.get("version") != _VERSION or not isinstance(read.get("counts"), list):
        raise ValueError("another version of the gateway has written it, or it is damaged")
    return list(map(_count, read["counts"]))


def _count(row: Json) -> Count:
    match row:
        case [str(key), int() | float() as begin_s, int() | float() as used]:
            if 0 <= begin_s < _LAST_S and 0 <= used < math.inf:
                return Count(key, float(begin_s), float(used))
    raise ValueError("it is damaged: a count is not a name, a time and an amount")


def _text(counts: Mapping[str, Count]) -> bytes:
    rows = list(counts.values())
    steps = range(0, len(rows), _AT_ONCE)
    parts = [b",\n".join([orjson.dumps(row) for row in map(list, rows[at : at + _AT_ONCE])]) for at in steps]
    return b'{"version":%d,"counts":[\n%s\n]}\n' % (_VERSION, b",\n".join(parts))
