"""Counts a target's requests within a sliding window, and tells when the failed ones are enough for a rest.

The window is a list of slots, so that a count costs the same for one request an hour and for 20,000 a second. A slot
begins with the first request after the last slot's end; it leaves the window with all of its requests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.policy.failures import LimitName
from gateway.policy.target import Cooldown, Limits

SLOTS: Final = 10
"""A slot lasts this part of the window, so a request may leave the window by so much too early."""


class PassedLimit(NamedTuple):
    """A limit of a step that passed before the target answered."""

    name: LimitName
    seconds: float

    def counts_for(self, limits: Limits) -> bool:
        """Tell whether a step with `limits` would have given up as well: its own limit is no longer."""
        own_s: float | None = getattr(limits, self.name)
        return own_s is not None and own_s <= self.seconds


@dataclass(frozen=True, slots=True)
class Counts:
    """The requests of one window."""

    requests: int
    failures: int
    """Failed requests, timeouts of our own limits left out."""
    timeouts: Mapping[PassedLimit, int]
    """Limit → requests that failed because it passed."""

    def reach(self, cooldown: Cooldown, limits: Limits) -> bool:
        """Tell whether so many requests failed that the target rests for a step with `limits`."""
        failed = self.failures + sum(n for passed, n in self.timeouts.items() if passed.counts_for(limits))
        return failed >= cooldown.failures and failed >= cooldown.share * self.requests


@dataclass(slots=True, eq=False)
class Slot:
    """A part of the window. Begin and end are points on the event loop's clock."""

    begin_s: float
    end_s: float
    answers: int = 0
    failures: int = 0
    timeouts: Counter[PassedLimit] | None = None
    """None as long as there are none: a target that is seldom called has a slot for each of its requests."""


_BEFORE: Final = Slot(-math.inf, -math.inf)
"""The newest slot before the first request. Nothing is counted in it."""


class Window:
    """The requests of one target, by how they left it."""

    __slots__ = ("_slots", "slot")

    def __init__(self) -> None:
        self.slot = _BEFORE
        """The newest. Before counting in it call `turn`, if its end has passed."""
        self._slots: list[Slot] = []

    def turn(self, now_s: float, within_s: float) -> None:
        """Begin a new slot, and drop those that have left the window of `within_s` seconds."""
        slots = self._slots
        while slots and slots[0].begin_s <= now_s - within_s:
            del slots[0]
        self.slot = Slot(now_s, now_s + within_s / SLOTS)
        slots.append(self.slot)

    def fail(self, passed: PassedLimit | None, *, now_s: float, within_s: float) -> None:
        """Count a failed request; `passed` is the limit that ended it, if one did."""
        if now_s >= self.slot.end_s:
            self.turn(now_s, within_s)
        if passed is None:
            self.slot.failures += 1
        else:
            self.slot.timeouts = (self.slot.timeouts or Counter()) + Counter([passed])

    def counts(self, *, now_s: float, within_s: float) -> Counts:
        """Return the requests of the last `within_s` seconds."""
        slots = [slot for slot in self._slots if slot.begin_s > now_s - within_s]
        failures = sum(slot.failures for slot in slots)
        timeouts = sum((slot.timeouts for slot in slots if slot.timeouts is not None), Counter[PassedLimit]())
        requests = failures + timeouts.total() + sum(slot.answers for slot in slots)
        return Counts(requests, failures, timeouts)

    def shifted(self, by_s: float) -> Window:
        """Return a copy on a clock that is ahead by `by_s` seconds."""
        copy = Window()
        copy._slots = [
            Slot(slot.begin_s + by_s, slot.end_s + by_s, slot.answers, slot.failures, slot.timeouts)
            for slot in self._slots
        ]
        if copy._slots:
            copy.slot = copy._slots[-1]
        return copy
