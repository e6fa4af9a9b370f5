"""Simulate one call of a route in the real engine on a virtual clock, and record its decision after each attempt."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import attrgetter
from typing import Final, Literal, TypeAlias

from gateway.adapters.base import Call, Operation
from gateway.adapters.mock import MockAdapter
from gateway.engine.arrange import Arrangement, arranged
from gateway.engine.attempts import Engine, unsupported_steps
from gateway.engine.facts import RequestFacts
from gateway.engine.health import Health
from gateway.engine.hedges import Hedges
from gateway.engine.limits.entering import NO_NAMES, leave_out_unpriced
from gateway.engine.limits.estimate import PriceOf
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.limits.reservations import Reservations
from gateway.engine.limits.store import Fill
from gateway.engine.next_step import FIRST, GiveUp, NoRetry, Try, Wait
from gateway.engine.one_attempt import held_limit_s
from gateway.engine.picks import Draw
from gateway.engine.request import RoutedRequest
from gateway.engine.rests import Rest, without_room
from gateway.errors import GatewayError
from gateway.operations import CHAT
from gateway.policy.failures import Kind
from gateway.policy.table import Route, Step
from gateway.policy.target import ScriptedOutcome
from gateway.simulation import clock as virtual
from gateway.simulation.buckets import refill, simulated_store
from gateway.simulation.upstreams import every_adapter
from gateway.telemetry.report import HEDGED_OUT, CallReport, Closed, PassedOver
from gateway.wire.json import EMPTY

JITTER: Final = 1.0
"""Every backoff takes its longest time, so that waits are the same each time."""

SEED: Final = 0
"""Of the draws in pools, so that they are the same each time."""


def seeded(seed: int) -> Draw:
    """Return draws that are the same each time."""
    return random.Random(seed).random  # noqa: S311 - it decides in pools, and keeps no secret


Suppose: TypeAlias = Callable[[Call, int, int], ScriptedOutcome | None]
"""(call, position of its step, earlier tries of that step) → outcome; None leaves it to the mock's own script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One attempt and the decision after it."""

    step: int
    """Position in the chain, from 0."""
    started_s: float
    ended_s: float
    kind: Kind | Closed | None
    """Kind of the failure, or that it was closed; None when the target answers."""
    status: int | None
    last_resort: bool
    """Whether the target is in cooldown and tried only because no other is left."""
    then: Literal["answers", "closed", "key", "retry", "next", "stop", "give up"]
    """`key`: the same target is called at once with another of its keys. `closed`: the call beside it answers."""
    hedge: bool = False
    """It is begun beside another call that takes long."""
    wait_s: float = 0.0
    """Seconds before the retry."""
    why: str = ""
    """Reason not to retry this target, or to end the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The outcome of the whole call. Times are seconds from its arrival."""

    events: tuple[Event, ...]
    """In the order in which they begin."""
    ended_s: float
    error: GatewayError | None
    """The client's error when no target answers."""
    reason: Literal["answered", "stopped", "exhausted", "deadline", "resting"]
    passed_over: Mapping[int, PassedOver]
    """Skipped steps, each with the reason."""
    unpriced: frozenset[int] = frozenset()
    """Those that are skipped since spend is limited and their target's price is not known."""
    arrangement: Arrangement | None = None
    """The order of the steps where the chain has pools or conditions."""

    @property
    def answered(self) -> int | None:
        """The step that answers; None when none does."""
        return next((event.step for event in self.events if event.then == "answers"), None)

    @property
    def tried(self) -> frozenset[int]:
        """Steps whose target is called."""
        return frozenset(event.step for event in self.events)


def walk(
    route: Route,
    suppose: Suppose,
    *,
    operation: Operation = CHAT,
    stream: bool = False,
    mock: MockAdapter | None = None,
    health: Health | None = None,
    facts: RequestFacts | None = None,
    draw: Draw | None = None,
    fills: Sequence[Fill] | None = None,
    unpriced: frozenset[str] = NO_NAMES,
    price_of: PriceOf | None = None,
) -> Walk:
    """Return the attempts of a call until its answer, its stream's first content, or its failure. No hooks run.

    Pools and conditions are asked for the request of `facts`, an empty one if None; `draw` decides in pools, the same
    way each time if None. `mock` has the positions in the scripts of mocks, `health` the targets' health, `fills` what
    is used of providers' limits (None: they have none), all as of the call's arrival at second 0. `unpriced` are
    targets that are not called, as spend is limited and `price_of` does not know them. Runs an event loop of its own,
    so never call it from a coroutine.
    """
    if route.parts is not None and facts is None:
        facts = RequestFacts(operation, EMPTY, arrived=time.time, stream=stream)
    call = _Call(route, suppose, mock or MockAdapter(), health or Health(), facts, draw or seeded(SEED), fills)
    call.unpriced, call.price_of = unpriced, price_of
    return virtual.run(call.run(operation, stream=stream))


class _Call:
    """One simulated call: supplies the outcome of each attempt and records each decision of the engine."""

    def __init__(
        self,
        route: Route,
        suppose: Suppose,
        mock: MockAdapter,
        health: Health,
        facts: RequestFacts | None,
        draw: Draw,
        fills: Sequence[Fill] | None,
    ) -> None:
        self._route = route
        self._suppose = suppose
        self._health = health
        self._facts = facts
        self._draw = draw
        self._fills = fills
        self.unpriced = NO_NAMES
        self.price_of: PriceOf | None = None
        self._order: Sequence[int] = tuple(range(len(route.steps)))
        """Position in the order of the call → position in the file's order. Decisions have the first."""
        adapters = every_adapter(mock.twin(self._begin))
        engine = Engine(adapters=adapters, health=health, jitter=lambda: JITTER, observer=self._decided)
        self._engine = engine if route.hedge is None else Hedges(engine, health)
        self._decision: Try | GiveUp = FIRST
        self._decided_for: dict[int, Try] = {}
        """Step → the decision to call it last: with a hedge two chains of decisions are mixed."""
        self._tries: list[tuple[Try, float]] = []
        """The decision for each attempt, and the time it began."""
        self._resting: dict[int, PassedOver] = {}
        """Steps that were passed over because their target is in cooldown, or their provider has no room."""

    async def run(self, operation: Operation, *, stream: bool) -> Walk:
        loop = asyncio.get_running_loop()
        report = CallReport(alias=self._route.alias)
        route = self._route
        params = operation.example if self._facts is None else self._facts.params or operation.example
        request = RoutedRequest(operation, route.alias, route, params, EMPTY, loop.time(), report)
        if route.is_paced:
            request.pace = operation.name, stream
        if route.is_limited and self._fills is not None:
            store = simulated_store(time.time())
            refill(store, route.steps, self._fills)
            limits = ProviderLimits(Reservations(store))
            request.room = await limits.room(operation, params, route, report, price_of=self.price_of)
        if route.parts is not None and self._facts is not None:
            now_s, room = loop.time(), request.room
            request.arranged = arranged(route, self._facts, self._health, self._draw, now_s=now_s, room=room)
            self._order = request.arranged.made.order
        leave_out_unpriced(request, self.unpriced)
        error: GatewayError | None = None
        try:
            if stream:
                opened = await self._engine.open_stream(request)
                ended_s = loop.time()
                await opened.aclose()
            else:
                reply = await self._engine.complete(request)
                ended_s = loop.time()
                if reply.body is not None:
                    await reply.body.aclose()
        except GatewayError as exc:
            error, ended_s = exc, loop.time()
        called = sorted([one for one in report.attempts if one.was_called], key=attrgetter("start_ms"))
        events = [
            Event(
                step=self._order[decision.step],
                started_s=started_s,
                ended_s=started_s + attempt.ms / 1000,
                kind=attempt.ended,
                status=attempt.status,
                last_resort=decision.reason == "last_resort",
                then="closed" if attempt.kind == HEDGED_OUT else "answers",
                hedge=attempt.hedge,
            )
            for attempt, (decision, started_s) in zip(called, self._tries, strict=True)
        ]
        for is_hedge in (False, True):
            numbers = [number for number, event in enumerate(events) if event.hedge is is_hedge]
            for number, then in pairwise(numbers):
                events[number] = self._followed(events[number], self._tries[number][0], *self._tries[then])
            last = numbers[-1] if numbers else None
            if last is not None and events[last].kind is not None and events[last].then == "answers":
                if error is None or is_hedge:
                    events[last] = replace(events[last], then="next")
                else:
                    events[last] = self._ended(events[last], error)
        gave_up = self._decision.reason if isinstance(self._decision, GiveUp) else "stopped"
        reason = gave_up if error else "answered"
        made = None if request.arranged is None else request.arranged.made
        skipped = frozenset() if request.arranged is None else frozenset(request.arranged.skipped)
        passed = {**self._resting}
        passed |= dict.fromkeys(unsupported_steps(request.steps, operation, skipped), "unsupported")
        passed |= dict.fromkeys(request.left_out, "unsupported")
        passed |= dict.fromkeys(skipped, "condition")
        return Walk(
            events=tuple(events),
            ended_s=ended_s,
            error=error,
            reason=reason,
            passed_over={self._order[place]: why for place, why in passed.items()},
            unpriced=frozenset(self._order[place] for place in request.left_out),
            arrangement=made,
        )

    def _followed(self, event: Event, decision: Try, following: Try, began_s: float) -> Event:
        """Return the event of a decision with the next one of the same chain, which began at `began_s`."""
        if event.then == "closed":
            return event
        if following is decision:
            return replace(event, then="key")
        if following.reason == "retry":
            return replace(event, then="retry", wait_s=began_s - event.ended_s)
        return replace(event, then="next", why=self._no_retry(event, following.no_retry))

    def _decided(self, decision: Try | Wait | GiveUp, resting: Mapping[int, Rest]) -> None:
        if isinstance(decision, Wait):
            return
        self._decision = decision
        if isinstance(decision, GiveUp):
            self._pass_over(without_room(decision.rests))
        else:
            self._decided_for[decision.step] = decision
            last_resort = decision.reason == "last_resort"
            behind = self._tries[-1][0].step + 1 if self._tries else 0
            left_out = range(len(self._route.steps)) if last_resort else range(behind, decision.step)
            self._pass_over({step: resting[step] for step in resting.keys() & set(left_out) - {decision.step}})

    def _pass_over(self, rests: Mapping[int, Rest]) -> None:
        self._resting |= {step: "cooldown" if rest.limit is None else "limited" for step, rest in rests.items()}

    def _ended(self, event: Event, error: GatewayError) -> Event:
        match self._decision:
            case GiveUp("deadline"):
                return replace(event, then="give up", why="the deadline has passed")
            case GiveUp("stopped"):
                return replace(event, then="stop", why=f"{event.kind} is not in fallback_on")
            case GiveUp("exhausted" | "resting", no_retry):
                return replace(event, then="give up", why=self._no_retry(event, no_retry))
        return replace(event, then="stop", why=str(error))

    def _no_retry(self, event: Event, reason: NoRetry | None) -> str:
        """Return the reason not to call the target of `event` again, in words."""
        several = self._route.steps[event.step].retries > 1
        texts: Mapping[NoRetry | None, str] = {
            "asked_once": "asking again would do harm",
            "no_retries": "retries: 0",
            "kind": f"{event.kind} is not in retry_on",
            "retries_used_up": "its retries are used up" if several else "its retry is used up",
            "others_left": f"{event.kind} is retried no more while another target is left",
            "retry_after": "its Retry-After is too long to wait for",
            "cooldown": "it is in cooldown, and another target is left",
            "limited": "its provider's limits have no room",
            "retry_budget": "its retry budget is used up",
            "calls_kept": "the calls left are kept for the other targets",
            "max_attempts": "max_attempts is reached",
            "deadline": "the deadline is too near",
        }
        return texts.get(reason, "")

    def _decision_for(self, call: Call) -> Try:
        """Return the decision that a call comes from; one with a further key comes from an older one."""
        latest = self._decision
        steps = self._route.steps
        if isinstance(latest, Try) and steps[self._order[latest.step]].target.name == call.target.name:
            return latest
        same = (
            one for one in self._decided_for.values() if steps[self._order[one.step]].target.name == call.target.name
        )
        return next(same, FIRST)

    def _begin(self, call: Call) -> ScriptedOutcome | None:
        decision = self._decision_for(call)
        step = decision.step
        before = sum(decision.step == step for decision, _ in self._tries)
        self._tries.append((decision, asyncio.get_running_loop().time()))
        return self._suppose(call, self._order[step], before)


def worst(
    route: Route,
    *,
    operation: Operation = CHAT,
    stream: bool,
    slow: bool,
    unpriced: frozenset[str] = NO_NAMES,
) -> Walk:
    """Return the call with the most attempts: each step fails so that it is retried, then so that the next is tried.

    Of several keys all but the last are refused first. Of a chain with pools and conditions it is that of a request
    that all steps take, in the file's order.

    With `slow` each attempt takes its whole limit, else none takes any time. `unpriced` is as for `walk`.
    """
    delay_s = math.inf if slow else 0.0
    route = replace(route, parts=None, hedge=None)

    def suppose(_: Call, position: int, before: int) -> ScriptedOutcome:
        step = route.steps[position]
        others = max(0, len(step.by_key) - 1)
        kind = Kind.AUTH if before < others else _worst_kind(step, before - others)
        return ScriptedOutcome(kind=kind, delay_s=delay_s)

    if slow and stream and route.stream.hold == "full":  # content that never ends keeps all limits but the last
        most_s = held_limit_s(route)
        limits = {"first_token_s": most_s, "idle_s": most_s}
        steps = [replace(step, limits=replace(step.limits, **limits)) for step in route.steps]
        route = replace(route, steps=tuple(steps), deadline_s=most_s)
    return walk(route, suppose, operation=operation, stream=stream, unpriced=unpriced)


def _worst_kind(step: Step, before: int) -> Kind:
    again = step.retry_on & step.fallback_on or step.retry_on
    onward = step.fallback_on & again or step.fallback_on or again
    kinds = again if before < step.retries and again else onward
    return min(kinds, key=_ORDER.index) if kinds else Kind.TIMEOUT


_ORDER: Final = tuple(Kind)
