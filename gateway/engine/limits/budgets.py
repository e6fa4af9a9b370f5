"""Whether a budget is used up, or only held by requests under way, which may use less than they reserved."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.engine.limits.leases import WAIT_S
from gateway.engine.limits.store import Bucket, Costs, Full, Store
from gateway.policy.limits import Limit


def held_budgets(store: Store, buckets: Sequence[Bucket], full: Sequence[Full], costs: Costs) -> Collection[Limit]:
    """Return those full limits of tokens and spend into which a request would fit if those under way used none.

    Requests of other processes are not known, so a budget that they hold counts as used up. `buckets` has those of
    `full`.
    """
    held = []
    for limit in [one.limit for one in full if one.limit.is_budget and one.limit.unit in {"tokens", "spend"}]:
        bucket = next(one for one in buckets if one.limit is limit)
        if store.would_fit(bucket, min(costs[limit.unit], limit.amount)):
            held.append(limit)
    return held


def soonest(full: Sequence[Full], held: Collection[Limit]) -> Sequence[Full]:
    """Return full limits, those that are held as long as a client is told to wait for the end of a request."""
    return [Full(one.limit, min(WAIT_S, one.wait_s)) if one.limit in held else one for one in full] if held else full
