"""Which requests are equal: a hash of all that an answer depends on.

Large bodies are hashed as they were sent, in slices between which other requests run; others in a form that does not
depend on blanks and the order of fields.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from gateway.engine.cache.keepable import deciding
from gateway.engine.facts import RequestFacts
from gateway.engine.request import RoutedRequest
from gateway.policy.conditions import unmet
from gateway.policy.pools import Conditional, Part, Pool
from gateway.policy.table import KEEPER, AliasHooks, Route, Step
from gateway.wire.json import EMPTY, Json, JsonObject, RawJson, canonical_json

_FORM: Final = 1
"""The version of what is hashed: another one shares nothing with it."""
_NO_MATTER: Final = frozenset({"user", "metadata", "safety_identifier"})
"""Fields of a body that tell who asks,"""
_PROMPT_CACHE: Final = "prompt_cache_"
"""and how the names of those begin that tell how the vendor caches."""
_IDS: Final = frozenset({"x-request-id", "traceparent", "tracestate"})
"""Header fields that go upstream and differ from request to request."""
_SLICE_BYTES: Final = 256 * 1024


class Terms(NamedTuple):
    """What a route brings into the keys of its requests."""

    identity: bytes
    """A hash of the name that was asked for, and of the compiled chain."""
    overrides: tuple[Mapping[str, Json], ...]
    """The file's parameters, of steps where they decide whether a request may be kept; else one empty block."""
    binds: bool
    """A step is of a provider that keeps what clients of other wires can name."""
    is_nested: bool
    """Pre hooks of nested aliases run after the cache is asked, on the whole body."""


def terms(route: Route, model: str, operation: str) -> Terms:
    """Return the terms of a route for requests of one operation that ask for `model`."""
    nested = any(hooks.pre for step in route.steps for hooks in step.nested)
    chain = [
        _FORM,
        model,
        operation,
        [hook.path for hook in route.pre],
        [_step(step, operation) for step in route.steps],
    ]
    return Terms(
        identity=sha256(canonical_json(chain)).digest(),
        overrides=overrides_of(route.steps),
        binds=any(step.target.endpoint.kind == KEEPER for step in route.steps),
        is_nested=nested,
    )


def _step(step: Step, operation: str) -> list[Json]:
    """Return what decides about a step's answers. Not its keys, limits and retries."""
    endpoint = step.target.endpoint
    return [
        step.target.name,
        step.target.model,
        [endpoint.provider, endpoint.kind, endpoint.adapters.get(operation)],
        [endpoint.base_url, endpoint.relay_url, endpoint.api_version],
        endpoint.headers,
        step.params.sent,
        repr(endpoint.script) if endpoint.script else None,
        [_hooks(hooks) for hooks in step.nested],
    ]


def _hooks(hooks: AliasHooks) -> list[Json]:
    return [hooks.alias, [hook.path for hook in hooks.pre]]


def overrides_of(steps: Sequence[Step]) -> tuple[Mapping[str, Json], ...]:
    """Return the file's parameters of steps where they decide whether a request may be kept; else one empty block."""
    blocks = [step.params.sent if deciding(step.params.sent) else EMPTY for step in steps]
    return tuple([block for place, block in enumerate(blocks) if block not in blocks[:place]])


async def key_of(request: RoutedRequest, body: JsonObject, of: Terms, *, stream: bool, shared: bool) -> bytes | None:
    """Return the key of a request; None if JSON cannot hold what a hook has made.

    `body` is what the asked alias' pre hooks have left, which nested ones get whole. `shared`: clients get each other's
    answers.
    """
    params: JsonObject = {}
    long: list[tuple[str, RawJson]] = []
    for name, value in (body if of.is_nested else request.params).items():
        if type(value) is RawJson:
            long.append((name, value))
        elif of.is_nested or not (name in _NO_MATTER or name.startswith(_PROMPT_CACHE)):
            params[name] = value
    met = None if request.facts is None else await _conditions(request, request.facts)
    # A list: where one part ends and the next begins must not be for a client to choose.
    asked = [
        None if shared else [request.client],
        stream,
        request.query,
        None if request.headers.keys() <= _IDS else _own_fields(request.headers),
        met,
        params,
        [[name, len(value.encoded)] for name, value in long],
    ]
    try:
        found = sha256(of.identity + canonical_json(asked))
    except TypeError:
        return None
    for _, value in long:
        data = value.encoded
        for start in range(0, len(data), _SLICE_BYTES):
            found.update(data[start : start + _SLICE_BYTES])
            await asyncio.sleep(0)
    return found.digest()


def _own_fields(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _IDS}


async def _conditions(request: RoutedRequest, facts: RequestFacts) -> list[bool]:
    """Return whether the request meets each condition of its chain."""
    facts.params = request.params
    if request.route.asks:
        await facts.read_ahead(request.route.asks)
    met: list[bool] = []
    _ask(request.route.parts or (), facts, met, reached=True)
    return met


def _ask(parts: Sequence[Part], facts: RequestFacts, met: list[bool], *, reached: bool) -> None:
    """Ask the conditions of these parts, in file order. Those within one that is not met do not matter."""
    for part in parts:
        if type(part) is Conditional:
            met.append(reached and unmet(part.when, facts) is None)
            _ask(part.parts, facts, met, reached=met[-1])
        elif type(part) is Pool:
            for member in part.members:
                _ask(member.parts, facts, met, reached=reached)
