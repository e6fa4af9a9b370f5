"""The last requests of all workers in one order, in the supervisor."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence

from gateway.server.live.recent import KEPT
from gateway.wire.json import JsonObject


class JoinedRequests:
    """Numbers the workers' requests in the order in which it hears of them, those heard together by when they ended.

    So a number that was told once is followed by all that are heard later. It asks nobody: `Together` does, and only
    while somebody looks. What a worker did not remember any more by then has numbers too, and is not told.
    """

    def __init__(self) -> None:
        self._kept: deque[JsonObject] = deque(maxlen=KEPT)
        self.last = 0
        """Number of the last request; 0 before the first."""
        self._known: dict[Hashable, int] = {}
        """Worker → its own number of the last request that was heard of."""
        self._news = asyncio.Event()

    def known(self, worker: Hashable) -> int:
        """Return the worker's own number of its last request that was heard of."""
        return self._known.get(worker, 0)

    def take(self, heard: Sequence[tuple[Hashable, int, int, Sequence[JsonObject]]]) -> None:
        """Take what workers tell: (worker, its number in rows, number of its last request, rows as `/-/requests`)."""
        rows: list[JsonObject] = []
        for worker, number, last, told in heard:
            known = self.known(worker)
            if last <= known:  # it was asked twice at once
                continue
            rows += [{**row, "worker": number} for row in told if row["n"] > known]
            self.last += last - known
            self._known[worker] = last
        rows.sort(key=lambda row: str(row["ended_at"]))
        first = self.last - len(rows) + 1
        self._kept.extend({**row, "n": place} for place, row in enumerate(rows, start=first))

    def forget(self, worker: Hashable) -> None:
        """Forget a worker that has ended. Its requests stay."""
        self._known.pop(worker, None)

    def after(self, number: int | None) -> list[JsonObject]:
        """Return the remembered requests after a number, the oldest first; all for one that no request has yet."""
        if number is None or not 0 <= number <= self.last:
            number = 0
        return [row for row in self._kept if row["n"] > number]

    async def wait(self, within_s: float) -> None:
        """Return once `wake` is called, or after this time."""
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            pass

    def wake(self) -> None:
        """Have all who wait look again."""
        self._news.set()
        self._news = asyncio.Event()
