"""The buckets of limits on the clock of a simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.store import Fill, bucket
from gateway.policy.table import Step


def simulated_store(began_s: float) -> MemoryStore:
    """Return the buckets of limits, all empty, on the clock of the simulation that runs.

    `began_s`: seconds since the epoch when that clock is at 0.
    """

    def now_s() -> float:
        return asyncio.get_running_loop().time()

    return MemoryStore(clock=now_s, wall_clock=lambda: began_s + now_s())


def refill(store: MemoryStore, steps: Sequence[Step], fills: Sequence[Fill]) -> None:
    """Have the buckets of the providers of these steps hold what others hold; requests at once do not end."""
    by_key = {fill.key: fill for fill in fills}
    for endpoint in {step.target.endpoint.provider: step.target.endpoint for step in steps}.values():
        for limit in endpoint.limits:
            one = bucket("provider", endpoint.provider, limit)
            fill = by_key.get(one.key)
            if fill is None:
                continue
            used = min(fill.used, limit.amount)
            for number in range(round(used) if limit.per is None else 1):
                cost, name = 1.0 if limit.per is None else used, f"earlier {one.key} {number}"
                store.try_reserve(name, [one], {limit.unit: cost})
                if limit.per is not None:
                    store.settle(name, {})
