"""Scripted upstreams: the only part of a simulated request that is not the gateway's own code."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.adapters.base import Adapter, Adapters, Call, Operation, Reply
from gateway.adapters.events import Stream
from gateway.adapters.mock import MockAdapter, OutcomeOf
from gateway.adapters.translated import TranslatedAdapter, with_translation
from gateway.errors import UsageError
from gateway.policy.failures import Kind, classify
from gateway.policy.params import Params, merged, merged_for_output
from gateway.policy.table import Route
from gateway.policy.target import ScriptedOutcome
from gateway.policy.wires import TRANSLATED
from gateway.wire.json import Json, JsonObject
from gateway.words import did_you_mean

_OF_KIND: Final[Mapping[Kind, tuple[int, str | None]]] = {
    Kind.RATE_LIMIT: (429, "rate_limit_exceeded"),
    Kind.OVERLOADED: (503, None),
    Kind.SERVER_ERROR: (500, None),
    Kind.AUTH: (401, "invalid_api_key"),
    Kind.BILLING: (402, None),
    Kind.NOT_FOUND: (404, "model_not_found"),
    Kind.CONTEXT_WINDOW: (400, "context_length_exceeded"),
    Kind.CONTENT_FILTER: (400, "content_filter"),
    Kind.BAD_REQUEST: (400, None),
}
"""Kind → status and code of its failure; kinds without a status are omitted."""

ANSWERED: Final = ScriptedOutcome(text=None)


def named(kind: Kind) -> ScriptedOutcome:
    """Return the outcome for a kind. A `timeout` never answers, so that the policy's own limits end the attempt."""
    if kind is Kind.TIMEOUT:
        return ScriptedOutcome(text=None, stall=0)
    status, code = _OF_KIND.get(kind, (200, None))
    return ScriptedOutcome(text=None, kind=kind, status=status, code=code)


def best_match(name: str, patterns: Iterable[str]) -> str | None:
    """Return the pattern that matches a name: the name itself, else the one with the longest text before its `*`."""
    fitting = [
        pattern for pattern in patterns if pattern == name or (pattern[-1:] == "*" and name.startswith(pattern[:-1]))
    ]
    return max(fitting, key=lambda pattern: (pattern == name, len(pattern)), default=None)


def read_failure(text: str, route: Route, *, option: str) -> tuple[str, ScriptedOutcome]:
    """Read `TARGET=KIND`: a target or a pattern, and its failure. Raises UsageError, which names the `option`."""
    target, equals, failure = text.rpartition("=")
    names = [step.target.name for step in route.steps]
    if not equals or not target:
        raise UsageError(f"{option} is {text[:128]!r}; write TARGET=KIND, such as {names[0]}=rate_limit")
    if not any(best_match(name, (target,)) for name in names):
        hint = did_you_mean(target, names) or f"; it has {', '.join(names)}"
        raise UsageError(f"{option} names {target[:128]!r}, which is not in the chain of {route.alias!r}{hint}")
    if failure.isascii() and failure.isdigit() and 400 <= int(failure[:4]) <= 599:
        return target, ScriptedOutcome(text=None, kind=classify(int(failure)), status=int(failure))
    kinds = [kind.value for kind in Kind]
    if failure not in kinds:
        hint = did_you_mean(failure, kinds) or f"; write a status, or one of {', '.join(kinds)}"
        raise UsageError(f"{option} has no kind {failure[:128]!r}{hint}")
    return target, named(Kind(failure))


class Script:
    """Outcomes of each target's calls, in order; the last one repeats. A name may be a pattern that ends in `*`."""

    def __init__(self, outcomes: Mapping[str, tuple[ScriptedOutcome, ...]]) -> None:
        self._outcomes = outcomes
        self._plays: dict[str, int] = {}

    def __call__(self, call: Call) -> ScriptedOutcome | None:
        """Return the outcome of the target's next call: scripted, else None (its own) for a mock, else an answer."""
        target = call.target
        outcomes = self._outcomes.get(best_match(target.name, self._outcomes) or "", ())
        if not outcomes:
            return None if target.endpoint.adapter == "mock" else ANSWERED
        play = self._plays.get(target.name, 0)
        self._plays[target.name] = play + 1
        return outcomes[min(play, len(outcomes) - 1)]


@dataclass(frozen=True, slots=True)
class Called:
    """One call that reached a target."""

    operation: Operation
    started_s: float
    """Seconds on the clock of the loop."""
    params: Mapping[str, Json]
    """The request after its hooks."""
    sent: JsonObject
    """The body that the target got: `params` merged with the file's parameters, and `model`."""
    overrides: Params
    """The file's parameters."""
    model: str

    @property
    def shown(self) -> JsonObject:
        """`sent` with secrets masked, for outputs."""
        return merged_for_output(self.params, self.overrides, self.model)


HELD_S: Final = 0.001
"""What the calls take longer of a request that is to be under way when others come."""


class _Recorded(NamedTuple):
    """The calls of one request."""

    calls: list[Called]
    are_held: bool


_recorded: Final[ContextVar[_Recorded | None]] = ContextVar("recorded", default=None)


class Upstreams:
    """All upstreams of a simulated gateway: answers from a script and records each call."""

    def __init__(self, script: OutcomeOf) -> None:
        self.script = script
        self.calls: list[Called] = []
        self.adapters = every_adapter(_Holding(MockAdapter(self._play, clock=lambda: 0.0)))

    def record(self, *, are_held: bool = False) -> list[Called]:
        """Return the list that the calls of this task, and of those that it begins, are added to from now on.

        With `are_held` none of them ends before others that come at the same time have begun.
        """
        calls: list[Called] = []
        _recorded.set(_Recorded(calls, are_held))
        return calls

    def _play(self, call: Call) -> ScriptedOutcome | None:
        started_s = asyncio.get_running_loop().time()
        sent = merged(call.params, call.overrides.sent, call.target.model)
        called = Called(call.operation, started_s, call.params, sent, call.overrides, call.target.model)
        self.calls.append(called)
        if (recorded := _recorded.get()) is not None:
            recorded.calls.append(called)
        return self.script(call)


class _Holding:
    """Makes the calls take longer that are held."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    async def prepare(self) -> None:
        return

    async def complete(self, call: Call) -> Reply:
        await _hold()
        return await self._adapter.complete(call)

    async def stream(self, call: Call) -> Stream:
        await _hold()
        return await self._adapter.stream(call)

    async def close(self) -> None:
        return


async def _hold() -> None:
    if (recorded := _recorded.get()) is not None and recorded.are_held:
        await asyncio.sleep(HELD_S)


def every_adapter(adapter: Adapter) -> Adapters:
    """Return the same adapter under the name of each adapter. It gets chat as it is, whatever the endpoint speaks."""
    carriers: Adapters = {"relay": adapter, "litellm": adapter, "mock": adapter, "translated": adapter}
    return {**with_translation(carriers), "translated": _ChatAsItIs(adapter, TranslatedAdapter(carriers))}


class _ChatAsItIs:
    """Translates into chat, and not from there into an endpoint's own words, which say the same."""

    def __init__(self, adapter: Adapter, translating: Adapter) -> None:
        self._adapter = adapter
        self._translating = translating

    async def prepare(self) -> None:
        return

    async def complete(self, call: Call) -> Reply:
        return await self._for(call).complete(call)

    async def stream(self, call: Call) -> Stream:
        return await self._for(call).stream(call)

    async def close(self) -> None:
        return

    def _for(self, call: Call) -> Adapter:
        return self._translating if call.operation.name in TRANSLATED else self._adapter
