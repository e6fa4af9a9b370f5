"""The health of a chain's targets as a request finds it, for the arrangement of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.engine.health import Health
from gateway.engine.limits.providers import Room
from gateway.engine.paces import Pace, PaceKey, expected_s, is_new
from gateway.engine.rests import NOBODY, Rest
from gateway.policy.table import Step


class HealthView:
    """The health of these steps' targets at one moment."""

    __slots__ = ("_among", "_averages", "_health", "_key", "_now_s", "_steps", "resting")

    def __init__(
        self, health: Health, steps: Sequence[Step], key: PaceKey, *, now_s: float, room: Room | None = None
    ) -> None:
        self._health = health
        self._steps = steps
        self._key = key
        self._now_s = now_s
        self._among: Sequence[int] = ()
        """The steps whose averages were looked up last."""
        self.resting: Mapping[int, Rest] = health.resting(steps, now_s=now_s) if health.at_rest else NOBODY
        """The steps whose target is in cooldown, or whose provider has no room."""
        if room is not None:
            self.resting = room.resting(steps, self.resting, now_s=now_s)

    def in_flight(self, step: int) -> int:
        """Return the number of calls of a step's target that have not ended."""
        return self._health.in_flight(self._steps[step].target)

    def expected_s(self, step: int, among: Sequence[int]) -> float:
        """Return the seconds to expect until the first content of a step's target, which is one among some."""
        return self._expected_s(self._health.pace(self._steps[step].target, self._key), step, among)

    def busy_s(self, step: int, among: Sequence[int]) -> float:
        """Return these seconds for each call in flight of a step's target, and for one more."""
        in_flight, pace = self._health.load(self._steps[step].target, self._key)
        if pace is None or not is_new(pace, now_s=self._now_s):
            return (1.0 + in_flight) * self._expected_s(pace, step, among)
        return (1.0 + in_flight) * pace.average_s

    def _expected_s(self, pace: Pace | None, step: int, among: Sequence[int]) -> float:
        if pace is not None and is_new(pace, now_s=self._now_s):
            return pace.average_s
        if among is not self._among:
            self._among, steps = among, self._steps
            paces = [self._health.pace(steps[each].target, self._key) for each in among]
            self._averages = [None if each is None else each.average_s for each in paces]
        averages = zip(among, self._averages, strict=True)
        others = [average_s for other, average_s in averages if average_s is not None and other != step]
        return expected_s(pace, others, now_s=self._now_s)
