"""An awaitable for incoming data that resumes its task at once.

A future resumes its task at the event loop's next turn. For an event of a stream that turn costs more than all work on
the event, so `Arrival` resumes the task inside the callback that brings the data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Arrival:
    """Awaited by one task, any number of times: `await arrival` returns after the next `come()` or `come_soon()`.

    It has the members of a future that asyncio's tasks use: `_asyncio_future_blocking`, `add_done_callback`, `cancel`,
    `result`, and `_loop`, which is faster than `get_loop`.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Callable[[Arrival], object] | None = None
        self._context: Context | None = None
        self._cancelled: asyncio.CancelledError | None = None

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def come(self) -> None:
        """Resume the waiting task now. Call it from a callback of the event loop, not within a task."""
        callback, self._callback = self._callback, None
        if callback is not None and self._context is not None:
            self._context.run(callback, self)

    def come_soon(self) -> None:
        """Resume the waiting task at the event loop's next turn."""
        callback, self._callback = self._callback, None
        if callback is not None:
            self._loop.call_soon(callback, self, context=self._context)

    # Called by the waiting task

    def add_done_callback(self, callback: Callable[[Arrival], object], *, context: Context | None = None) -> None:
        """Set the callback that resumes the task."""
        self._callback = callback
        self._context = context

    def cancel(self, msg: object = None) -> bool:
        """Resume the waiting task with a CancelledError, at the event loop's next turn."""
        if self._callback is None:
            return False
        self._cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self.come_soon()
        return True

    def result(self) -> None:
        """Raise the CancelledError of a `cancel()`."""
        cancelled, self._cancelled = self._cancelled, None
        if cancelled is not None:
            raise cancelled
