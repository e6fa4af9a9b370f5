"""Counts the requests in flight, refuses what is too many, and drains them at the end."""

from __future__ import annotations

import asyncio

from gateway.errors import GatewayError
from gateway.telemetry.metrics import Metrics


class Draining(GatewayError):
    """The gateway is shutting down and accepts no new request. The connection ends with this answer."""

    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down")
        self.retry_after_s = 1.0


class TooManyRequests(GatewayError):
    """As many model requests are in flight as the server may have."""

    status = 503
    code = "too_many_requests"

    def __init__(self) -> None:
        super().__init__("too many requests are in flight: this gateway's --max-in-flight is reached")
        self.retry_after_s = 1.0


class Lifecycle:
    """The model requests in flight, and whether new ones may begin."""

    def __init__(self, metrics: Metrics, *, max_in_flight: int | None = None) -> None:
        self._max_in_flight = max_in_flight
        self._may_refuse = max_in_flight is not None
        """Without it nothing is checked when a request begins."""
        self._calls: set[asyncio.Task[object]] = set()
        metrics.in_flight.set_function(lambda: len(self._calls))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._emptied: asyncio.Future[None] | None = None
        self.stopping = False
        """True after the first stop signal: the process is not ready, but may serve for some time."""
        self._is_draining = False
        self.cut_off = False
        """True once the drain's time is over."""

    @property
    def draining(self) -> bool:
        """New requests are refused."""
        return self._is_draining

    @draining.setter
    def draining(self, is_draining: bool) -> None:
        self._is_draining = is_draining
        self._may_refuse = is_draining or self._max_in_flight is not None

    @property
    def in_flight(self) -> int:
        """Number of model requests being answered."""
        return len(self._calls)

    def begin(self) -> asyncio.Task[object]:
        """Count this task's model request as in flight until `end`. Raises Draining and TooManyRequests."""
        if self._may_refuse:
            self._check()
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "a request is answered in a task of its own"
        self._calls.add(task)
        return task

    def _check(self) -> None:
        if self._is_draining:
            raise Draining
        if self._max_in_flight is not None and len(self._calls) >= self._max_in_flight:
            raise TooManyRequests

    def end(self, task: asyncio.Task[object]) -> None:
        """Count the task's request as finished."""
        self._calls.discard(task)
        if self._emptied is not None and not self._calls and not self._emptied.done():
            self._emptied.set_result(None)

    def cut(self) -> None:
        """Cancel every model request. Each client gets Draining."""
        self.cut_off = True
        for task in tuple(self._calls):
            task.cancel()

    async def drained(self) -> None:
        """Return once no model request is in flight."""
        while self._calls:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
