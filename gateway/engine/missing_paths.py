"""Remembers which endpoints lack the path of an operation, outside the table: a reload forgets nothing of it.

An endpoint is known by its name and address, so a changed address is asked anew. For the event loop only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from gateway.adapters.base import Operation
from gateway.policy.table import Step
from gateway.policy.target import AdapterName, Endpoint

REMEMBERED_S: Final = 600.0
MAX_REMEMBERED: Final = 1024
"""Paths remembered; the oldest is forgotten first."""

_Key: TypeAlias = tuple[str, str, str]
"""An endpoint's name and address, and the operation's name."""


class MissingPaths:
    """The paths that endpoints lack."""

    def __init__(self) -> None:
        self.remembered: dict[_Key, float] = {}
        """Path → end of the memory, in the order of the ends. While it is empty, nothing need be asked."""

    def note(self, endpoint: Endpoint, operation: Operation, *, now_s: float) -> None:
        """Remember that an endpoint lacks the path of an operation."""
        key = _key(endpoint, operation)
        self.remembered.pop(key, None)
        self.remembered[key] = now_s + REMEMBERED_S
        if len(self.remembered) > MAX_REMEMBERED:
            del self.remembered[next(iter(self.remembered))]

    def carrier(self, endpoint: Endpoint, operation: Operation, *, now_s: float) -> AdapterName | None:
        """Return what carries an operation to an endpoint now; None if nothing does.

        Behind a missing path that is the translation into another operation, if there is one.
        """
        name = endpoint.adapters.get(operation.name)
        if name != "relay" or not self._lacks(endpoint, operation, now_s=now_s):
            return name
        return "translated" if is_translatable(endpoint, operation) else None

    def lacking(self, steps: Sequence[Step], operation: Operation, *, now_s: float) -> frozenset[int]:
        """Return the positions of the steps to which nothing carries the operation now, although something did."""
        return frozenset(
            position
            for position, step in enumerate(steps)
            if operation.name in step.target.endpoint.adapters
            and self.carrier(step.target.endpoint, operation, now_s=now_s) is None
        )

    def _lacks(self, endpoint: Endpoint, operation: Operation, *, now_s: float) -> bool:
        key = _key(endpoint, operation)
        until_s = self.remembered.get(key)
        if until_s is not None and until_s <= now_s:
            del self.remembered[key]
            return False
        return until_s is not None


def is_translatable(endpoint: Endpoint, operation: Operation) -> bool:
    """Tell whether an operation can be put into another one that an endpoint is asked for in its own words."""
    translation = operation.translation_for(endpoint)
    return translation is not None and endpoint.adapters.get(translation.operation.name) not in {None, "translated"}


def _key(endpoint: Endpoint, operation: Operation) -> _Key:
    return endpoint.provider, endpoint.relay_url or endpoint.base_url or "", operation.name
