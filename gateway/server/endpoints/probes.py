"""The probes and the metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.policy.overlay import Tables
from gateway.server.exchange import Exchange
from gateway.server.lifecycle import Lifecycle
from gateway.server.paths import PathHandlers
from gateway.server.workers.member import Member
from gateway.server.workers.sums import AsRegistry, collected, without_config
from gateway.telemetry.metrics import Metrics, render
from gateway.wire.json import JsonObject


class Probes:
    """Answers `/healthz`, `/readyz` and `/metrics`."""

    def __init__(
        self,
        *,
        tables: Tables,
        waiting_for: Callable[[], Sequence[str]],
        lifecycle: Lifecycle,
        metrics: Metrics,
        before_scrape: Callable[[], None],
        member: Member | None = None,
    ) -> None:
        """`waiting_for` returns what is not loaded yet; `before_scrape` updates metrics not counted as they happen.

        `member`: this process is one of several, whose metrics are shown together.
        """
        self._tables = tables
        self._waiting_for = waiting_for
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._before_scrape = before_scrape
        self._member = member
        if member is not None:
            member.answers("metrics", self._told)

    def paths(self) -> dict[str, PathHandlers]:
        """Return the endpoints by path."""
        return {
            "/healthz": PathHandlers("probe", {"GET": self._healthz}),
            "/readyz": PathHandlers("probe", {"GET": self._readyz}),
            "/metrics": PathHandlers("probe", {"GET": self._scrape}),
        }

    async def _healthz(self, exchange: Exchange) -> None:
        """`GET /healthz`: the process is alive, also while it drains."""
        exchange.send_json({"status": "ok"})

    async def _readyz(self, exchange: Exchange) -> None:
        """`GET /readyz`: the table and what its targets need are loaded, and the process is not draining."""
        generation, missing = self._tables.current.generation, self._waiting_for()
        if self._lifecycle.stopping or self._lifecycle.draining:
            exchange.send_json({"status": "draining"}, status=503)
        elif missing or not generation:
            exchange.send_json({"status": "loading", "waiting_for": missing}, status=503)
        else:
            exchange.send_json({"status": "ready", "generation": generation})

    async def _told(self, _: JsonObject) -> JsonObject:
        """Return this worker's own metrics; those of the config are the supervisor's."""
        self._before_scrape()
        return {"families": without_config(collected(self._metrics.registry))}

    async def _scrape(self, exchange: Exchange) -> None:
        """`GET /metrics` in Prometheus' format: of all workers, of which each metric is one."""
        accept = exchange.request.headers.get("accept", "")
        families = None if self._member is None else await self._member.metrics()
        self._before_scrape()
        text, content_type = render(self._metrics.registry if families is None else AsRegistry(families), accept)
        exchange.send(text, content_type=content_type)
