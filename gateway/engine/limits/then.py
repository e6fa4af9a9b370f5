"""Where a request goes once a budget with a `then` is used up: to that alias, as if it were the asked one's chain."""

from __future__ import annotations

from dataclasses import replace

from gateway.policy.table import Route, other_models


def route_through(asked: Route, then: Route) -> Route:
    """Return the route of an alias as if its chain were `[{alias: then}]`.

    The deadline, how streams are held, a hedge and a shadow are the asked alias'. Its hooks run; then's own come with
    its steps.
    """
    steps, own = then.steps, then.own
    if own is not None:
        steps = tuple([replace(step, nested=(own, *step.nested)) for step in steps])
    return replace(asked, steps=steps, parts=then.parts, max_attempts=max(asked.max_attempts, len(steps)))


def changes_model(asked: Route, then: Route) -> bool:
    """Tell whether a target of `then` has another model than the first of the asked alias."""
    return bool(other_models((asked.steps[0], *then.steps)))
