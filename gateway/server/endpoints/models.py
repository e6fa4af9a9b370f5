"""The list of models, and a single model, in OpenAI's shape or in Anthropic's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

import orjson

from gateway.concurrency.pacing import resting
from gateway.config.model_data import NO_MODELS, ModelData, is_hosted, load
from gateway.engine.limits.admission import Limits, has_group
from gateway.engine.pipeline import Pipeline
from gateway.errors import BadRequest
from gateway.policy.table import Route, RoutingTable
from gateway.server.endpoints.model_cards import NOTHING_KNOWN, Abilities, Card, anthropic_card, openai_card, weakest
from gateway.server.exchange import Exchange
from gateway.server.paths import PathHandlers
from gateway.server.request import Request

_ONE_MODEL: Final = "/v1/models/"
_AT_ONCE: Final = 100
"""Entries that are made before other tasks may run: about a millisecond."""
_PAGE: Final = 20
_LONGEST_PAGE: Final = 1000
"""Anthropic's numbers of entries on a page (https://platform.claude.com/docs/en/api/models/list)."""


class Models:
    """Answers `/v1/models` and `/v1/models/{name}`."""

    def __init__(self, *, pipeline: Pipeline, limits: Limits) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._listing = asyncio.Lock()
        self._listed: tuple[int, dict[frozenset[str] | None, bytes]] = (0, {})
        """The generation of a table, and its lists in OpenAI's shape: all models, and those that groups may ask for."""
        self._loading = asyncio.Lock()
        self._data: ModelData | None = None
        """None until a chain needs it."""

    def paths(self) -> dict[str, PathHandlers]:
        """Return the endpoints by path."""
        return {"/v1/models": PathHandlers("models", {"GET": self._list}, of_both=True)}

    def below(self) -> dict[str, PathHandlers]:
        """Return the endpoints for everything below a path."""
        return {_ONE_MODEL: PathHandlers("models", {"GET": self._one}, of_both=True)}

    async def _list(self, exchange: Exchange) -> None:
        """`GET /v1/models`: every alias that the client may ask for, but the wildcards.

        Anthropic's clients get a page of them.
        """
        table = self._pipeline.tables.current
        client = exchange.client
        models = self._limits.group(table, client).models if has_group(table, client) else None
        routes = table.routes
        if models is not None:
            routes = {name: route for name, route in routes.items() if name in models}
        if exchange.request.is_anthropic:
            await self._send_page(exchange, table, routes)
            return
        # One list at a time: those who wait for the lock get what the first has made.
        async with self._listing:
            if self._listed[0] != table.generation:
                self._listed = table.generation, {}
            lists = self._listed[1]
            if models not in lists:
                cards = await self._cards(routes.items(), openai_card, table)
                lists[models] = b'{"object":"list","data":[' + cards + b"]}"
        exchange.send(lists[models])

    async def _send_page(self, exchange: Exchange, table: RoutingTable, routes: Mapping[str, Route]) -> None:
        names, start, stop = _page(exchange.request, routes)
        some = names[start:stop]
        cards = await self._cards([(name, table.routes[name]) for name in some], anthropic_card, table)
        before = "before_id" in exchange.request.query
        ends = {
            "has_more": start > 0 if before else stop < len(names),
            "first_id": some[0] if some else None,
            "last_id": some[-1] if some else None,
        }
        exchange.send(b'{"data":[' + cards + b"]," + orjson.dumps(ends)[1:])

    async def _one(self, exchange: Exchange) -> None:
        """`GET /v1/models/{name}`: one alias, or a name that a wildcard matches."""
        table = self._pipeline.tables.current
        name = exchange.request.path.removeprefix(_ONE_MODEL)
        if name.endswith("/") and table.find(name) is None:
            name = name.rstrip("/")
        route = self._pipeline.route(name)
        if has_group(table, exchange.client):
            self._limits.check(table, route, exchange.client)
        card = anthropic_card if exchange.request.is_anthropic else openai_card
        exchange.send_json(card(name, route, await self._abilities(route), loaded_at=table.loaded_at))

    async def _cards(self, routes: Iterable[tuple[str, Route]], card: Card, table: RoutingTable) -> bytes:
        """Return the entries, separated by commas. Made in slices: 100,000 take a second."""
        left = iter(routes)
        parts = []
        while some := list(islice(left, _AT_ONCE)):
            cards = [card(name, route, await self._abilities(route), loaded_at=table.loaded_at) for name, route in some]
            parts.append(orjson.dumps(cards)[1:-1])
            if len(some) == _AT_ONCE:
                await asyncio.sleep(0)
        return b",".join(parts)

    async def _abilities(self, route: Route) -> Abilities:
        """Return what all targets of a chain can do, by LiteLLM's data. Reads it when the first chain needs it."""
        targets = [step.target for step in route.steps]
        if not all(map(is_hosted, targets)):
            return NOTHING_KNOWN
        data = self._data
        if data is None:
            async with self._loading:
                if self._data is None:
                    self._data = await asyncio.to_thread(_load)
                data = self._data
        return weakest([data.find(target) for target in targets])


def _load() -> ModelData:
    with resting():
        return load() or NO_MODELS


def _page(request: Request, routes: Mapping[str, Route]) -> tuple[list[str], int, int]:
    """Return all names, and start and stop of the page that Anthropic's `limit` and cursor ask for.

    Raises BadRequest.
    """
    size = request.first("limit") or str(_PAGE)
    limit = int(size) if size.isascii() and size.isdigit() and len(size) <= 4 else 0
    if not 1 <= limit <= _LONGEST_PAGE:
        raise BadRequest(f"limit must be a number from 1 to {_LONGEST_PAGE}", param="limit")
    after, before = request.first("after_id"), request.first("before_id")
    if after and before:
        raise BadRequest("after_id and before_id exclude each other", param="before_id")
    stages = [*request.query.get("lifecycle", ()), *request.query.get("lifecycle[]", ())]
    names = list(routes) if not stages or "active" in stages else []
    cursor = after or before
    if not cursor:
        return names, 0, limit
    if cursor not in routes:
        param = "after_id" if after else "before_id"
        raise BadRequest(f"{param} names no model of the list", param=param)
    if not names:
        return names, 0, 0
    place = names.index(cursor)
    return (names, place + 1, place + 1 + limit) if after else (names, max(0, place - limit), place)
