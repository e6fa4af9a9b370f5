"""Rests of targets: until when, for which steps of a chain, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from gateway.engine.window import Counts, PassedLimit
from gateway.policy.failures import Kind
from gateway.policy.keys import Secret
from gateway.policy.limits import Limit
from gateway.policy.target import Cooldown, Limits, Target
from gateway.wire.json import JsonObject


class Rest(NamedTuple):
    """A target's rest, for one step of a chain."""

    until_s: float
    """On the event loop's clock; the present if the rest is over and the target is being probed."""
    asked: Kind | None = None
    """`rate_limit` or `overloaded` if the upstream asked for the rest: it is not called before `until_s`."""
    refused: Kind | None = None
    """Of one key of several: why the upstream refused it last."""
    limit: Limit | None = None
    """The limit of its provider that has no room until then: the target does not rest, but may not be called."""
    is_held: bool = False
    """Of that: it is a budget, and calls under way hold what the next one would need."""

    @property
    def patience(self) -> tuple[bool, bool, float]:
        """What orders rests by which to call first.

        A key that was only too busy goes before one that is not accepted, and what may be called before what may not.
        """
        return self.refused in {Kind.AUTH, Kind.BILLING}, self.asked is not None, self.until_s


def of_both(own: Rest | None, of_keys: Sequence[Rest | None]) -> Rest | None:
    """Return the rest of a target with several keys: its own, or the shortest of its keys' if all rest."""
    rests = [rest for rest in of_keys if rest is not None]
    if len(rests) < len(of_keys):
        return own
    first = min(rests, key=lambda rest: rest.patience)
    return first if own is None else max(own, first, key=lambda rest: (rest.asked is not None, rest.until_s))


NOBODY: Final[Mapping[int, Rest]] = MappingProxyType({})
"""`resting` without any cooldown."""


def without_room(rests: Mapping[int, Rest]) -> Mapping[int, Rest]:
    """Return those that are not rests, but that the provider has no room."""
    return {step: rest for step, rest in rests.items() if rest.limit is not None} if rests else NOBODY


@dataclass(slots=True, eq=False)
class TargetRest:
    """The rest of a target, and for which steps it is one."""

    cooldown: Cooldown
    key: Secret | None
    """Cooldown and key at its begin: a change of either ends it."""
    is_told: bool = False
    """Another process told of it, without the key: that of today is taken for it."""
    until_s: float = -math.inf
    failed: Counts | None = field(default_factory=lambda: Counts(0, 0, MappingProxyType({})))
    """The requests that caused it; None if it is for all steps, as the upstream asked for it."""
    asked: Kind | None = None
    asked_until_s: float = -math.inf
    """Until when the upstream asked not to be called."""
    refused_by: Kind | None = None
    """Of one key of several: why the upstream refused it last."""
    probes: int = 0
    """Probes in flight."""
    next_probe_s: float = -math.inf
    """When one more probe may begin, although others are in flight."""

    def covers(self, limits: Limits) -> bool:
        """Tell whether the target rests for a step with `limits`."""
        return self.failed is None or self.failed.reach(self.cooldown, limits)

    def holds_for(self, target: Target) -> bool:
        """Tell whether the target's cooldown and key are still the ones that it began with."""
        endpoint = target.endpoint
        if self.is_told:
            self.key, self.is_told = endpoint.api_key.read(), False
        return self.cooldown == endpoint.cooldown and self.key == endpoint.api_key.read()

    def told(self) -> JsonObject:
        """Return the rest for another process of this machine, whose event loop has the same clock."""
        failed = self.failed
        timeouts = [] if failed is None else [[*passed, number] for passed, number in failed.timeouts.items()]
        return {
            "cooldown": asdict(self.cooldown),
            "until_s": max(self.until_s, 0.0),
            "failed": None if failed is None else [failed.requests, failed.failures, timeouts],
            "asked": self.asked,
            "asked_until_s": max(self.asked_until_s, 0.0),
            "refused_by": self.refused_by,
        }

    @classmethod
    def heard(cls, told: JsonObject) -> TargetRest:
        """Return the rest that another process told of."""
        failed: Counts | None = None
        if told["failed"] is not None:
            requests, failures, timeouts = told["failed"]
            passed = {PassedLimit(name, seconds): number for name, seconds, number in timeouts}
            failed = Counts(requests, failures, MappingProxyType(passed))
        return cls(
            Cooldown(**told["cooldown"]),
            None,
            is_told=True,
            until_s=told["until_s"],
            failed=failed,
            asked=None if told["asked"] is None else Kind(told["asked"]),
            asked_until_s=told["asked_until_s"],
            refused_by=None if told["refused_by"] is None else Kind(told["refused_by"]),
        )

    def is_probed(self, now_s: float) -> bool:
        """Tell whether the rest is over, and a probe in flight keeps the others waiting."""
        return self.until_s <= now_s < self.next_probe_s and self.probes > 0

    def as_seen(self, limits: Limits, now_s: float) -> Rest | None:
        """Return the rest for a step with `limits`; None if the step may call the target."""
        if not self.covers(limits):
            return None
        if self.asked_until_s > now_s:
            return Rest(self.asked_until_s, self.asked, self.refused_by)
        if self.until_s > now_s:
            return Rest(self.until_s, None, self.refused_by)
        return Rest(now_s, None, self.refused_by) if self.is_probed(now_s) else None
