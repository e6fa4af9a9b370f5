"""The last requests in memory, each with its attempts and a serial number; and waiting for the next one.

Kept of a request is what its log line tells. There is no prompt, no answer and no key in it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Final

from gateway.telemetry.logs import timestamp
from gateway.telemetry.observer import Ended, EndedRow, Listener
from gateway.telemetry.report import Attempt
from gateway.wire.json import JsonObject

KEPT: Final = 200
"""Number of requests that are remembered."""
MAX_WAITING: Final = 64
"""Clients that may wait for the next request at once; others are answered at once."""


class Recent:
    """The last KEPT requests. For the event loop only."""

    def __init__(self) -> None:
        self._kept: deque[EndedRow] = deque(maxlen=KEPT)
        self.keep: Listener = self._kept.extend
        """Remembers finished requests. No function of ours: each request passes here, whether anybody looks or not."""
        self.last = 0
        """Serial number of the last request; 0 before the first. Those that nobody saw have none."""
        self._newest: EndedRow | None = None
        """The last request that has a number, while they are not counted."""
        self.waiting: set[asyncio.Future[None]] = set()
        """Those who wait for the next request."""

    def begin(self) -> None:
        """Number the remembered requests. From now on `hear` is told of all that `keep` is told of, after it."""
        self.last += sum(1 for _ in takewhile(lambda one: one is not self._newest, reversed(self._kept)))

    def end(self) -> None:
        """Number no more requests until `begin`."""
        self._newest = self._kept[-1] if self._kept else None

    def hear(self, ended: Sequence[EndedRow]) -> None:
        """Number finished requests, and wake those who wait."""
        self.last += len(ended)
        if self.waiting:
            self._wake()

    def after(self, number: int) -> list[tuple[int, Ended]]:
        """Return the remembered requests after serial number `number` with their own, the oldest first.

        A number that no request has yet is of another process: then all are returned.
        """
        first = self.last - len(self._kept) + 1
        if not 0 <= number <= self.last:
            number = 0
        begin = max(first, number + 1)
        return [(each, Ended(*one)) for each, one in enumerate(islice(self._kept, begin - first, None), start=begin)]

    async def wait(self, number: int, *, within_s: float) -> None:
        """Return once there is a request after `number`, or this time has passed, or too many wait already."""
        if number != self.last or len(self.waiting) >= MAX_WAITING:
            return
        waiting = self.alarm()
        try:
            async with asyncio.timeout(within_s):
                await waiting
        except TimeoutError:
            pass
        finally:
            self.waiting.discard(waiting)

    def alarm(self) -> asyncio.Future[None]:
        """Return a future that is done once there is another request; for one who has looked."""
        alarm = asyncio.get_running_loop().create_future()
        self.waiting.add(alarm)
        return alarm

    def _wake(self) -> None:
        waiting, self.waiting = self.waiting, set()
        for each in waiting:
            if not each.done():
                each.set_result(None)


def as_json(number: int, one: Ended) -> JsonObject:
    """Return a request as `/-/requests` shows it. Times of attempts are from the request's arrival."""
    report = one.report
    line: JsonObject = {
        "n": number,
        "at": timestamp(one.ended_at - one.seconds),
        "ended_at": timestamp(one.ended_at),
        "request_id": report.request_id,
        "operation": one.operation,
        "alias": report.alias or None,
        "target": report.target.name if report.target else None,
        "status": one.status,
        "ms": round(one.seconds * 10_000) / 10,
        "first_content_ms": None if report.first_content_s is None else round(report.first_content_s * 10_000) / 10,
        "stream": one.stream,
        "broken": one.is_broken,
        "client": one.client,
        "error": one.error,
        "tokens": None if report.tokens is None else dict(report.tokens),
        "generation": report.generation or None,
        "attempts": [_attempt(attempt) for attempt in report.attempts],
    }
    if report.limits is not None and report.limits.limited is not None:
        line["limited"] = report.limits.limited
    if report.cache is not None:
        line["cache"] = report.cache
    if report.calling is not None:
        line["calling"] = report.calling.name
    if one.asked is not None:
        line["method"], line["path"] = one.asked
    return line


def _attempt(attempt: Attempt) -> JsonObject:
    return {**attempt.logged(), "start_ms": round(attempt.start_ms * 10) / 10, "called": attempt.was_called}
