"""Deadlines for blocks of code, like `asyncio.timeout_at`, with one timer for each event loop.

    with until(deadline_s):                                    # a point on the event loop's clock
        answer = await something()                             # TimeoutError once it has passed

`asyncio.timeout_at` starts and stops a timer for each block, which on uvloop takes longer than the rest of the engine's
work for a request. Here each deadline is an entry of a heap, and one timer waits for the earliest.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from types import TracebackType
from typing import Final

SLACK: Final = 64
"""Entries of finished limits that may stay in the heap, beyond as many as were running, before it is rebuilt."""
_RUNG: Final = 64
"""Entries that one turn of the event loop takes from the heap: each takes about 1 µs, and many may be due at once."""


class Limit:
    """A block of code and its deadline."""

    __slots__ = ("_alarm", "_cancelling", "_raises", "_task", "deadline_s", "expired", "rings_at_s")

    _cancelling: int

    def __init__(self, alarm: _Alarm, deadline_s: float, raises: Callable[[], Exception]) -> None:
        self._alarm = alarm
        self.deadline_s = deadline_s
        self._raises = raises
        self._task: asyncio.Task[object] | None = None
        self.rings_at_s = math.inf
        """Deadline of this limit's earliest heap entry; inf if it has none. Entries for later are not pushed."""
        self.expired = False
        """The deadline has passed and the block was cancelled."""

    def again(self, deadline_s: float) -> Limit:
        """Return this limit with a new deadline, for another block after the last: cheaper than a new limit."""
        self.deadline_s = deadline_s
        self.expired = False
        return self

    def resume(self, deadline_s: float) -> None:
        """Set the deadline of this task's next wait: cheaper than a block for each. Set `deadline_s` to inf after it.

        Call `leave` at the end, with the error if the wait raised one.
        """
        self.deadline_s = deadline_s
        task = self._task
        if task is None or task is not asyncio.current_task(self._alarm.loop):
            self.leave()
            self.expired = False
            self.__enter__()
        elif deadline_s < self.rings_at_s:
            self._alarm.push(deadline_s, self)

    def leave(self, error: BaseException | None = None) -> None:
        """End the limit. Raises its own error instead of the `error` of a wait that exceeded the deadline."""
        if self._task is not None:
            self.__exit__(None if error is None else type(error), error, None)

    def __enter__(self) -> Limit:
        alarm = self._alarm
        task = self._task = asyncio.current_task(alarm.loop)
        assert task is not None, "only a task can be cancelled"
        self._cancelling = task.cancelling()
        if self.deadline_s < self.rings_at_s:
            alarm.push(self.deadline_s, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self.expired and task is not None:
            outer = task.uncancel() > self._cancelling
            if kind is None:
                return
            if issubclass(kind, TimeoutError) or (issubclass(kind, asyncio.CancelledError) and not outer):
                raise self._raises() from error

    @property
    def is_over(self) -> bool:
        """The block has ended or is being cancelled."""
        return self._task is None or self.expired

    def ring(self, now_s: float) -> float | None:
        """Cancel the block if its deadline has passed; return the deadline if it is later, None if none is left."""
        self.rings_at_s = math.inf
        if self.is_over:
            return None
        if self.deadline_s > now_s:
            return self.deadline_s if self.deadline_s < math.inf else None
        self.expired = True
        assert self._task is not None, "it is not over"
        self._task.cancel()
        return None


class _Alarm:
    """The timer of one event loop and the heap of its limits, earliest first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.heap: list[tuple[float, int, Limit]] = []
        """(deadline, serial number, limit). Finished limits are removed when due, or when there are too many."""
        self._most = SLACK
        """Number of entries from which on those of finished limits are removed."""
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._rings_at_s = math.inf

    def push(self, deadline_s: float, limit: Limit) -> None:
        """Add a heap entry for `limit`."""
        if len(self.heap) >= self._most:
            self.tidy()
        self._count += 1
        limit.rings_at_s = deadline_s
        heappush(self.heap, (deadline_s, self._count, limit))
        if deadline_s < self._rings_at_s:
            self._set(deadline_s)

    def tidy(self) -> None:
        """Remove the entries of finished limits."""
        running = []
        for entry in self.heap:
            if entry[2].is_over:
                entry[2].rings_at_s = math.inf
            else:
                running.append(entry)
        self.heap[:] = running
        heapify(self.heap)
        self._most = 2 * len(running) + SLACK

    def _set(self, at_s: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._rings_at_s = at_s
        self._handle = self.loop.call_at(at_s, self._ring)

    def _ring(self) -> None:
        """Ring the limits that are due, some at a time; set the timer for the next one that is not over."""
        self._handle = None
        self._rings_at_s = math.inf
        now_s = self.loop.time()
        heap = self.heap
        for _ in range(_RUNG):
            if not heap or not (heap[0][2].is_over or heap[0][0] <= now_s):
                break
            limit = heappop(heap)[2]
            again_s = limit.ring(now_s)
            if again_s is not None:
                self.push(again_s, limit)
        if heap and heap[0][0] < self._rings_at_s:
            self._set(heap[0][0])


_alarms: Final[dict[asyncio.AbstractEventLoop, _Alarm]] = {}


def until(
    deadline_s: float, loop: asyncio.AbstractEventLoop | None = None, raises: Callable[[], Exception] = TimeoutError
) -> Limit:
    """Return a context manager that cancels its block at a point on the event loop's clock and raises `raises()`.

    `loop` is the running loop; pass it where it is known: looking it up is a system call before Python 3.12.
    """
    if loop is None:
        loop = asyncio.get_running_loop()
    alarm = _alarms.get(loop)
    if alarm is None:
        for known in list(_alarms):  # simulations run loops in other threads
            if known.is_closed():
                _alarms.pop(known, None)
        alarm = _alarms[loop] = _Alarm(loop)
    return Limit(alarm, deadline_s, raises)
