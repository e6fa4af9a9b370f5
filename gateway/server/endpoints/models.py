"""The list of models, and a single model."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final

import orjson

from gateway.engine.pipeline import Pipeline
from gateway.policy.table import RoutingTable
from gateway.server.exchange import Exchange
from gateway.server.paths import PathHandlers
from gateway.wire.json import JsonObject

_ONE_MODEL: Final = "/v1/models/"
_AT_ONCE: Final = 500
"""Entries of the list that are made before other tasks may run: about a millisecond."""


class Models:
    """Answers `/v1/models` and `/v1/models/{name}`."""

    def __init__(self, *, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._listing = asyncio.Lock()
        self._listed: tuple[int, bytes] | None = None
        """The generation of a table, and its list."""

    def paths(self) -> dict[str, PathHandlers]:
        """Return the endpoints by path."""
        return {"/v1/models": PathHandlers("models", {"GET": self._list})}

    def below(self) -> dict[str, PathHandlers]:
        """Return the endpoints for everything below a path."""
        return {_ONE_MODEL: PathHandlers("models", {"GET": self._one})}

    async def _list(self, exchange: Exchange) -> None:
        """`GET /v1/models`: every alias but the wildcards."""
        table = self._pipeline.tables.current
        # One list at a time: those who wait for the lock get what the first has made.
        async with self._listing:
            listed = self._listed
            if listed is None or listed[0] != table.generation:
                listed = self._listed = table.generation, await _list_of(table)
        exchange.send(listed[1])

    async def _one(self, exchange: Exchange) -> None:
        """`GET /v1/models/{name}`: one alias, or a name that a wildcard matches."""
        name = exchange.request.path.removeprefix(_ONE_MODEL)
        if name.endswith("/") and self._pipeline.tables.current.find(name) is None:
            name = name.rstrip("/")
        target = self._pipeline.route(name).steps[0].target.name
        exchange.send_json(_model(name, target, self._pipeline.tables.current.loaded_at))


async def _list_of(table: RoutingTable) -> bytes:
    """Return the list of a table's models, made in slices: that of 100,000 takes a quarter of a second."""
    routes = iter(table.routes.items())
    parts = []
    while some := list(islice(routes, _AT_ONCE)):
        models = [_model(name, route.steps[0].target.name, table.loaded_at) for name, route in some]
        parts.append(orjson.dumps(models)[1:-1])
        if len(some) == _AT_ONCE:
            await asyncio.sleep(0)
    return b'{"object":"list","data":[' + b",".join(parts) + b"]}"


def _model(name: str, first_target: str, loaded_at: float) -> JsonObject:
    owner = first_target.partition("/")[0]
    return {"id": name, "object": "model", "created": int(loaded_at), "owned_by": owner}
