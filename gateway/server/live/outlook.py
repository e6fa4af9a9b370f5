"""What a request for an alias would take now: the engine's own decision, without a simulated call."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Final

from gateway.adapters.base import Operation
from gateway.engine.arrange import arranged, shares
from gateway.engine.attempts import unsupported_steps
from gateway.engine.health import Health
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.next_step import Plan, Try, next_step
from gateway.engine.rests import Rest
from gateway.operations import CHAT, OPERATIONS
from gateway.policy.table import Route
from gateway.simulation.circumstances import NOW
from gateway.wire.json import JsonObject

MAX_STEPS: Final = 50
"""Steps of a chain that are told."""


def outlook(route: Route, health: Health, limits: ProviderLimits | None = None, *, now_s: float) -> JsonObject:
    """Return the chain in the order of an empty request with the state of each step, and where the request would go.

    It asks for the first operation that a target carries, chat if one does. `/-/explain` tells more, of any request.
    """
    operation = _operation(route)
    steps, skipped = route.steps, {}
    room = limits.room_of_one(operation) if limits is not None and route.is_limited else None
    if route.parts is not None:
        facts = NOW.facts(operation, {}, stream=False)
        made = arranged(route, facts, health, random.Random(0).random, now_s=now_s, room=room)  # noqa: S311 - the same each time
        steps, skipped = made.steps, dict(made.skipped)
    unsupported = unsupported_steps(steps, operation, skipped)
    resting = health.resting(steps, now_s=now_s)
    if room is not None:
        resting = room.resting(steps, resting, now_s=now_s)
    following = next_step(Plan(steps, math.inf, route.max_attempts, unsupported), (), now_s=now_s, resting=resting)
    first = following.step if isinstance(following, Try) else None
    chain = [
        {"target": step.target.name, "state": _state(place, skipped, unsupported, resting, now_s)}
        for place, step in enumerate(steps[:MAX_STEPS])
    ]
    told: JsonObject = {
        "operation": operation.name,
        "chain": chain,
        "more": len(steps) - len(chain),
        "now": None if first is None else steps[first].target.name,
        "last_resort": isinstance(following, Try) and following.reason == "last_resort",
    }
    if route.parts is not None:
        of_file = health.resting(route.steps, now_s=now_s)
        if room is not None:
            of_file = room.resting(route.steps, of_file, now_s=now_s)
        closed = set(of_file) | {made.made.order[place] for place in skipped}
        told["shares"] = {
            route.steps[step].target.name: round(part, 4) for step, part in _shares(route, closed).items()
        }
    return told


def _shares(route: Route, closed: set[int]) -> dict[int, float]:
    parts = route.parts or ()
    found = shares(parts, closed)
    return dict(list(found.items())[:MAX_STEPS])


def _operation(route: Route) -> Operation:
    for operation in (CHAT, *OPERATIONS.values()):
        if any(operation.name in step.target.endpoint.adapters for step in route.steps):
            return operation
    return CHAT


def _state(
    place: int, skipped: Mapping[int, str], unsupported: frozenset[int], resting: Mapping[int, Rest], now_s: float
) -> str:
    if place in skipped:
        return "condition"
    if place in unsupported:
        return "unsupported"
    if place in resting:
        if resting[place].limit is not None:
            return "limited"
        return "cooldown" if resting[place].until_s > now_s else "probing"
    return "ok"
