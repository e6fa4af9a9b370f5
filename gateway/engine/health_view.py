"""The health of a chain's targets as a request finds it, for the arrangement of its steps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from gateway.engine.health import NOBODY, Health
from gateway.engine.paces import PaceKey, expected_s
from gateway.policy.table import Step


class HealthView:
    """The health of these steps' targets at one moment."""

    __slots__ = ("_health", "_key", "_now_s", "_steps", "resting")

    def __init__(self, health: Health, steps: Sequence[Step], key: PaceKey, *, now_s: float) -> None:
        self._health = health
        self._steps = steps
        self._key = key
        self._now_s = now_s
        self.resting: Collection[int] = health.resting(steps, now_s=now_s) if health.at_rest else NOBODY
        """The steps whose target is in cooldown."""

    def in_flight(self, steps: Sequence[int]) -> int:
        """Return the number of calls of these steps' targets that have not ended."""
        return sum([self._health.in_flight(self._steps[step].target) for step in steps])

    def expected_s(self, step: int, others: Iterable[int]) -> float:
        """Return the seconds to expect until the first content of a step's target, beside those of others."""
        health, steps, key = self._health, self._steps, self._key
        paces = (health.pace(steps[other].target, key) for other in others)
        return expected_s(health.pace(steps[step].target, key), paces, now_s=self._now_s)
