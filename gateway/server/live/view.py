"""What operators are shown: of this process, or of all workers, which `workers/viewing.py` asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from gateway.engine.cache.memory import MemoryAnswers
from gateway.engine.health import Health
from gateway.engine.limits.store import Store
from gateway.policy.overlay import Tables
from gateway.server.jobs import Jobs
from gateway.server.lifecycle import Lifecycle
from gateway.server.live.fills import ServedLimits, fullest
from gateway.server.live.part import NOTHING_KEPT, KeptAnswers, Part, RedisSeen
from gateway.server.live.recent import as_json
from gateway.server.live.watching import Watching
from gateway.wire.json import Json, JsonObject


class Requests(NamedTuple):
    """Some of the last requests."""

    process: str
    """Whose serial numbers they have."""
    last: int
    """Serial number of the last request of all."""
    rows: list[JsonObject]
    """As `/-/requests` shows them, the oldest first."""


class Whole(NamedTuple):
    """All processes at one moment."""

    process: str
    """Names them: serial numbers of requests are theirs."""
    started_at: float
    last: int
    """Serial number of the last request."""
    part: Part
    """The sum."""
    workers: list[JsonObject] | None
    """Each of several processes; None for one alone."""


class View(Protocol):
    """Whoever calls one of these looks: from then on there are counts."""

    async def version(self) -> Json:
        """Return what changes whenever one of the others may tell something new."""
        ...

    async def whole(self) -> Whole:
        """Return what has been counted."""
        ...

    async def requests(self, after: int | None, *, within_s: float = 0.0) -> Requests:
        """Return the remembered requests after a serial number; wait for one this long, if there is none.

        None, and a number that no request has yet, returns all that are remembered.
        """
        ...


class OwnView:
    """The view of this process. For the event loop only."""

    def __init__(
        self,
        *,
        watching: Watching,
        health: Health,
        lifecycle: Lifecycle,
        jobs: Jobs,
        store: Store,
        tables: Tables,
        answers: MemoryAnswers | None = None,
        redis: Callable[[], RedisSeen | None] = lambda: None,
        worker: int | None = None,
    ) -> None:
        self.watching = watching
        self._health = health
        self._lifecycle = lifecycle
        self._jobs = jobs
        self._store = store
        self._tables = tables
        self._limits: ServedLimits | None = None
        self._answers = answers
        self._redis = redis
        self._worker = worker

    async def version(self) -> Json:
        self.watching.look()
        recent, lifecycle, redis = self.watching.recent, self._lifecycle, self._redis()
        return [
            self.watching.process,
            recent.last,
            lifecycle.in_flight,
            len(self._health.at_rest),
            self._is_draining,
            list(self._jobs.waiting_for),
            None if redis is None else redis.is_up,
        ]

    async def whole(self) -> Whole:
        watching, part = self.watching, await self.part()
        return Whole(watching.process, watching.started_at, part.requests, part, None)

    async def requests(self, after: int | None, *, within_s: float = 0.0) -> Requests:
        watching, recent = self.watching, self.watching.recent
        watching.look()
        if within_s and after is not None:
            await recent.wait(after, within_s=within_s)
        return Requests(watching.process, recent.last, self.rows(after))

    def rows(self, after: int | None) -> list[JsonObject]:
        """Return the requests after a serial number of this process."""
        return [as_json(number, one) for number, one in self.watching.recent.after(after or 0)]

    async def part(self) -> Part:
        """Return what this process has counted."""
        if self._limits is None or self._limits.table is not self._tables.current:
            self._limits = ServedLimits(self._tables.current)
        fills = await fullest(self._store, self._limits)
        counts, now, answers = self.watching.look(), time.time(), self._answers
        return Part(
            worker=self._worker,
            requests=self.watching.recent.last,
            in_flight=self._lifecycle.in_flight,
            waiting_for=tuple(self._jobs.waiting_for),
            is_draining=self._is_draining,
            counted_since=self.watching.counted_since,
            busy=self._health.busy(),
            minute=counts.targets(now),
            quarter=counts.aliases(now),
            failures=counts.failures,
            fills=fills,
            kept=NOTHING_KEPT if answers is None else KeptAnswers(len(answers), answers.bytes, answers.max_bytes),
            redis=self._redis(),
        )

    @property
    def _is_draining(self) -> bool:
        return self._lifecycle.stopping or self._lifecycle.draining
