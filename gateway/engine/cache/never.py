"""Whether an alias' cache can ever keep an answer, for lint."""

from __future__ import annotations

from typing import Final

from gateway.engine.cache.keepable import KEPT_OPERATIONS, is_repeatable, what_it_leaves
from gateway.engine.cache.keys import overrides_of
from gateway.policy.table import Route
from gateway.wire.json import JsonObject

_BEST: Final[JsonObject] = {"store": False}
"""What a client may write so that an answer is kept, if it can be at all."""


def never_kept(route: Route) -> str | None:
    """Return why no answer to any request of a route is ever kept; None if some are."""
    carried = {operation for step in route.steps for operation in step.target.endpoint.adapters}
    able = sorted(carried & KEPT_OPERATIONS)
    if not able:
        return f"its targets take {', '.join(sorted(carried)) or 'nothing'} only, and no answer to that is ever kept"
    overrides = overrides_of(route.steps)
    if any(is_repeatable(operation, _BEST, overrides) for operation in able):
        return None
    return f"with the params of its steps no answer is kept: {what_it_leaves(able[0], _BEST, overrides)}"
