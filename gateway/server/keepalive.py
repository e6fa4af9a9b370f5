"""Comments for the client of a stream that has sent nothing for a while, so that nothing on the way cuts it off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.server.response import ResponseWriter


class Keepalive:
    """Sends a comment after each `every_s` seconds without data. The first may bring the head, and so the status."""

    def __init__(
        self, response: ResponseWriter, comment: bytes, *, every_s: float, begin: Callable[[], object]
    ) -> None:
        """`begin` composes the head of the stream."""
        self._response = response
        self._comment = comment
        self._every_s = every_s
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._sent_s = self._loop.time()
        self._timer = self._loop.call_later(every_s, self._tick)

    def push(self, data: bytes) -> bool:
        """Write as the response does, and begin to count anew."""
        self._sent_s = self._loop.time()
        return self._response.push(data)

    def stop(self) -> None:
        """Send no more comments."""
        self._timer.cancel()

    def _tick(self) -> None:
        now_s = self._loop.time()
        if now_s >= self._sent_s + self._every_s:
            self._sent_s = now_s
            if not self._response.begun:
                self._begin()
            self._response.push_if_idle(self._comment)
        self._timer = self._loop.call_at(self._sent_s + self._every_s, self._tick)
