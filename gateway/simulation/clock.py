"""An event loop with a virtual clock: when all tasks wait, the clock jumps to the next timer.

A stall of a minute takes no real time, and timers fire in the same order on every machine. The clock stops while a
thread or a socket, which the loop does not control, is waited for.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PATIENCE_S: Final = 1.0
"""Real seconds to wait for an open socket, or when no timer is left."""

_NANOSECONDS: Final = 1_000_000_000


class Stuck(Exception):
    """All tasks wait, and no timer, thread or socket can wake them."""

    def __init__(self) -> None:
        super().__init__("it waits for something that never comes")


class _JumpingSelector(selectors.DefaultSelector):
    """Advances a virtual clock instead of waiting."""

    def __init__(self, patience_s: float) -> None:
        super().__init__()
        self._patience_s = patience_s
        # In whole nanoseconds: adding a very small float to a large one would not move the clock.
        self.now_ns = 0
        self.threads = 0
        """Number of running jobs in executors."""
        self._own_files = math.inf

    def settle(self) -> None:
        """Count the files registered so far as the loop's own, which are not waited for."""
        self._own_files = len(self.get_map())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; when nothing is, advance the clock by `timeout` seconds. Raises Stuck."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.threads:
            return super().select(None)
        if timeout is None or len(self.get_map()) > self._own_files:
            ready = super().select(self._patience_s if timeout is None else min(timeout, self._patience_s))
            if ready:
                return ready
        if timeout is None:
            raise Stuck
        self.now_ns += max(1, math.ceil(timeout * _NANOSECONDS))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose virtual clock begins at 0 seconds."""

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self._jumping = _JumpingSelector(patience_s)
        super().__init__(self._jumping)
        self._jumping.settle()

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now_ns / _NANOSECONDS

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func` in a thread; the clock stops until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """Wait in real time for the threads that still run."""
        self._jumping.threads += 1
        try:
            await super().shutdown_default_executor(*args, **options)
        finally:
            self._jumping.threads -= 1

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._jumping.threads -= 1


def run(coroutine: Coroutine[Any, Any, T], *, patience_s: float = PATIENCE_S) -> T:
    """Run a coroutine on a virtual loop of its own and return its result. Raises Stuck when it can never end."""
    with asyncio.Runner(loop_factory=partial(VirtualLoop, patience_s=patience_s)) as runner:
        return runner.run(coroutine)
