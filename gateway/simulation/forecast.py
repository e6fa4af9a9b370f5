"""What a call of a route would do if its targets failed in given ways: the engine's own rules, calling nobody.

Time is counted, not waited for. The server can ask it of live health, the command line of none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.engine.attempts import Engine, Request, failure
from gateway.engine.health import State
from gateway.engine.next_step import GiveUp, Outcome, Plan, Try, Wait, fits, next_step, targets_left
from gateway.errors import GatewayError
from gateway.operations import CHAT
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.table import Route, Step
from gateway.policy.target import Target
from gateway.telemetry.report import Attempt, CallReport
from gateway.wire.json import EMPTY

JITTER: Final = 1.0
"""Every backoff is as long as it can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """How one attempt fails."""

    kind: Kind
    status: int | None = None
    took_s: float = 0.0
    retry_after_s: float | None = None


Fate = Callable[[int, Step, int], Failing | None]
"""What comes of an attempt, given the position of its step, the step, and how often it was tried before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One attempt and what was decided after it."""

    step: int
    """The position in the chain, from 0."""
    started_s: float
    ended_s: float
    kind: Kind | None
    """None when the target answers."""
    status: int | None
    retry: bool
    last_resort: bool
    """It is in cooldown, and tried because nothing else is left."""
    then: Literal["answers", "retry", "next", "stop", "give up"]
    wait_s: float = 0.0
    """Before the retry."""
    why: str = ""
    """Why it is not tried again, or why nothing else is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What became of the whole call."""

    events: tuple[Event, ...]
    ended_s: float
    error: GatewayError | None
    """What the client gets when nobody answers."""
    reason: Literal["answered", "stopped", "exhausted", "deadline"]
    passed_over: Mapping[int, float] = field(default_factory=dict)
    """Steps that were left out because their target is in cooldown, with when that ends."""

    @property
    def tried(self) -> frozenset[int]:
        """The steps whose target is called."""
        return frozenset(event.step for event in self.events)


def forecast(route: Route, fate: Fate, *, resting: Mapping[int, float] | None = None) -> Forecast:
    """Return what a call that arrives at second 0 would do.

    `resting`: the steps that are in cooldown by then, with the second at which it ends.
    """
    return _Walk(route, fate, resting or {}).run()


class _Walk:
    """The engine's loop with attempts that only take time on paper."""

    def __init__(self, route: Route, fate: Fate, resting: Mapping[int, float]) -> None:
        self._route = route
        self._fate = fate
        self._live = resting
        self._state = State()
        self._engine = Engine(adapters={}, state=self._state, jitter=lambda: JITTER)
        self._plan = Plan(route.steps, route.deadline_s, route.max_attempts)
        self._now_s = 0.0
        self._outcomes: list[Outcome] = []
        self._errors: list[UpstreamError] = []
        self._attempts: list[Attempt] = []
        self._events: list[Event] = []
        self._passed: dict[int, float] = {}

    def run(self) -> Forecast:
        plan, steps = self._plan, self._route.steps
        targets = [step.target for step in steps]
        decision, _ = self._decide(targets)
        while isinstance(decision, Try):
            self._pass_over(decision, targets)
            failing = self._attempt(decision, steps[decision.step])
            if failing is None:
                return self._end("answered", None)
            decision, waited_s = self._decide(targets)
            self._conclude(decision, waited_s)
        error = failure(decision, self._outcomes, self._errors, self._request())
        self._now_s = max(self._now_s, plan.deadline_s) if decision.reason == "deadline" else self._now_s
        return self._end(decision.reason, error)

    def _resting(self, targets: Sequence[Target]) -> Mapping[int, float]:
        live = {step: until_s for step, until_s in self._live.items() if until_s > self._now_s}
        return {**live, **self._state.resting(targets, now_s=self._now_s)}

    def _decide(self, targets: Sequence[Target]) -> tuple[Try | GiveUp, float]:
        """Return what is done next, and the seconds that are waited before."""
        asked_s = self._now_s
        while True:
            resting = self._resting(targets)
            decision = next_step(self._plan, self._outcomes, now_s=self._now_s, resting=resting)
            if not isinstance(decision, Wait):
                return decision, self._now_s - asked_s
            self._now_s = decision.until_s

    def _pass_over(self, decision: Try, targets: Sequence[Target]) -> None:
        first = self._outcomes[-1].step + 1 if self._outcomes else 0
        left_out = range(len(targets)) if decision.last_resort else range(first, decision.step)
        resting = self._resting(targets)
        self._passed |= {step: resting[step] for step in left_out if step in resting and step != decision.step}

    def _attempt(self, decision: Try, step: Step) -> Failing | None:
        before = sum(outcome.step == decision.step for outcome in self._outcomes)
        failing = self._fate(decision.step, step, before)
        started_s = self._now_s
        ticket = self._state.begin(step.target, now_s=started_s, retry=decision.retry)
        if failing is not None:
            left_s = self._plan.deadline_s - started_s
            in_time = failing.took_s < left_s
            kind = failing.kind if in_time else Kind.TIMEOUT
            self._now_s += min(failing.took_s, left_s)
            error = UpstreamError(kind, status=failing.status if in_time else None, retry_after_s=failing.retry_after_s)
            self._outcomes.append(
                self._engine.failed(self._plan, self._outcomes, decision, ticket, error, now_s=self._now_s)
            )
            self._errors.append(error)
        else:
            ticket.answered()
        ticket.done()
        self._attempts.append(
            Attempt(
                target=step.target.name,
                label=step.target.label,
                kind=self._errors[-1].kind if failing else None,
                status=self._errors[-1].status if failing else 200,
                ms=(self._now_s - started_s) * 1000,
            )
        )
        self._events.append(
            Event(
                step=decision.step,
                started_s=started_s,
                ended_s=self._now_s,
                kind=self._errors[-1].kind if failing else None,
                status=self._errors[-1].status if failing else 200,
                retry=decision.retry,
                last_resort=decision.last_resort,
                then="answers",
            )
        )
        return failing

    def _conclude(self, following: Try | GiveUp, waited_s: float) -> None:
        """Note what was decided after the last attempt."""
        event = self._events[-1]
        then: Literal["retry", "next", "stop", "give up"]
        if isinstance(following, Try) and following.retry:
            then, why = "retry", ""
        elif isinstance(following, Try):
            then, why = "next", self._why_no_retry()
        elif following.reason == "stopped":
            then, why = "stop", f"{event.kind} is not in fallback_on"
        elif following.reason == "deadline":
            then, why = "give up", "the deadline has passed"
        else:
            then, why = "give up", self._why_no_retry()
        self._events[-1] = Event(
            step=event.step,
            started_s=event.started_s,
            ended_s=event.ended_s,
            kind=event.kind,
            status=event.status,
            retry=event.retry,
            last_resort=event.last_resort,
            then=then,
            wait_s=waited_s,
            why=why,
        )

    def _why_no_retry(self) -> str:
        """Say which of next_step's conditions for a retry the last attempt did not meet."""
        last = self._outcomes[-1]
        step = self._plan.steps[last.step]
        tries = sum(outcome.step == last.step for outcome in self._outcomes)
        left = targets_left(self._plan, self._outcomes)
        if last.last_resort:
            return "it was the last resort"
        if not step.retries:
            return "retries: 0"
        if last.kind not in step.retry_on:
            return f"{last.kind} is not in retry_on"
        if tries > step.retries:
            return "its retries are used up" if step.retries > 1 else "its retry is used up"
        if not fits(self._plan, last, targets_left=left):
            return "its Retry-After is too long to wait for"
        if not last.may_retry:
            resting = self._state.resting([step.target], now_s=self._now_s)
            return "its cooldown has opened" if resting else "its retry budget is used up"
        if len(self._outcomes) + 1 + left > self._plan.max_attempts:
            return "the calls left are kept for the other targets" if left else "max_attempts is reached"
        return "the deadline is too near"

    def _request(self) -> Request:
        return Request(
            operation=CHAT,
            model=self._route.alias,
            route=self._route,
            params=EMPTY,
            headers=EMPTY,
            started_s=0.0,
            report=CallReport(attempts=self._attempts),
        )

    def _end(
        self, reason: Literal["answered", "stopped", "exhausted", "deadline"], error: GatewayError | None
    ) -> Forecast:
        return Forecast(
            events=tuple(self._events),
            ended_s=self._now_s,
            error=error,
            reason=reason,
            passed_over=dict(self._passed),
        )


def worst(route: Route, *, stream: bool, slow: bool) -> Forecast:
    """Return the call that makes the most attempts: each fails so that it is tried again, then so that it moves on.

    `slow` lets each attempt take its whole limit first; else all fail at once.
    """

    def fate(_: int, step: Step, before: int) -> Failing:
        again = step.retry_on & step.fallback_on or step.retry_on
        onward = step.fallback_on & again or step.fallback_on or again
        kinds = again if before < step.retries and again else onward
        kind = min(kinds, key=_ORDER.index) if kinds else Kind.TIMEOUT
        return Failing(kind=kind, took_s=longest_s(route, step, stream=stream) if slow else 0.0)

    return forecast(route, fate)


_ORDER: Final = tuple(Kind)


def longest_s(route: Route, step: Step, *, stream: bool) -> float:
    """Return how long one attempt may take before it answers or fails; for a stream: before it commits."""
    limits = step.limits
    if not stream:
        return limits.total_s
    if route.stream.hold == "full":
        return limits.stream_total_s or route.deadline_s
    return min(limits.first_token_s, limits.stream_total_s or limits.first_token_s)
