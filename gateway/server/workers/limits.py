"""Limits that workers count together: their supervisor makes the memory, gives the seats and keeps counts on disk."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.shared_memory import NotSharedError, Seat, SharedCounts, SharedMemory
from gateway.engine.limits.workers import WorkersStore
from gateway.server.jobs import CountedReloader, restarting
from gateway.server.kept_counts import KeptCounts, warn_of_forgotten
from gateway.server.workers.member import Member
from gateway.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class CommonLimits:
    """The supervisor's side."""

    def __init__(
        self, workers: int, reloader: CountedReloader, kept: KeptCounts | None, *, elsewhere: bool = False
    ) -> None:
        """`elsewhere`: limits are counted in Redis, and nothing is to be done."""
        self._elsewhere = elsewhere
        self._reloader = reloader
        self._kept = kept
        self._waiting: set[asyncio.Task[None]] = set()
        self._memory: SharedMemory | None = None
        if elsewhere:
            return
        try:
            self._memory = SharedMemory.make(workers)
        except NotSharedError as exc:
            log.warning("each worker counts limits for itself: no memory in common", extra={"reason": str(exc)})
            return
        lost = 0 if kept is None else self._memory.restore(kept.read())
        if lost:
            log.warning("counts of days and months begin at 0: there are too many", extra={"buckets": lost})
        self._counts = SharedCounts(self._memory)

    async def run(self) -> None:
        """Keep counts of days and months, or tell that nobody does, until cancelled."""
        if self._elsewhere:
            return
        if self._kept is None or self._memory is None:
            await warn_of_forgotten(self._reloader)
        else:
            await restarting(partial(self._kept.run, self._counts))

    async def close(self) -> None:
        """Keep what was counted last. All workers have ended."""
        if self._kept is not None and self._memory is not None:
            await self._kept.close(self._counts)

    def take_seat(self) -> tuple[int, Seat] | None:
        """Return the descriptor of the memory and a seat for a new worker; None if it has to count alone."""
        if self._memory is None:
            return None
        seat = self._memory.take_seat()
        if seat is None:
            log.warning("a new worker counts limits for itself: too many others have not ended yet")
            return None
        return self._memory.descriptor, seat

    def leave(self, taken: tuple[int, Seat] | None) -> None:
        """Free the seat of a worker that has ended, and what it had reserved."""
        if taken is not None and self._memory is not None:
            self._memory.leave(taken[1])

    def leave_after(self, process: asyncio.subprocess.Process, taken: tuple[int, Seat] | None) -> None:
        """Do so once it has."""

        async def leave() -> None:
            await process.wait()
            self.leave(taken)

        waiting = asyncio.get_running_loop().create_task(leave())
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)


def workers_store(member: Member, metrics: Metrics) -> MemoryStore | WorkersStore:
    """Return a worker's store: in the memory of all if it has a seat there."""
    if member.place.limits is None:
        return MemoryStore()
    try:
        store = WorkersStore(SharedMemory(*member.place.limits))
    except NotSharedError as exc:
        log.warning("this worker counts limits for itself: no memory in common", extra={"reason": str(exc)})
        return MemoryStore()
    text = "Buckets of limits that a worker counts for itself, as those that workers fill together are full."
    metrics.show("gateway_limits_counted_alone", text, lambda: store.alone)
    return store
