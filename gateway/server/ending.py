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
        self.heard = 0
        """Number of stop signals so far."""
        threading.Thread(target=self._watch, name="ending", daemon=True).start()

    def at_signals(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Have `callback` called by the loop at each stop signal. Call it in the main thread."""
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, callback)
            # Replaces the loop's empty handler; the loop reads signals from a pipe that the interpreter writes.
            signal.signal(number, lambda *_: self.begin(self._exit_code))

    def begin(self, exit_code: int = 1) -> None:
        """Do as if a stop signal had come: the first one begins the drain's time. May be called in any thread.

        A process that does not end by itself is ended with `exit_code`.
        """
        self._exit_code = exit_code
        self.heard += 1
        self._signals.put(None)

    def ignore_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let stop signals end the process at once again."""
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
            ends_at = min(ends_at, time.monotonic() + MARGIN_S)  # a second signal ends the drain
        # In a thread of its own: what is stuck may hold the log's lock.
        writing = threading.Thread(target=_log_end, daemon=True)
        writing.start()
        writing.join(_LOG_S)
        os._exit(self._exit_code)


def _log_end() -> None:
    log.error("the process is ended: something in it does not end", extra={"hooks": running_hooks()})
