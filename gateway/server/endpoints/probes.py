"""The probes and the metrics."""

from __future__ import annotations

from collections.abc import Callable

from gateway.policy.overlay import Tables
from gateway.server.exchange import Exchange
from gateway.server.front import PathHandlers
from gateway.server.lifecycle import Lifecycle
from gateway.telemetry.metrics import Metrics


class Probes:
    """Answers `/healthz`, `/readyz` and `/metrics`."""

    def __init__(
        self, *, tables: Tables, lifecycle: Lifecycle, metrics: Metrics, before_scrape: Callable[[], None]
    ) -> None:
        """`before_scrape` updates the metrics that are not counted as they happen."""
        self._tables = tables
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
        """`GET /readyz`: a table is loaded and the process is not draining."""
        generation = self._tables.current.generation
        if self._lifecycle.draining or not generation:
            exchange.send_json({"status": "draining" if self._lifecycle.draining else "loading"}, status=503)
        else:
            exchange.send_json({"status": "ready", "generation": generation})

    async def _scrape(self, exchange: Exchange) -> None:
        """`GET /metrics` in Prometheus' format."""
        self._before_scrape()
        text, content_type = self._metrics.render(exchange.request.headers.get("accept", ""))
        exchange.send(text, content_type=content_type)
