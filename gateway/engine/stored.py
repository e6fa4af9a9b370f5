"""Answers requests about what upstreams keep: by the upstream that made it, for the client that it was made for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from gateway.adapters.base import Adapters, Operation, Reply
from gateway.adapters.events import Stream
from gateway.engine.attempts import Engine
from gateway.engine.bound import key_of, position_of, relaying_steps
from gateway.engine.health import Health
from gateway.engine.hooked_stream import HookedStream
from gateway.engine.hooks import own_data, run_hooks
from gateway.engine.makers import Maker, Makers
from gateway.engine.missing_paths import MissingPaths
from gateway.engine.nested import post_hooks
from gateway.engine.request import RoutedRequest
from gateway.errors import GatewayError
from gateway.policy.failures import Kind
from gateway.policy.overlay import Tables
from gateway.policy.params import NO_PARAMS
from gateway.policy.table import Hook, Route, RoutingTable, StreamPolicy
from gateway.telemetry.report import CallReport
from gateway.wire.json import EMPTY

RETRIES: Final = 2
"""Retries of a request that changes nothing, if it did not reach the upstream."""


_NOTHING_MISSING: Final = MissingPaths()
"""Who made a response has the path."""


class UnknownResponse(GatewayError):
    """No response of this id was made here for this client."""

    status = 404
    code = "not_found"
    type = "invalid_request_error"


class StoredAnswers:
    """Asks the makers of what is kept. It has the health of targets apart: what is not there says nothing of them."""

    def __init__(self, *, tables: Tables, adapters: Adapters, makers: Makers) -> None:
        self._tables = tables
        self._makers = makers
        self._engine = Engine(adapters=adapters, health=Health())

    async def request(
        self,
        operation: Operation,
        response_id: str,
        *,
        report: CallReport,
        client: str | None,
        headers: Mapping[str, str],
        query: str,
    ) -> RoutedRequest:
        """Return the request about a response, to its maker with the key of today. Raises UnknownResponse.

        It has the limits of the alias that the response was asked of, if that still has the maker, else those of the
        first alias that has.
        """
        table = self._tables.current
        report.generation = table.generation
        maker = await self._makers.found(response_id, client=client)
        route = None if maker is None else _route(table, maker, operation)
        if route is None:
            # OpenAI's words: clients look for them.
            raise UnknownResponse(f"Response with id '{response_id}' not found.", param="id")
        started_s = asyncio.get_running_loop().time()
        return RoutedRequest(operation, response_id, route, EMPTY, headers, started_s, report, query, client=client)

    async def answer(self, request: RoutedRequest, *, is_response: bool) -> Reply:
        """Return the plain answer. `is_response`: post hooks see it. Raises GatewayError."""
        reply = await self._engine.complete(request)
        if is_response and (hooks := _post_hooks(request.route)):
            deadline_s = request.started_s + request.route.deadline_s
            reply.data = await run_hooks(hooks, own_data(reply.data, reply.raw), deadline_s=deadline_s)
            reply.raw = None
        return reply

    async def open_stream(self, request: RoutedRequest) -> Stream:
        """Return the events of a response. Raises GatewayError; the caller closes the stream."""
        stream = await self._engine.open_stream(request)
        request.report.first_content_s = None  # it came when the response was made
        route = request.route
        hooks = _post_hooks(route)
        return HookedStream(stream, hooks, request.operation, limit_s=route.deadline_s) if hooks else stream

    def forget(self, response_id: str, *, client: str | None) -> None:
        """Forget a response that was deleted."""
        self._makers.forget(response_id, client=client)


def _post_hooks(route: Route) -> tuple[Hook, ...]:
    return (*route.post, *post_hooks(route.steps[0]))


def _route(table: RoutingTable, maker: Maker, operation: Operation) -> Route | None:
    """Return a route whose only step is the maker; None if the table has nobody with its account."""
    for route in _routes(table, maker):
        relaying = relaying_steps(route.steps, operation, _NOTHING_MISSING, now_s=0.0)
        position = position_of(maker, route.steps, relaying)
        if position is not None:
            passing = route.passing(operation.name).route
            step = replace(
                passing.steps[position],
                retries=RETRIES if operation.method == "GET" else 0,
                params=NO_PARAMS,
                retry_on=frozenset({Kind.CONNECTION}),
                fallback_on=frozenset(),
                key=key_of(maker, passing.steps[position]),
            )
            if "*" in step.target.name:
                step = replace(step, target=replace(step.target, name=maker.target))
            return replace(passing, steps=(step,), pre=(), stream=StreamPolicy())
    return None


def _routes(table: RoutingTable, maker: Maker) -> Iterator[Route]:
    """Yield the routes that may have the maker, that of its alias first."""
    asked = table.routes.get(maker.alias) or table.wildcards.get(maker.alias.removesuffix("*"))
    if asked is not None:
        yield asked
    yield from table.routes.values()
    yield from table.wildcards.values()
