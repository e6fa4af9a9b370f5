"""The part of all requests that each step of a route gets first."""

from __future__ import annotations

from gateway.engine.arrange import shares
from gateway.engine.facts import RequestFacts
from gateway.policy.conditions import unmet
from gateway.policy.pools import conditionals, positions
from gateway.policy.table import Route


def first_choices(route: Route, facts: RequestFacts) -> dict[int, float]:
    """Return position → share of the requests with these facts; steps without any are left out. Nothing rests.

    `least_busy` and `fastest` count by their weights, as between members that are alike. Sticky pools count by all
    keys there can be.
    """
    parts = tuple(range(len(route.steps))) if route.parts is None else route.parts
    closed = {
        position for position, step in enumerate(route.steps) if facts.operation not in step.target.endpoint.adapters
    }
    for one in conditionals(parts):
        if unmet(one.when, facts) is not None:
            closed.update(positions(one.parts))
    return shares(parts, closed)
