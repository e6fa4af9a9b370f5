"""Requests in flight, and the drain."""

from __future__ import annotations

import asyncio

from gateway.errors import GatewayError
from gateway.telemetry.metrics import Metrics


class Draining(GatewayError):
    """The gateway is shutting down and begins nothing new. The connection ends with this answer."""

    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down")
        self.headers = {"retry-after": "1"}


class Lifecycle:
    """How many model requests are being answered, and whether new ones may begin."""

    def __init__(self, metrics: Metrics) -> None:
        self._calls: set[asyncio.Task[object]] = set()
        metrics.in_flight.set_function(lambda: len(self._calls))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._emptied: asyncio.Future[None] | None = None
        self.draining = False
        """Set once, when the process was asked to stop."""
        self.cut_off = False
        """Set once, when the drain has taken too long."""

    def begin(self) -> asyncio.Task[object]:
        """Hold the process up until this task's model request has its `end`. Raises Draining when none may begin."""
        if self.draining:
            raise Draining
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "a request is answered in a task of its own"
        self._calls.add(task)
        return task

    def end(self, task: asyncio.Task[object]) -> None:
        """The request is answered, or nobody waits for its answer."""
        self._calls.discard(task)
        if self._emptied is not None and not self._calls and not self._emptied.done():
            self._emptied.set_result(None)

    def cut(self) -> None:
        """End every model request now. Each client is told that it was the gateway that ended it."""
        self.cut_off = True
        for task in tuple(self._calls):
            task.cancel()

    async def drained(self) -> None:
        """Return once no model request is being answered."""
        while self._calls:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
