"""The probes and the metrics."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

from gateway.policy.overlay import Tables
from gateway.server.exchange import Exchange
from gateway.server.lifecycle import Lifecycle
from gateway.server.paths import PathHandlers
from gateway.server.response import ResponseWriter
from gateway.server.scraping import Scraping
from gateway.server.workers.member import Member
from gateway.server.workers.sums import Families, collecting, without_config
from gateway.telemetry.exposition import exposition
from gateway.wire.json import JsonObject

WHOLE_BYTES: Final = 256 * 1024
"""More metrics than that are sent as they are written, so that they take little memory."""


class Probes:
    """Answers `/healthz`, `/readyz` and `/metrics`."""

    def __init__(
        self,
        *,
        tables: Tables,
        waiting_for: Callable[[], Sequence[str]],
        lifecycle: Lifecycle,
        scraping: Scraping,
        member: Member | None = None,
    ) -> None:
        """`waiting_for` returns what is not loaded yet.

        `member`: this process is one of several, whose metrics are shown together.
        """
        self._tables = tables
        self._waiting_for = waiting_for
        self._lifecycle = lifecycle
        self._scraping = scraping
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
        await self._scraping.refresh(config=False)
        families: Families = {}
        for _step in collecting(self._scraping.metrics, families):
            await asyncio.sleep(0)
        return {"families": without_config(families)}

    async def _scrape(self, exchange: Exchange) -> None:
        """`GET /metrics` in Prometheus' format: of all workers, of which each metric is one."""
        accept = exchange.request.headers.get("accept", "")
        of_all = None if self._member is None else await self._member.metrics(accept)
        pieces, content_type = of_all or await self._own(accept)
        whole_bytes = math.inf if exchange.request.method == "HEAD" else WHOLE_BYTES
        response: ResponseWriter | None = None
        begin = bytearray()
        async for piece in pieces:
            if response is not None:
                await response.send(piece)
                continue
            begin += piece
            if len(begin) > whole_bytes:
                response = exchange.begin_stream({"content-type": content_type})
                await response.send(bytes(begin))
        if response is None:
            exchange.send(bytes(begin), content_type=content_type)
        else:
            await response.finish(b"")

    async def _own(self, accept: str) -> tuple[AsyncIterator[bytes], str]:
        """Return this process' metrics and their content type."""
        await self._scraping.refresh(config=True)
        metrics = self._scraping.metrics
        pieces, content_type = exposition(metrics.families(), metrics.registry, accept)
        return _giving_way(pieces), content_type


async def _giving_way(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces; others may run before each."""
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece
