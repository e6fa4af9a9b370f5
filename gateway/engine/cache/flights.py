"""Equal plain requests in flight: those that come later wait for the answer of the first."""

from __future__ import annotations

import asyncio
from enum import Enum
from types import TracebackType
from typing import Final, TypeAlias

from gateway.engine.cache.store import Entry


class NoAnswer(Enum):
    """Why those who wait get no answer from the request that they wait for."""

    LEFT = "left"
    """Its client left, or it was refused before a call: one of them leads on."""
    FAILED = "failed"
    """The chain failed, or its answer is not for others: each asks for itself."""


Landing: TypeAlias = Entry | NoAnswer

MAX_WAITING: Final = 10_000
"""Requests that wait for one; others ask for themselves."""


class Flight:
    """The request that others wait for. A context manager around its call, after which nobody waits for it."""

    __slots__ = ("_future", "_key", "_of", "landing", "waiting")

    def __init__(self, of: Flights, key: bytes) -> None:
        self._of = of
        self._key = key
        self._future: asyncio.Future[Landing] = asyncio.get_running_loop().create_future()
        self.landing: Landing = NoAnswer.LEFT
        """What those who wait get at the end."""
        self.waiting = 0

    def __enter__(self) -> Flight:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._of.end(self._key)
        self._future.set_result(self.landing)

    async def wait(self, *, until_s: float) -> Landing:
        """Wait for the end, on the loop's clock at most until then: FAILED."""
        self.waiting += 1
        try:
            # Not the future itself: who leaves while waiting for it would cancel it for all.
            await asyncio.wait((self._future,), timeout=until_s - asyncio.get_running_loop().time())
        finally:
            self.waiting -= 1
        return self._future.result() if self._future.done() else NoAnswer.FAILED


class Flights:
    """The requests in flight that others may wait for, by key. One event loop."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def find(self, key: bytes) -> Flight | None:
        """Return the flight to wait for, if there is one."""
        return self._flights.get(key)

    def begin(self, key: bytes) -> Flight:
        """Return a flight that others may wait for from now on. There is none of this key."""
        flight = self._flights[key] = Flight(self, key)
        return flight

    def end(self, key: bytes) -> None:
        """Have nobody wait for a flight from now on."""
        del self._flights[key]
