"""Brings the metrics up to date before they are read: the sums of requests, what rests, the config file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from gateway.engine.health import Health
from gateway.engine.room import FULL
from gateway.policy.table import Route
from gateway.server.jobs import CountedReloader
from gateway.telemetry.metrics import Metrics

_AT_ONCE: Final = 500
"""Targets or aliases that are looked at in one turn of the event loop."""


class Scraping:
    """Prepares the metrics of one process."""

    def __init__(self, *, metrics: Metrics, reloads: CountedReloader, health: Health) -> None:
        self.metrics = metrics
        self._reloads = reloads
        self._health = health

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
        for number, target in enumerate(table.targets):
            if number % _AT_ONCE == _AT_ONCE - 1:
                yield
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

    def _is_down(self, route: Route, now_s: float) -> bool:
        rests = self._health.resting(route.steps, now_s=now_s)
        return len(rests) == len(route.steps) and FULL not in rests.values()
