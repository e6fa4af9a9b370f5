"""What clients get that ask for the base URL itself, to see whether anybody is there: the endpoints."""

from __future__ import annotations

from collections.abc import Callable

from gateway.server.exchange import Exchange
from gateway.server.paths import PathHandlers


class Index:
    """Answers `/` and `/v1`."""

    def __init__(self, endpoints: Callable[[], list[str]]) -> None:
        """`endpoints` returns the method and path of each endpoint for clients."""
        self._endpoints = endpoints

    def paths(self) -> dict[str, PathHandlers]:
        """Return the endpoints by path."""
        at = PathHandlers("probe", {"GET": self._list})
        return {"/": at, "/v1": at}

    async def _list(self, exchange: Exchange) -> None:
        """`GET /`, `GET /v1`: what there is."""
        exchange.send_json({"status": "ok", "endpoints": self._endpoints()})
