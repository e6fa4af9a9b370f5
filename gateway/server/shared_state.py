"""What this process has in common with other replicas: one link to the Redis of `--state`, and what is kept over it."""

from __future__ import annotations

import asyncio

from gateway.state.limits import SharedStore
from gateway.state.link import Link
from gateway.state.options import StateOptions
from gateway.telemetry.metrics import Metrics


class SharedState:
    """The parts of one gateway over one link."""

    def __init__(self, options: StateOptions, metrics: Metrics) -> None:
        count_error = metrics.count_state_errors(lambda: self._link.is_up)
        self._link = Link(options.address, prefix=options.prefix, timeout_s=options.timeout_s, count_error=count_error)
        self.limits = SharedStore(self._link, on_error=options.on_error)

    @property
    def is_ready(self) -> bool:
        """Redis has answered once, or has had its time."""
        return self._link.is_ready

    async def run(self, begin: asyncio.Event) -> None:
        """Load the library and connect once `begin` is set; connect again until cancelled."""
        await begin.wait()
        await self._link.run()

    async def close(self) -> None:
        """Send what is still to be told."""
        await self.limits.close()
