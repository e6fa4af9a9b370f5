"""Answers a request: looks up its alias, runs pre hooks, attempts and post hooks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import TypeAlias

from gateway.adapters.base import Adapters, NotWhole, Operation, Reply, whole
from gateway.adapters.events import Stream
from gateway.engine.arrange import arranged, stuck_keys
from gateway.engine.attempts import Engine
from gateway.engine.bound import NotingStream, bound, relaying_steps
from gateway.engine.cache.cache import Cache
from gateway.engine.facts import RequestFacts, WallClock
from gateway.engine.final_error import not_whole
from gateway.engine.health import Health
from gateway.engine.hedges import Hedges
from gateway.engine.hooked_stream import HookedStream
from gateway.engine.hooks import changed_by, copy_json, own_data, refusal, run_hooks
from gateway.engine.limits.admission import Limits
from gateway.engine.limits.entering import enter_room, leave_out_unpriced
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.limits.settled_stream import SettledStream
from gateway.engine.limits.uses import text_bytes_of
from gateway.engine.makers import Makers
from gateway.engine.nested import NestedHooks, post_hooks
from gateway.engine.picks import Draw
from gateway.engine.request import RoutedRequest
from gateway.engine.shadows import Shadows
from gateway.errors import BadRequest, UnknownModel, Unsupported
from gateway.policy.clients import Client
from gateway.policy.overlay import Tables
from gateway.policy.params import upstream_params
from gateway.policy.table import MAX_NAME, Hook, Route, RoutingTable
from gateway.telemetry.report import CallReport
from gateway.wire.json import EMPTY, JsonObject
from gateway.wire.multipart import Form
from gateway.words import did_you_mean

OnKeepalive: TypeAlias = Callable[[bytes, float], None]
"""Called with what keeps a silent stream of the operation alive, and the seconds of silence."""


class Pipeline:
    """Answers requests by the live routing table. Use one on one event loop at a time."""

    def __init__(
        self,
        *,
        tables: Tables,
        adapters: Adapters,
        health: Health,
        makers: Makers | None = None,
        jitter: Callable[[], float] = random.random,
        draw: Draw = random.random,
        wall_clock: WallClock = time.time,
        shadows: Shadows | None = None,
        limits: Limits | None = None,
        cache: Cache | None = None,
        provider_limits: ProviderLimits | None = None,
    ) -> None:
        """`jitter` returns a random number from 0 to 1 for each failed attempt; it spreads the retries.

        `makers` remembers who made what bound requests name. `draw` decides in pools, `wall_clock` when conditions on
        the time hold. `shadows` send requests once more to the shadows of aliases; without them nothing does. `limits`
        say what clients may ask for; without them all may ask for everything. `provider_limits` say what may be asked
        of providers, likewise. `cache` keeps the answers of aliases that say so; without it none are kept.
        """
        self.tables = tables
        """Owns the live table."""
        self._adapters = adapters
        self._health = health
        self._makers = Makers() if makers is None else makers
        self._draw = draw
        self._wall_clock = wall_clock
        self._shadows = shadows
        self._limits = limits
        self._cache = cache
        self._provider_limits = provider_limits
        self._engine = Engine(adapters=adapters, health=health, jitter=jitter)
        self._hedges = Hedges(self._engine, health)

    def answer(
        self,
        operation: Operation,
        params: JsonObject,
        *,
        report: CallReport,
        headers: Mapping[str, str] = EMPTY,
        query: str = "",
        form: Form | None = None,
        client: Client | None = None,
        client_headers: Mapping[str, str] = EMPTY,
    ) -> Coroutine[None, None, Reply]:
        """Return the plain answer to the request body `params`, which is not changed.

        `headers`, `query` and the files of `form`, whose texts are `params`, are sent upstream; `client` is the one
        whose key was sent, `client_headers` are all that it sent, with lower-case names. `report` is filled in along
        the way. Raises GatewayError, some before the await.
        """
        request = self._request(operation, params, report, headers, query, form, client)
        if request.admission is not None:
            call = self._admitted if request.route.is_plain else self._limited
            return call(request, params, client_headers)
        if request.route.is_plain:
            return self._bound(request) if operation.can_bind else self._engine.complete(request)
        self._note_facts(request, client_headers, stream=False)
        if request.route.cache is not None and self._cache is not None:
            return self._cached(request, self._cache, params, client_headers)
        return self._hooked(request, params) if request.route.has_hooks else self._routed(request)

    async def _hooked(self, request: RoutedRequest, params: JsonObject) -> Reply:
        """Return the plain answer, with pre and post hooks run."""
        await _run_pre_hooks(request, params)
        return await _post_hooked(request, await self._routed(request))

    async def _limited(self, request: RoutedRequest, params: JsonObject, client_headers: Mapping[str, str]) -> Reply:
        """Return the plain answer to a request that takes from limits, with its hooks run. Not for plain routes."""
        self._note_facts(request, client_headers, stream=False)
        if request.route.cache is not None and self._cache is not None:
            return await self._cached(request, self._cache, params, client_headers)
        body = await _run_pre_hooks(request, params)
        return await _post_hooked(request, await self._admitted(request, body, client_headers))

    async def _cached(
        self, request: RoutedRequest, cache: Cache, params: JsonObject, client_headers: Mapping[str, str]
    ) -> Reply:
        """Return the plain answer of an alias that keeps its answers, with its hooks run. A kept one takes nothing."""
        body = await _run_pre_hooks(request, params) if request.route.has_hooks else params
        call = partial(self._admitted, request, body, client_headers)
        return await _post_hooked(request, await cache.complete(request, body, client_headers, call))

    async def _admitted(self, request: RoutedRequest, body: JsonObject, client_headers: Mapping[str, str]) -> Reply:
        """Return the plain answer before post hooks. What it takes from limits is settled, however it ends.

        `body` is the request after its pre hooks. A plain route has none; those of another that it is sent on to run.
        """
        admission, route, operation = request.admission, request.route, request.operation
        if admission is None:
            return await self._routed(request)
        other = None
        try:
            entering = admission.try_enter(operation, route, request.params)
            if entering is not None and (other := await entering) is not None:
                self._send_on(request, other, body, client_headers, stream=False)
            if other is None and route.is_plain and not operation.can_bind and not admission.unpriced:
                reply = await self._engine.complete(request)
                if reply.body is not None:
                    reply.body = SettledStream(reply.body, admission, operation)
            else:
                reply = await self._routed(request)
        except BaseException:
            admission.close(answered=any(attempt.kind is None for attempt in request.report.attempts))
            raise
        if reply.body is None:
            told = request.report.tokens
            text_bytes = text_bytes_of(operation, reply, told) if admission.counts_tokens else 0
            admission.close(answered=True, text_bytes=text_bytes)
        return reply if other is None or not route.is_plain else await _post_hooked(request, reply)

    async def _whole_stream(
        self, request: RoutedRequest, params: JsonObject, client_headers: Mapping[str, str]
    ) -> Stream:
        """Return the stream of a request that takes from limits, or of an alias that keeps its answers, likewise."""
        self._note_facts(request, client_headers, stream=True)
        body = await _run_pre_hooks(request, params)
        if request.route.cache is None or self._cache is None:
            return await hooked_body(await self._admitted_stream(request, body, client_headers), request)
        call = partial(self._admitted_stream, request, body, client_headers)
        return await hooked_body(await self._cache.open_stream(request, body, client_headers, call), request)

    async def _admitted_stream(
        self, request: RoutedRequest, body: JsonObject, client_headers: Mapping[str, str]
    ) -> Stream:
        """Return the stream before post hooks, likewise; its end settles what it takes."""
        admission = request.admission
        if admission is None:
            return await self._routed_stream(request)
        try:
            entering = admission.try_enter(request.operation, request.route, request.params)
            if entering is not None and (other := await entering) is not None:
                self._send_on(request, other, body, client_headers, stream=True)
            return await self._routed_stream(request)
        except BaseException:
            admission.close(answered=False)
            raise

    def _send_on(
        self, request: RoutedRequest, route: Route, body: JsonObject, client_headers: Mapping[str, str], *, stream: bool
    ) -> None:
        """Go on by the alias of a budget's `then`. `body` is the request after its pre hooks."""
        request.route = _passed(route, request.operation.name)
        request.nested = None
        if request.route.has_nested:
            request.nested = _nested(request, _decoded(body, request.route))
        if request.facts is None:
            self._note_facts(request, client_headers, stream=stream)

    async def _routed(self, request: RoutedRequest) -> Reply:
        """Return the plain answer to a request whose pre hooks have run."""
        if request.route.is_limited and self._provider_limits is not None:
            await enter_room(request, self._provider_limits, self.tables.current.price_of)
        if request.operation.can_bind or request.route.keeps:
            reply = await self._bound(request)
        else:
            if request.facts is not None:
                await self._arrange(request, request.facts)
            reply = await self._completed(request)
        if request.admission is not None and reply.body is not None:
            reply.body = SettledStream(reply.body, request.admission, request.operation)
        if request.route.shadow is not None and self._shadows is not None:
            price_of = self.tables.current.price_of
            self._shadows.send(request, request.route.shadow, stream=False, price_of=price_of)
        return reply

    async def _routed_stream(self, request: RoutedRequest) -> Stream:
        """Return the stream, likewise."""
        if request.route.is_limited and self._provider_limits is not None:
            await enter_room(request, self._provider_limits, self.tables.current.price_of)
        if request.operation.can_bind or request.route.keeps:
            stream = await self._bound_stream(request)
        else:
            if request.facts is not None:
                await self._arrange(request, request.facts)
            stream = await self._opened(request)
        if request.admission is not None:
            stream = SettledStream(stream, request.admission, request.operation)
        if request.route.shadow is not None and self._shadows is not None:
            price_of = self.tables.current.price_of
            self._shadows.send(request, request.route.shadow, stream=True, price_of=price_of)
        return stream

    def _completed(self, request: RoutedRequest) -> Coroutine[None, None, Reply]:
        """Return the plain answer of the first target that has one."""
        leave_out_unpriced(request)
        is_hedged = request.route.hedge is not None and request.bound is None
        return (self._hedges if is_hedged else self._engine).complete(request)

    def _opened(self, request: RoutedRequest) -> Coroutine[None, None, Stream]:
        """Return the stream of the first target whose stream commits."""
        leave_out_unpriced(request)
        is_hedged = request.route.hedge is not None and request.bound is None
        return (self._hedges if is_hedged else self._engine).open_stream(request)

    def _note_facts(self, request: RoutedRequest, client_headers: Mapping[str, str], *, stream: bool) -> None:
        """Keep what the route's pools and conditions may ask of the request."""
        if request.route.is_paced:
            request.pace = request.operation.name, stream
        if request.route.parts is not None:
            request.facts = RequestFacts(
                request.operation,
                request.params,
                arrived=partial(self._arrived_at, request.loop, request.started_s),
                stream=stream,
                headers=client_headers,
                client=request.client,
                form=request.form,
            )

    def _arrived_at(self, loop: asyncio.AbstractEventLoop, started_s: float) -> float:
        return self._wall_clock() - (loop.time() - started_s)

    async def _arrange(self, request: RoutedRequest, facts: RequestFacts) -> None:
        """Put the steps into the order for this request."""
        facts.params = request.params  # as the pre hooks have left them
        if request.route.asks:
            await facts.read_ahead(request.route.asks)
        now_s = request.loop.time()
        request.arranged = arranged(request.route, facts, self._health, self._draw, now_s=now_s, room=request.room)
        made = request.arranged.made
        request.report.sticky = made.source
        if made.source is not None:
            request.key_order = partial(stuck_keys, request.route, made, facts)

    async def _bound(self, request: RoutedRequest) -> Reply:
        """Return the plain answer of the target that the request is bound to, if to one, and remember its ids."""
        await self._bind(request)
        reply = await self._completed(request)
        if request.carrier == "relay" and request.operation.can_bind:  # ids of translated answers name nothing upstream
            self._note(request, request.operation.made(reply.data))
        return reply

    async def _bound_stream(self, request: RoutedRequest) -> Stream:
        """Return the stream, likewise."""
        await self._bind(request)
        stream = await self._opened(request)
        if request.carrier != "relay" or not request.operation.can_bind:
            return stream
        return NotingStream(stream, request.operation, partial(self._note, request))

    async def _bind(self, request: RoutedRequest) -> None:
        steps, operation = request.route.steps, request.operation
        facts = request.facts
        if len(steps) > 1 or facts is not None or steps[0].by_key:
            now_s = request.loop.time()
            relaying = relaying_steps(steps, operation, self._health.missing, now_s=now_s)
            request.bound = await bound(operation, request.params, steps, relaying, self._makers, client=request.client)
            if request.bound is not None:
                request.left_out = request.bound.others(len(steps))
                request.route = request.bound.kept(request.route)
        if facts is not None and request.bound is None:
            await self._arrange(request, facts)

    def _note(self, request: RoutedRequest, ids: Iterable[str]) -> None:
        target = request.report.target
        assert target is not None, "ids are noted of answers"
        self._makers.note(ids, target, alias=request.report.alias, client=request.client)

    async def open_stream(
        self,
        operation: Operation,
        params: JsonObject,
        *,
        report: CallReport,
        headers: Mapping[str, str] = EMPTY,
        query: str = "",
        form: Form | None = None,
        client: Client | None = None,
        client_headers: Mapping[str, str] = EMPTY,
        on_keepalive: OnKeepalive | None = None,
    ) -> Stream:
        """Return the stream that answers the request body `params`, once it has committed. Raises GatewayError.

        The caller closes the stream. Reading it raises GatewayError when it breaks. `on_keepalive` is called before
        anything else happens if the route has a `stream.keepalive`.
        """
        request = self._request(operation, params, report, headers, query, form, client)
        keepalive_s = request.route.stream.keepalive_s
        if keepalive_s is not None and on_keepalive is not None:
            on_keepalive(operation.keepalive, keepalive_s)
        if request.admission is not None or request.route.cache is not None:
            return await self._whole_stream(request, params, client_headers)
        if request.route.is_plain:
            return await (self._bound_stream if operation.can_bind else self._engine.open_stream)(request)
        self._note_facts(request, client_headers, stream=True)
        if not request.route.has_hooks:
            return await self._routed_stream(request)
        await _run_pre_hooks(request, params)
        return await hooked_body(await self._routed_stream(request), request)

    def _request(
        self,
        operation: Operation,
        params: JsonObject,
        report: CallReport,
        headers: Mapping[str, str],
        query: str,
        form: Form | None,
        client: Client | None,
    ) -> RoutedRequest:
        loop = asyncio.get_running_loop()
        table = self.tables.current
        report.generation = table.generation
        name = params.get("model")
        if not isinstance(name, str) or not name:
            raise BadRequest("the request names no model", param="model")
        route = _find(name, table)
        report.alias = route.alias
        request = RoutedRequest(
            operation, name, route, upstream_params(params), headers, loop.time(), report, query, form, loop=loop
        )
        if client is not None:
            request.client = client.name
        if (table.clients or (client is not None and client.has_own_group)) and self._limits is not None:
            request.admission = self._limits.admission(table, route, client, report)
        return request

    async def left_by_pre_hooks(self, operation: Operation, params: JsonObject) -> JsonObject:
        """Return the request body `params` as the asked alias' pre hooks leave it, and call nobody.

        Raises GatewayError if one ends the request.
        """
        request = self._request(operation, params, CallReport(), EMPTY, "", None, None)
        await _run_pre_hooks(request, params)
        return {**request.params}

    def route(self, name: str) -> Route:
        """Return the live table's route for a client's `name`. Raises UnknownModel."""
        return _find(name, self.tables.current)

    async def close(self) -> None:
        """Close all connections. Nothing may be called afterwards."""
        for adapter in self._adapters.values():
            await adapter.close()


async def _post_hooked(request: RoutedRequest, reply: Reply) -> Reply:
    """Return a plain answer with post hooks run."""
    if reply.body is not None:
        reply.body = await hooked_body(reply.body, request)
    elif hooks := _post_hooks(request):
        deadline_s = request.started_s + request.route.deadline_s
        reply.data = await run_hooks(hooks, own_data(reply.data, reply.raw), deadline_s=deadline_s)
        reply.raw = None
    return reply


async def hooked_body(body: Stream, request: RoutedRequest) -> Stream:
    """Return a stream with post hooks run on its events. Sound passes as it is.

    Raises Unsupported for a text that a hook has to see: it is no event.
    """
    hooks = _post_hooks(request)
    kind = body.headers.get("content-type")
    if kind is None:
        return HookedStream(body, hooks, request.operation, limit_s=request.route.deadline_s) if hooks else body
    strict = next((hook for hook in hooks if hook.on_error != "skip"), None)
    if strict is not None and kind.startswith("text/"):
        await body.aclose()
        raise Unsupported(f"the answer is {kind}, which the post hook {strict.path} cannot see: ask for it in JSON")
    return body


async def _run_pre_hooks(request: RoutedRequest, params: JsonObject) -> JsonObject:
    """Run the pre hooks on a copy of `params`, set `request.params` to the result, and return the body.

    Those of nested aliases run later, before the first of their steps. From here on the request's route has the hooks
    that know its operation only. Raises Unsupported if a pre hook does not know it and must see every request.
    """
    operation = request.operation.name
    route = request.route = _passed(request.route, operation)
    if route.pre or route.has_nested:
        params = _decoded(params, route)
    if route.pre:
        deadline_s = request.started_s + route.deadline_s
        params = await changed_by(
            route.pre,
            copy_json(params),
            alias=route.alias,
            model=request.model,
            operation=operation,
            client=request.client,
            deadline_s=deadline_s,
        )
        request.params = upstream_params(params)
    if route.has_nested:
        request.nested = _nested(request, params)
    return params


def _passed(route: Route, operation: str) -> Route:
    """Return the route with the hooks that know the operation. Raises Unsupported if one refuses it."""
    passing, refused_by = route.passing(operation)
    if refused_by is not None:
        raise refusal(*refused_by, operation)
    return passing


def _nested(request: RoutedRequest, body: JsonObject) -> NestedHooks:
    return NestedHooks(body, model=request.model, operation=request.operation.name, client=request.client)


def _decoded(params: JsonObject, route: Route) -> JsonObject:
    """Return the body for hooks, which see all of it. Raises BadRequest for one too large for that."""
    try:
        return {**whole(params)}
    except NotWhole as error:
        raise not_whole(f"a hook of {route.alias!r} {error}", error) from error


def _post_hooks(request: RoutedRequest) -> tuple[Hook, ...]:
    """Return the post hooks for the answer of the step that answered."""
    answered = request.answered
    return request.route.post if answered is None else (*request.route.post, *post_hooks(answered))


def _find(name: str, table: RoutingTable) -> Route:
    route = table.find(name)
    if route is None:
        raise unknown_model(name, table)
    return route


def unknown_model(name: str, table: RoutingTable) -> UnknownModel:
    """Return the error for a name that the table does not have."""
    if len(name) > MAX_NAME:
        return name_too_long()
    hint = did_you_mean(name, table.routes, most=3)
    return UnknownModel(f"the model {name[:128]!r} does not exist{hint}", param="model")


def name_too_long() -> UnknownModel:
    """Return the error for a name that no alias can have. It does not repeat the name."""
    return UnknownModel(f"no such model: a model's name has at most {MAX_NAME} characters", param="model")
