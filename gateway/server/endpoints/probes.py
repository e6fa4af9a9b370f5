"""The probes and the metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.policy.overlay import Tables
from gateway.server.exchange import Exchange
from gateway.server.lifecycle import Lifecycle
from gateway.server.paths import PathHandlers
from gateway.telemetry.metrics import Metrics


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
    ) -> None:
        """`waiting_for` returns what is not loaded yet; `before_scrape` updates metrics not counted as they happen."""
        self._tables = tables
        self._waiting_for = waiting_for
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._before_scrape = before_scrape

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

    async def _scrape(self, exchange: Exchange) -> None:
        """`GET /metrics` in Prometheus' format."""
        self._before_scrape()
        text, content_type = self._metrics.render(exchange.request.headers.get("accept", ""))
        exchange.send(text, content_type=content_type)
