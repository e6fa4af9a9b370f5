"""Limits and buckets in a line, and a clock that a test moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.store import Bucket, bucket
from gateway.policy.limits import Limit


def limit(text: str, **more: Any) -> Limit:
    """Return the limit of a text such as `60 requests/minute` or `20 concurrent`."""
    amount, _, rest = text.partition(" ")
    unit, _, per = rest.partition("/")
    return Limit(unit=unit, amount=float(amount), per=per or None, text=text, **more)  # type: ignore[arg-type]  # words of the test


def buckets(*texts: str, of: str = "ann") -> list[Bucket]:
    return [bucket("client", of, limit(text)) for text in texts]


@dataclass
class Clock:
    """Both clocks of a store, moved by hand."""

    now_s: float = 1000.0
    epoch_s: float = 1_796_000_000.0 // 86400 * 86400
    """Of `now_s` 0, at midnight."""

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.epoch_s + self.now_s

    def store(self) -> MemoryStore:
        return MemoryStore(clock=self.monotonic, wall_clock=self.wall)
