"""Room for others: one target gets at most a part of the requests that the server may have in flight.

So an upstream that hangs keeps nobody waiting but those who ask for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.engine.health import Health
from gateway.engine.rests import Rest
from gateway.policy.failures import Kind
from gateway.policy.table import Step
from gateway.policy.target import Target

FULL: Final = Rest(math.inf, Kind.OVERLOADED)
"""The rest of a target that has as many calls in flight as one may have. It ends with one of them."""


class RoomyHealth(Health):
    """The health of all targets, where one that has too many calls in flight is told to rest."""

    def __init__(self, most: int, *, is_scarce: Callable[[], bool]) -> None:
        """`most`: calls of one target. `is_scarce`: whether there may be one that has them, and others that want room.

        It is asked before any target is looked at.
        """
        super().__init__()
        self._most = most
        self._is_scarce = is_scarce
        self.at_rest.add(("", "", ""))  # no target: has `resting` always called

    def resting(self, steps: Sequence[Step], *, now_s: float) -> Mapping[int, Rest]:
        """Return position → rest, FULL for those of `steps` whose target may have no further call."""
        rests = super().resting(steps, now_s=now_s)
        if not self._is_scarce():
            return rests
        full = {position: FULL for position, step in enumerate(steps) if self.calls(step.target) >= self._most}
        return {**rests, **full} if full else rests

    def calls(self, target: Target) -> int:
        """Return the number of calls in flight, for a model of a wildcard those of all its models."""
        if not target.label.endswith("*"):
            return self.in_flight(target)
        source = target.endpoint.api_key.name
        of_all = (one for key, one in self._targets.items() if one.label == target.label and key[2] == source)
        return sum(one.in_flight for one in of_all)
