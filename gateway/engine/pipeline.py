"""One request from its table to its answer: alias, pre hooks, attempts, post hooks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping

from gateway.adapters.base import Adapters, Event, Operation, Reply, Stream
from gateway.engine.attempts import Engine, RoutedRequest
from gateway.engine.health import Health
from gateway.engine.hooks import copy_json, own_data, run_hooks
from gateway.errors import BadRequest, GatewayError, HookFailed, UnknownModel, Unsupported
from gateway.policy.overlay import Tables
from gateway.policy.params import upstream_params
from gateway.policy.table import Route, RoutingTable
from gateway.telemetry.report import CallReport
from gateway.wire import sse
from gateway.wire.json import EMPTY, JsonObject
from gateway.words import did_you_mean


class Pipeline:
    """Answers requests by the live routing table. Use one on one event loop at a time."""

    def __init__(
        self, *, tables: Tables, adapters: Adapters, health: Health, jitter: Callable[[], float] = random.random
    ) -> None:
        """`jitter` draws a number from 0 to 1 for each failed attempt: it spreads the retries."""
        self.tables = tables
        """The holder of the live table."""
        self._adapters = adapters
        self._engine = Engine(adapters=adapters, health=health, jitter=jitter)

    def answer(
        self, operation: Operation, params: JsonObject, *, report: CallReport, headers: Mapping[str, str] = EMPTY
    ) -> Coroutine[None, None, Reply]:
        """Return the plain answer to an OpenAI request body; `params` itself is not changed.

        `headers` go upstream. `report` is filled in as things happen. Raises GatewayError, be it at once.
        """
        request = self._request(operation, params, report, headers)
        route = request.route
        return self._hooked(request, params) if route.pre or route.post else self._engine.complete(request)

    async def _hooked(self, request: RoutedRequest, params: JsonObject) -> Reply:
        """Return the plain answer, with the hooks before and after it."""
        await _run_pre_hooks(request, params)
        reply = await self._engine.complete(request)
        if request.route.post and request.operation.takes_hooks:
            deadline_s = request.started_s + request.route.deadline_s
            data = own_data(reply.data, reply.raw)
            reply.data = await run_hooks(request.route.post, data, deadline_s=deadline_s)
            reply.raw = None
        return reply

    async def open_stream(
        self, operation: Operation, params: JsonObject, *, report: CallReport, headers: Mapping[str, str] = EMPTY
    ) -> Stream:
        """Return the stream that answers an OpenAI request body, once it is sure to begin. Raises GatewayError.

        Close what is returned; reading it raises GatewayError when the stream breaks off.
        """
        request = self._request(operation, params, report, headers)
        await _run_pre_hooks(request, params)
        stream = await self._engine.open_stream(request)
        if request.route.post and operation.takes_hooks:
            return _HookedStream(stream, request.route)
        return stream

    def _request(
        self, operation: Operation, params: JsonObject, report: CallReport, headers: Mapping[str, str]
    ) -> RoutedRequest:
        started_s = asyncio.get_running_loop().time()
        table = self.tables.current
        report.generation = table.generation
        name = params.get("model")
        if not isinstance(name, str) or not name:
            raise BadRequest("the request names no model", param="model")
        route = table.find(name)
        if route is None:
            raise unknown_model(name, table)
        report.alias = route.alias
        return RoutedRequest(operation, name, route, upstream_params(params), headers, started_s, report)

    def route(self, name: str) -> Route:
        """Return what the live table has for a client's `name`. Raises UnknownModel."""
        table = self.tables.current
        route = table.find(name)
        if route is None:
            raise unknown_model(name, table)
        return route

    async def close(self) -> None:
        """Close all connections. Nothing may be called afterwards."""
        for adapter in self._adapters.values():
            await adapter.close()


class _HookedStream:
    """A stream whose events go through post hooks. Each may take as long as the route's deadline, and no longer."""

    def __init__(self, source: Stream, route: Route) -> None:
        self.headers = source.headers
        self._source = source
        self._route = route
        self._error: GatewayError | None = None
        """What a hook raised behind the events of the last `read`."""

    async def read(self) -> list[Event]:
        if self._error is not None:
            raise self._error
        passed: list[Event] = []
        for arrived in await self._source.read():
            for event in arrived.singly():
                try:
                    passed.append(event if event.data is None else await self._through_hooks(event.data, event))
                except GatewayError as error:
                    if not passed:
                        raise
                    self._error = error
                    return passed
        return passed

    async def aclose(self) -> None:
        await self._source.aclose()

    async def _through_hooks(self, data: JsonObject, event: Event) -> Event:
        deadline_s = asyncio.get_running_loop().time() + self._route.deadline_s
        own = own_data(data, None if event.raw is None else sse.event_data(event.raw))
        return Event(await run_hooks(self._route.post, own, deadline_s=deadline_s), name=event.name)


async def _run_pre_hooks(request: RoutedRequest, params: JsonObject) -> None:
    """Let the pre hooks change what the targets get; `params` itself is not changed.

    Raises Unsupported for an operation that they do not know: what a hook redacts, say, would go out as it is.
    """
    route, operation = request.route, request.operation
    if not operation.takes_hooks:
        unread = next((hook for hook in route.pre if hook.on_error != "skip"), None)
        if unread is not None:
            raise Unsupported(f"{route.alias!r} has the pre hook {unread.path}, which does not know {operation.name}")
        return
    if not route.pre:
        return
    params = await run_hooks(route.pre, copy_json(params), deadline_s=request.started_s + route.deadline_s)
    if params.get("model") != request.model:
        raise HookFailed(f"a pre hook of {route.alias!r} changed the model; a hook may change anything but that")
    request.params = upstream_params(params)


def unknown_model(name: str, table: RoutingTable) -> UnknownModel:
    """Return the error for a name that the table does not have."""
    hint = did_you_mean(name, table.routes, most=3)
    return UnknownModel(f"the model {name[:128]!r} does not exist{hint}", param="model")
