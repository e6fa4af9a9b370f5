"""Whether anybody looks: the last requests are always kept, numbered and counted only while somebody does."""

from __future__ import annotations

import secrets
import time
from typing import Final

from gateway.server.live.counts import LiveCounts
from gateway.server.live.recent import KEPT, Recent
from gateway.telemetry.observer import Observer

UNWATCHED_S: Final = 900.0
"""Seconds without anybody looking after which nothing is counted any more."""


class Watching:
    """The listeners of the operators' page. For the event loop only."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.process = secrets.token_hex(4)
        """Names this process: serial numbers of requests are its own."""
        self.started_at = time.time()
        self.recent = Recent()
        observer.add(self.recent.keep, of_own=False)
        self._counts: LiveCounts | None = None
        self._looked_at = 0.0
        self.counted_since = self.started_at
        """What `look` returns is whole from then on."""

    def look(self) -> LiveCounts:
        """Return the counters, and count on for UNWATCHED_S."""
        self._looked_at = time.time()
        if self._counts is None:
            self.recent.begin()
            self._observer.add(self.recent.hear, of_own=False)
            kept = [one for _, one in self.recent.after(0)]
            self.counted_since = kept[0].ended_at if len(kept) == KEPT else self.started_at
            self._counts = LiveCounts(self._still_watched)
            for one in kept:
                self._counts.hear([one])
            self._observer.add(self._counts.hear, of_own=False)
        return self._counts

    @property
    def is_counting(self) -> bool:
        """Somebody has looked lately."""
        return self._counts is not None

    def _still_watched(self, now: float) -> None:
        """Count no more if nobody has looked for long."""
        if self._counts is not None and now - self._looked_at > UNWATCHED_S:
            self._observer.remove(self._counts.hear)
            self._observer.remove(self.recent.hear)
            self.recent.end()
            self._counts = None
