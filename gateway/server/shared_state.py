"""What this process has in common with other replicas: links to the Redis of `--state`, and what is kept over them."""

from __future__ import annotations

import asyncio
from functools import partial

from gateway.engine.cache.store import CacheStore
from gateway.engine.health import Health
from gateway.engine.makers import Makers
from gateway.policy.overlay import Tables
from gateway.server.jobs import restarting
from gateway.server.live.part import RedisSeen
from gateway.state.cache import SharedCache
from gateway.state.limits import SharedStore
from gateway.state.link import Link
from gateway.state.makers import StateMakers
from gateway.state.options import StateOptions
from gateway.state.rests import SharedRests
from gateway.telemetry.metrics import Metrics


class SharedState:
    """The parts of one gateway over its links: one for kept answers, which are large, and one for all else."""

    def __init__(self, options: StateOptions, metrics: Metrics) -> None:
        count_error = metrics.count_state_errors(lambda: self._link.is_up)
        linked = partial(
            Link, options.address, prefix=options.prefix, timeout_s=options.timeout_s, count_error=count_error
        )
        self._link, self._answers = linked(), linked(carries="kept answers", is_patient=True)
        self.limits = SharedStore(self._link, on_error=options.on_error)
        self._rests: SharedRests | None = None

    @property
    def is_ready(self) -> bool:
        """Redis has answered once, or has had its time."""
        return self._link.is_ready

    def seen(self) -> RedisSeen:
        """Return what the operators see of it."""
        return RedisSeen(str(self._link.address), self._link.is_up)

    async def settled(self) -> None:
        """Wait for that."""
        await self._link.ready.wait()

    def makers(self, here: Makers) -> StateMakers:
        """Return who made what, as all replicas know it; `here` as this one does. Call it once."""
        return StateMakers(self._link, here)

    def cache(self, here: CacheStore, *, max_bytes: int) -> SharedCache:
        """Return the home of kept answers of all replicas; `here` as this one has them."""
        return SharedCache(self._answers, here, max_bytes=max_bytes, on_late=self._link.check)

    def share_rests(self, health: Health, tables: Tables) -> None:
        """Tell other replicas of this health's rests, and have it hear of theirs."""
        self._rests = SharedRests(self._link, health, tables)

    async def run(self, begin: asyncio.Event) -> None:
        """Load the library and connect once `begin` is set; connect again until cancelled."""
        await begin.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run())
            group.create_task(self._answers.run())
            if self._rests is not None:
                group.create_task(restarting(self._rests.run))

    async def close(self) -> None:
        """Send what is still to be told."""
        await self.limits.close()
