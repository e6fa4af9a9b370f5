"""Answers requests of aliases with a `cache`: by a kept answer, or by a call whose answer is kept.

It is asked after the pre hooks and before the limits, so what it answers takes nothing from these. Kept is what the
chain answered, before post hooks, which run on each answer anew. What answers carry is RFC 9211's `Cache-Status`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.adapters.base import Reply
from gateway.adapters.events import Stream
from gateway.concurrency.steps import in_turns
from gateway.engine.cache.control import Control, control
from gateway.engine.cache.flights import MAX_WAITING, Flights, NoAnswer
from gateway.engine.cache.keepable import KEPT_OPERATIONS, Barred, is_refused, is_repeatable
from gateway.engine.cache.keys import Terms, key_of, terms
from gateway.engine.cache.store import CacheStore, Entry, Kept
from gateway.engine.cache.streams import KeptStream, ReplayedStream
from gateway.engine.request import RoutedRequest
from gateway.errors import NotKept, UpstreamFailed
from gateway.policy.limits import CachePolicy
from gateway.policy.table import Route
from gateway.telemetry.report import CacheResult
from gateway.wire.json import JsonObject, encode_json

MAX_TERMS: Final = 10_000
"""Routes whose terms are kept, by the names that clients ask for. Beyond, all are made anew."""


@dataclass(slots=True)
class _Asking:
    """One request that may be answered by a kept answer."""

    request: RoutedRequest
    route: Route
    """That of the asked alias, as the request's operation passes it; a budget's `then` may change the request's."""
    policy: CachePolicy
    terms: Terms
    key: bytes
    control: Control


class Cache:
    """Keeps answers of aliases and gives them to equal requests. It outlives tables; one event loop."""

    def __init__(self, store: CacheStore) -> None:
        self._store = store
        self._flights = Flights()
        self._terms: dict[tuple[str, str], tuple[Route, Terms]] = {}
        """By asked name and operation: the newest route and its terms."""

    async def complete(
        self,
        request: RoutedRequest,
        body: JsonObject,
        client_headers: Mapping[str, str],
        call: Callable[[], Awaitable[Reply]],
    ) -> Reply:
        """Return the plain answer before post hooks: a kept one, or what `call` returns, which is called once at most.

        `body` is what the asked alias' pre hooks left. Raises NotKept, and what `call` raises.
        """
        asking = await self._asking(request, body, control(client_headers.get("cache-control")), stream=False)
        if isinstance(asking, str):
            request.report.cache = "bypass"
            reply = await call()
            reply.headers = {**reply.headers, _FIELD: _STATUS["bypass"]}
            return reply
        until_s = request.started_s + request.route.deadline_s
        while True:
            kept = await self._kept(asking)
            if kept is not None and kept.age_s < asking.policy.ttl_s:
                return self._replied(asking, kept, "hit")
            _check_may_call(asking)
            if asking.control.no_cache:
                return (await self._fetched(asking, call, None))[0]
            flight = self._flights.find(asking.key)
            if flight is None:
                break
            if flight.waiting >= MAX_WAITING:
                return (await self._fetched(asking, call, kept))[0]
            landing = await flight.wait(until_s=until_s)
            if isinstance(landing, Entry):
                return self._replied(asking, Kept(landing, 0.0), "collapsed")
            if landing is NoAnswer.FAILED:
                return (await self._fetched(asking, call, kept))[0]
        with self._flights.begin(asking.key) as flight:
            try:
                reply, entry = await self._fetched(asking, call, kept)
            except Exception:
                if request.report.calls:
                    flight.landing = NoAnswer.FAILED
                raise
            flight.landing = NoAnswer.FAILED if entry is None else entry
        return reply

    async def open_stream(
        self,
        request: RoutedRequest,
        body: JsonObject,
        client_headers: Mapping[str, str],
        call: Callable[[], Awaitable[Stream]],
    ) -> Stream:
        """Return the stream before post hooks, likewise: a kept one comes at once. The caller closes it."""
        asking = await self._asking(request, body, control(client_headers.get("cache-control")), stream=True)
        if isinstance(asking, str):
            request.report.cache = "bypass"
            stream = await call()
            return KeptStream(stream, {**stream.headers, _FIELD: _STATUS["bypass"]})
        kept = await self._kept(asking)
        if kept is not None and kept.age_s < asking.policy.ttl_s:
            return self._replayed(asking, kept, "hit")
        _check_may_call(asking)
        request.report.cache = "miss"
        try:
            stream = await call()
        except UpstreamFailed:
            if kept is None or not _is_asked_route(asking):
                raise
            return self._replayed(asking, kept, "stale")
        max_bytes = 0 if "content-type" in stream.headers else self._store.max_entry_bytes
        headers = {**stream.headers, _FIELD: _missed(asking)}
        return KeptStream(stream, headers, max_bytes=max_bytes, on_whole=partial(self._keep, asking))

    async def barred(self, request: RoutedRequest, body: JsonObject, wanted: Control, *, stream: bool) -> Barred | None:
        """Return why a request's answer may not be kept, nor a kept one be given; None if it may. For those who look.

        `body` is as for `complete`.
        """
        asking = await self._asking(request, body, wanted._replace(only_if_cached=False), stream=stream)
        return asking if isinstance(asking, str) else None

    async def _asking(
        self, request: RoutedRequest, body: JsonObject, wanted: Control, *, stream: bool
    ) -> _Asking | Barred:
        """Return what is asked of the cache, or why nothing is: the answer may not be kept. Raises NotKept."""
        why: Barred
        route, operation = request.route, request.operation
        if wanted.no_store:
            why = "no_store"
        elif operation.name not in KEPT_OPERATIONS or request.form is not None:
            why = "operation"
        else:
            of = self._terms_of(route, request.model, operation.name)
            if not is_repeatable(operation.name, request.params, of.overrides):
                why = "not_repeatable"
            elif (operation.can_bind or of.binds) and len(await in_turns(operation.bound_to(request.params))):
                why = "bound"
            else:
                assert route.cache is not None, "others are not asked about here"
                shared = route.cache.scope == "shared" and not of.is_nested
                key = await key_of(request, body, of, stream=stream, shared=shared)
                if key is not None:
                    return _Asking(request, route, route.cache, of, key, wanted)
                why = "no_json"
        if wanted.only_if_cached:
            raise NotKept("the request asks for a kept answer only, and none is kept of such a request")
        return why

    def _terms_of(self, route: Route, model: str, operation: str) -> Terms:
        known = self._terms.get((model, operation))
        if known is None or known[0] is not route:
            if len(self._terms) >= MAX_TERMS:
                self._terms.clear()
            known = self._terms[model, operation] = (route, terms(route, model, operation))
        return known[1]

    async def _kept(self, asking: _Asking) -> Kept | None:
        """Return the answer that is kept and of an age that the client takes, be its time over."""
        wanted = asking.control
        if wanted.no_cache:
            return None
        fresh_s = asking.policy.ttl_s
        if wanted.max_age_s is not None:
            fresh_s = min(fresh_s, wanted.max_age_s)
        kept = await self._store.get(asking.key, fresh_s=fresh_s)
        if kept is None or not 0 <= kept.entry.step < len(asking.route.steps):
            return None
        return kept if wanted.max_age_s is None or kept.age_s <= wanted.max_age_s else None

    async def _fetched(
        self, asking: _Asking, call: Callable[[], Awaitable[Reply]], kept: Kept | None
    ) -> tuple[Reply, Entry | None]:
        """Return the chain's answer, and what is kept of it; where the chain fails, what was kept before."""
        asking.request.report.cache = "miss"
        try:
            reply = await call()
        except UpstreamFailed:
            if kept is None or not _is_asked_route(asking):
                raise
            return self._replied(asking, kept, "stale"), None
        entry: Entry | None = None
        if reply.body is None:
            if reply.raw is None:
                reply.raw = encode_json(reply.data)
            if len(reply.raw) <= self._store.max_entry_bytes:
                entry = self._keep(asking, bytes(reply.raw))
        stored = "" if entry is None else "; stored"
        reply.headers = {**reply.headers, _FIELD: f"{_missed(asking)}{stored}"}
        return reply, entry

    def _keep(self, asking: _Asking, content: bytes) -> Entry | None:
        """Keep an answer of the chain, and return it; None if it may not be kept."""
        policy = asking.policy
        step = _answering(asking)
        if step is None or is_refused(content):
            return None
        entry = Entry(step, content)
        self._store.put(asking.key, entry, keep_s=policy.ttl_s + (policy.stale_if_error_s or 0.0))
        return entry

    def _replied(self, asking: _Asking, kept: Kept, result: CacheResult) -> Reply:
        return Reply({}, kept.entry.content, _served(asking, kept, result))

    def _replayed(self, asking: _Asking, kept: Kept, result: CacheResult) -> Stream:
        headers = _served(asking, kept, result)
        entry, request = kept.entry, asking.request
        has_hooks = bool(request.route.post or asking.route.steps[entry.step].nested)
        return ReplayedStream(entry.content, request.operation, headers, parsed=has_hooks)


def _served(asking: _Asking, kept: Kept, result: CacheResult) -> Mapping[str, str]:
    """Note that a kept answer is the request's, and return its header fields: none of the upstream's own.

    Those tell of another request, and of quotas as they were.
    """
    request = asking.request
    step = asking.route.steps[kept.entry.step]
    request.report.cache, request.report.target = result, step.target
    if request.nested is not None:
        request.answered = step
    left_s = math.floor(asking.policy.ttl_s - kept.age_s)  # below 0 for one whose time is over
    return {_FIELD: f"{_STATUS[result]}; ttl={left_s}", "age": str(int(kept.age_s))}


def _missed(asking: _Asking) -> str:
    return "gateway; fwd=request" if asking.control.no_cache else _STATUS["miss"]


def _check_may_call(asking: _Asking) -> None:
    if asking.control.only_if_cached:
        raise NotKept("the request asks for a kept answer only, and there is none")


_FIELD: Final = "cache-status"
_STATUS: Final[Mapping[CacheResult, str]] = {
    "hit": "gateway; hit",
    "collapsed": "gateway; fwd=miss; collapsed",
    "stale": "gateway; fwd=stale; detail=stale-if-error",
    "miss": "gateway; fwd=miss",
    "bypass": "gateway; fwd=bypass",
}
"""RFC 9211, 2.1 to 2.8. A request that waited for an equal one was forwarded with it, so it is no hit."""


def _answering(asking: _Asking) -> int | None:
    """Return the position of the step that answered; None if its answer is for this request only.

    So it is where a budget's `then` sent it to another alias, and where a nested alias' hook made it one that may not
    be kept.
    """
    request, target = asking.request, asking.request.report.target
    if target is None or not _is_asked_route(asking) or request.bound is not None:
        return None
    answered = request.answered
    if request.nested is not None and answered is not None and asking.terms.is_nested:
        operation = request.operation.name
        if not is_repeatable(operation, request.nested.params(answered), asking.terms.overrides):
            return None
    for position, step in enumerate(asking.route.steps):
        if step.target.name == target.name and (answered is None or step.nested == answered.nested):
            return position
    return None


def _is_asked_route(asking: _Asking) -> bool:
    return asking.request.route is asking.route
