"""Short ways to suppose what targets do, and which of them rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.adapters.base import Call
from gateway.engine.health import Health
from gateway.policy.failures import Kind
from gateway.policy.table import Route
from gateway.policy.target import ScriptedOutcome
from gateway.simulation.upstreams import ANSWERED
from gateway.simulation.walk import Suppose


def fails(*kinds: Kind | None, **values: Any) -> Suppose:
    """Let the calls of every step fail with these kinds in order, the last one for ever; None answers."""

    def suppose(_: Call, __: int, before: int) -> ScriptedOutcome:
        kind = kinds[min(before, len(kinds) - 1)]
        return replace(ANSWERED, **values) if kind is None else ScriptedOutcome(kind=kind, status=503, **values)

    return suppose


def resting(route: Route, rests: Mapping[int, float]) -> Health:
    """Return the health in which these steps' targets are in cooldown for so many seconds from second 0 on."""
    health = Health()
    for position, seconds in rests.items():
        step = route.steps[position]
        cooldown = step.target.endpoint.cooldown
        now_s = seconds - cooldown.for_s
        for _ in range(cooldown.failures):
            ticket = health.begin(step, now_s=now_s)
            ticket.failed(Kind.OVERLOADED, now_s=now_s)
            ticket.left(now_s)
            ticket.done()
    return health
