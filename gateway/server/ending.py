"""Ends the process in time after a stop signal, whatever still runs: stubborn hooks, a blocked event loop, threads."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from gateway.engine.hooks import running_hooks

log = logging.getLogger(__name__)

MARGIN_S: Final = 3.0
"""Seconds after the drain until a process that has not ended by itself is ended. An orderly end takes one or two."""
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_LOG_S: Final = 1.0
"""Seconds for the last log line."""


class Ending:
    """Hears of stop signals in a thread, since a hook may block the event loop, and ends the process if needed."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._signals: SimpleQueue[None] = SimpleQueue()  # the one queue that a signal handler may use
        self._exit_code = 1
        self._heard = self._told = 0
        self._callback: Callable[[], object] = lambda: None
        threading.Thread(target=self._watch, name="ending", daemon=True).start()

    @property
    def heard(self) -> int:
        """Number of stop signals so far.

        One to a whole group or cgroup reaches a worker and its supervisor, which tells it: it counts once.
        """
        return max(self._heard, self._told)

    def at_signals(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Have `callback` called by the loop at each stop signal, and after `told`. Call it in the main thread."""
        self._callback = callback
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, callback)
            # Replaces the loop's empty handler; the loop reads signals from a pipe that the interpreter writes.
            signal.signal(number, lambda *_: self.begin(self._exit_code))

    def at_second(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Have `callback` called by the loop at the second stop signal; now, if that is heard."""

        def look() -> None:
            if self.heard > 1:
                callback()

        self.at_signals(loop, look)
        look()

    def begin(self, exit_code: int = 1) -> None:
        """Do as if a stop signal had come: the first one begins the drain's time. May be called in any thread.

        A process that does not end by itself is ended with `exit_code`.
        """
        self._exit_code = exit_code
        self._heard += 1
        self._signals.put(None)

    def told(self, *, again: bool) -> None:
        """Note the first stop signal that the supervisor has got, or its second one. Call it in the loop."""
        self._told = 2 if again else max(1, self._told)
        self._signals.put(None)
        self._callback()

    def begin_time(self) -> None:
        """Begin the drain's time without a stop signal."""
        self._signals.put(None)

    def ignore_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let stop signals end the process at once again."""
        self._callback = lambda: None
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)

    def _watch(self) -> None:
        self._signals.get()
        ends_at = time.monotonic() + self._drain_s + MARGIN_S
        while (left_s := ends_at - time.monotonic()) > 0:
            try:
                self._signals.get(timeout=left_s)
            except Empty:
                break
            if self.heard > 1:  # a second signal ends the drain
                ends_at = min(ends_at, time.monotonic() + MARGIN_S)
        # In a thread of its own: what is stuck may hold the log's lock.
        writing = threading.Thread(target=_log_end, daemon=True)
        writing.start()
        writing.join(_LOG_S)
        os._exit(self._exit_code)


def _log_end() -> None:
    log.error("the process is ended: something in it does not end", extra={"hooks": running_hooks()})
