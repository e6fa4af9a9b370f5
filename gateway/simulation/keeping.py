"""Whether a request would be answered from the cache, and its answer kept: for `gateway explain` and `/-/explain`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.adapters.base import Operation
from gateway.engine.cache.cache import Cache
from gateway.engine.cache.control import Control, control
from gateway.engine.cache.keepable import Barred, what_it_leaves
from gateway.engine.cache.keys import terms
from gateway.engine.cache.memory import MemoryAnswers
from gateway.engine.facts import RequestFacts
from gateway.engine.request import RoutedRequest
from gateway.policy.limits import CachePolicy
from gateway.policy.params import upstream_params
from gateway.policy.table import Route
from gateway.simulation import clock as virtual
from gateway.telemetry.report import CallReport
from gateway.wire.json import EMPTY, Json, JsonObject

CACHE_BYTES: Final = 64 * 1024 * 1024
"""What a simulated gateway keeps of answers, as `--cache-size` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What an alias' cache does for one request."""

    policy: CachePolicy
    client: str | None
    """Who asks; None for a request without a client key."""
    control: Control
    """What the request's `Cache-Control` asks for."""
    why_not: str | None
    """Why it is neither looked up nor kept; None if it is."""
    has_room: bool = True
    """The gateway keeps answers at all."""
    is_sent_on: bool = False
    """A budget's `then` sends it to another alias, whose answer is not kept."""

    @property
    def is_looked_up(self) -> bool:
        """A kept answer would be given, if there is one."""
        return self.why_not is None and not self.control.no_cache

    @property
    def needs_kept(self) -> bool:
        """Nothing is called for it, by its own wish."""
        return self.control.only_if_cached and self.has_room

    @property
    def is_kept(self) -> bool:
        """What the chain answers would be kept."""
        return self.why_not is None and not self.control.only_if_cached and not self.is_sent_on


def simulated_answers() -> MemoryAnswers:
    """Return an empty home of kept answers on the clock of the simulation that runs."""
    return MemoryAnswers(CACHE_BYTES, clock=asyncio.get_running_loop().time)


def keeping(
    name: str,
    route: Route,
    operation: Operation,
    body: Mapping[str, Json],
    *,
    stream: bool,
    headers: Mapping[str, str],
    client: str | None,
    facts: RequestFacts,
    is_sent_on: bool = False,
    keeps: bool = True,
) -> Keeping | None:
    """Return what the cache of a route does for a request that asks for `name`; None for a route without one.

    `body` is as pre hooks leave it. Not `keeps`: the gateway has no room for answers. Runs an event loop of its own, so
    never call it from a coroutine.
    """
    if route.cache is None:
        return None
    wanted = control(headers.get("cache-control"))
    params = upstream_params({**body})
    passing = route.passing(operation.name).route

    async def ask() -> tuple[RoutedRequest, Barred | None]:
        request = RoutedRequest(operation, name, passing, params, EMPTY, 0.0, CallReport(), client=client)
        if route.parts is not None:
            request.facts = facts
        return request, await Cache(simulated_answers()).barred(request, {**body}, wanted, stream=stream)

    request, barred = virtual.run(ask())
    why_not = None if barred is None else _WHY.get(barred) or _why(barred, request)
    if not keeps:
        why_not = "this gateway keeps no answers: its --cache-size is 0"
    return Keeping(
        policy=route.cache, client=client, control=wanted, why_not=why_not, has_room=keeps, is_sent_on=is_sent_on
    )


_WHY: Final[Mapping[Barred, str]] = {
    "no_store": "it says `Cache-Control: no-store`",
    "bound": "it names what only its maker has, so it is bound to one target",
    "no_json": "a pre hook has made it something that JSON cannot hold",
}


def _why(barred: Barred, request: RoutedRequest) -> str:
    operation = request.operation.name
    if barred == "operation":
        return f"no answer to {operation} is ever kept"
    return what_it_leaves(operation, request.params, terms(request.route, request.model, operation).overrides)


def keeping_as_json(keeping: Keeping) -> JsonObject:
    """Return what the cache does for a request; durations are in seconds."""
    policy = keeping.policy
    return {
        "ttl_s": policy.ttl_s,
        "scope": policy.scope,
        "stale_if_error_s": policy.stale_if_error_s,
        "looked_up": keeping.is_looked_up,
        "kept": keeping.is_kept,
        "why_not": keeping.why_not,
    }
