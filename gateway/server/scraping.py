"""Brings the metrics up to date before they are read: the sums of requests, what rests, the config file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from gateway.engine.health import Health
from gateway.engine.limits.store import Store
from gateway.engine.room import FULL
from gateway.policy.table import Route, RoutingTable
from gateway.server.jobs import CountedReloader
from gateway.server.live import fills
from gateway.server.live.fills import ServedLimits, owner_of, share
from gateway.telemetry.metrics import Metrics

_AT_ONCE: Final = 500
"""Targets or aliases that are looked at in one turn of the event loop."""


class Scraping:
    """Prepares the metrics of one process."""

    def __init__(self, *, metrics: Metrics, reloads: CountedReloader, health: Health, store: Store) -> None:
        self.metrics = metrics
        self._reloads = reloads
        self._health = health
        self._store = store

    async def refresh(self, *, config: bool) -> None:
        """Update all metrics, giving way to requests meanwhile. `config`: those of the config file too."""
        for _ in self.refreshing():
            await asyncio.sleep(0)
        if config:
            await self._reloads.show()

    def refreshing(self) -> Iterator[None]:
        """Update the metrics of requests and rests, in short steps."""
        yield from self.metrics.settling()
        table, health, now_s = self._reloads.current, self._health, asyncio.get_running_loop().time()
        resting = health.labels_at_rest()
        targets: dict[str, bool] = {}
        keys: dict[tuple[str, str], bool] = {}
        used: dict[tuple[str, ...], float] = {}
        for number, target in enumerate(table.targets):
            if number % _AT_ONCE == _AT_ONCE - 1:
                yield
            for limit in target.endpoint.limits:
                used[limit.text, target.endpoint.provider, "provider"] = 0.0
            for one in (target, *target.by_key):
                rests = target.label in resting and health.snapshot(one, now_s)["state"] != "ok"
                if one is target:
                    targets[target.label] = rests or targets.get(target.label, False)
                else:
                    key = one.endpoint.api_key.short, target.endpoint.provider
                    keys[key] = rests or keys.get(key, False)
        aliases: dict[str, bool] = {}
        for number, route in enumerate(table.routes.values()):
            if number % _AT_ONCE == _AT_ONCE - 1:
                yield
            aliases[route.alias] = bool(resting) and self._is_down(route, now_s)
        self.metrics.show_cooldowns(targets, keys, aliases)
        yield from self._limits(table, used)

    def _limits(self, table: RoutingTable, used: dict[tuple[str, ...], float]) -> Iterator[None]:
        """Show how full the limits are: those of groups that share them and of providers; of clients the fullest.

        `used` has those of the providers.
        """
        limits = ServedLimits(table)
        for group in table.clients.values():
            for limit in group.limits:
                used[(limit.text, group.name, "group") if group.is_shared else (limit.text, "", "client")] = 0.0
        for number, fill in enumerate(self._store.look()):
            if number % fills.AT_ONCE == fills.AT_ONCE - 1:
                yield
            served = limits.of(fill)
            if served is not None:
                kind, name, text = owner_of(served)
                labels = (text, "" if kind == "client" else name, kind)
                used[labels] = max(used.get(labels, 0.0), share(served))
        self.metrics.show_limits(used)

    def _is_down(self, route: Route, now_s: float) -> bool:
        rests = self._health.resting(route.steps, now_s=now_s)
        return len(rests) == len(route.steps) and FULL not in rests.values()
