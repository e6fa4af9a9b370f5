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
    """The model requests in flight, and whether new ones may begin."""

    def __init__(self, metrics: Metrics) -> None:
        self._calls: set[asyncio.Task[object]] = set()
        metrics.in_flight.set_function(lambda: len(self._calls))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._emptied: asyncio.Future[None] | None = None
        self.draining = False
        """True from the first stop signal on."""
        self.cut_off = False
        """True once the drain has taken too long."""

    def begin(self) -> asyncio.Task[object]:
        """Count this task's model request as in flight until `end`. Raises Draining when none may begin."""
        if self.draining:
            raise Draining
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "a request is answered in a task of its own"
        self._calls.add(task)
        return task

    def end(self, task: asyncio.Task[object]) -> None:
        """Count the task's request as answered or given up."""
        self._calls.discard(task)
        if self._emptied is not None and not self._calls and not self._emptied.done():
            self._emptied.set_result(None)

    def cut(self) -> None:
        """Cancel every model request now. Each client is told that the gateway shuts down."""
        self.cut_off = True
        for task in tuple(self._calls):
            task.cancel()

    async def drained(self) -> None:
        """Return once no model request is in flight."""
        while self._calls:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
