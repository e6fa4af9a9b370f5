"""Decides the next step of a call, with the reason: a pure function of plan, outcomes and time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from gateway.engine.rests import NOBODY, Rest, without_room
from gateway.engine.selection import next_target, targets_left
from gateway.policy.failures import Kind
from gateway.policy.table import Step

BASE_BACKOFF_S: Final = 0.25
MAX_BACKOFF_S: Final = 4.0

MAX_PATIENCE_S: Final = 10.0
"""The longest Retry-After, in seconds, to wait for while another target is left."""

NoRetry: TypeAlias = Literal[
    "asked_once",  # it would do harm
    "no_retries",  # its step has `retries: 0`
    "kind",  # not in its step's `retry_on`
    "retries_used_up",
    "others_left",  # this kind is retried no more while another target is left
    "retry_after",  # the upstream asks for a longer wait than `fits` allows
    "retry_budget",
    "calls_kept",  # what `max_attempts` leaves is kept for targets not yet tried
    "max_attempts",
    "deadline",  # it passes before the retry could start
    "cooldown",  # its target rests, and another one is left
    "limited",  # its provider has no room before the deadline, or while another target is left
]
"""Why a failed target is not called again, in the order of the checks."""


class Plan(NamedTuple):
    """The bounds of a call."""

    steps: tuple[Step, ...]
    deadline_s: float
    """On the event loop's clock. No attempt starts later."""
    max_attempts: int
    unsupported: Collection[int] = ()
    """Steps whose target does not support the operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The failure of one attempt."""

    step: int
    """The position of its step in the plan."""
    kind: Kind
    ended_s: float
    retry_after_s: float | None = None
    jitter: float = 1.0
    """A random number from 0 to 1 that scales the backoff."""
    over_budget: bool = False
    """The target's retry budget is used up."""
    stale_connection: bool = False
    """A pooled connection closed before a byte came back."""
    last_resort: bool = False
    """The target was in cooldown and no other was left."""
    asked_once: bool = False
    """No target may be asked again: the upstream has done or kept something."""


@dataclass(frozen=True, slots=True)
class Try:
    """Call this step's target now. `last_resort`: it is in cooldown, and no other is left."""

    step: int
    reason: Literal["first", "retry", "fallback", "last_resort"] = "first"
    no_retry: NoRetry | None = None
    """Why the target that failed last is not retried; None for the first attempt and for a retry."""


FIRST: Final = Try(0)
"""The first decision, unless a target is in cooldown or unsupported or the deadline has passed."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until this point on the event loop's clock, then decide again."""

    until_s: float
    reason: Literal["backoff", "retry_after", "limited"]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Make no further attempt.

    `stopped`: the last failure's kind is not in `fallback_on`, or the request must not be made again. `resting`: the
    targets left asked not to be called before the deadline, or their providers have no room before it.
    """

    reason: Literal["stopped", "exhausted", "deadline", "resting"]
    no_retry: NoRetry | None = None
    """As in Try; None after the deadline."""
    rests: Mapping[int, Rest] = field(default_factory=lambda: NOBODY)
    """Step → rest, for the targets that asked not to be called now, and those without room that were not called."""


def next_step(
    plan: Plan, outcomes: Sequence[Outcome], *, now_s: float, resting: Mapping[int, Rest]
) -> Try | Wait | GiveUp:
    """Return the next step of a call. `outcomes` are its failed attempts so far, in order.

    `resting`: step → its target's rest. These steps are passed over while any other is left. Then they are tried one
    after the other, with their retries, but not before the time that the upstream asked for, or at which its provider
    has room.
    """
    if now_s >= plan.deadline_s:
        return GiveUp("deadline", rests=_limited(plan, outcomes, resting) if resting else NOBODY)
    if not outcomes:
        return _move_on(plan, outcomes, resting, None) if resting or plan.unsupported else FIRST
    last = outcomes[-1]
    if last.asked_once:
        return GiveUp("stopped", "asked_once")
    retry = _retry(plan, outcomes, resting, now_s)
    if isinstance(retry, Wait):
        return Try(last.step, "retry") if now_s >= retry.until_s else retry
    if last.kind not in plan.steps[last.step].fallback_on:
        return GiveUp("stopped", retry)
    return _move_on(plan, outcomes, resting, retry)


def backoff_s(retry: int, *, jitter: float) -> float:
    """Return the seconds before retry number `retry` (the first is 1): full jitter, capped at MAX_BACKOFF_S.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return jitter * min(MAX_BACKOFF_S, BASE_BACKOFF_S * 2.0 ** (retry - 1))


def _retry(plan: Plan, outcomes: Sequence[Outcome], resting: Mapping[int, Rest], now_s: float) -> Wait | NoRetry:
    """Return when to retry the last step, or why there is no retry."""
    last = outcomes[-1]
    step = plan.steps[last.step]
    tried = [outcome.step for outcome in outcomes]
    left = targets_left(len(plan.steps), tried, unsupported=plan.unsupported)
    closed = {*tried, *plan.unsupported, *resting}
    others_left = last.kind in step.fallback_on and len(closed) < len(plan.steps)
    calls_left = plan.max_attempts - len(outcomes) - left
    here = [outcome for outcome in outcomes if outcome.step == last.step]
    stale = sum(outcome.stale_connection for outcome in here)
    rest = resting.get(last.step)
    if last.stale_connection and stale == 1 and calls_left > 0 and not (others_left and rest is not None):
        if rest is None or rest.limit is None:
            return Wait(last.ended_s, "backoff")
        return Wait(rest.until_s, "limited") if rest.until_s < plan.deadline_s else "limited"
    retries = len(here) - 1 - min(stale, 1)
    if not step.retries:
        return "no_retries"
    if last.kind not in step.retry_on:
        return "kind"
    if retries >= step.retries:
        return "retries_used_up"
    if others_left and not _again_before_others(here):
        return "others_left"
    if last.kind is Kind.BAD_RESPONSE and sum(outcome.kind is Kind.BAD_RESPONSE for outcome in here) > 1:
        return "retries_used_up"
    asked_s = last.retry_after_s or 0.0
    if last.ended_s + asked_s >= plan.deadline_s or (others_left and asked_s > MAX_PATIENCE_S):
        return "retry_after"
    if others_left and last.over_budget:
        return "retry_budget"
    if calls_left <= 0:
        return "calls_kept" if left else "max_attempts"
    pause_s = backoff_s(retries + 1, jitter=last.jitter)
    retry_s = last.ended_s + max(asked_s, pause_s)
    if retry_s >= plan.deadline_s:
        return "deadline"
    if rest is not None and (rest.until_s > retry_s or now_s >= retry_s):
        if others_left:
            return "cooldown" if rest.limit is None else "limited"
        if rest.asked is not None:  # of another request's failure meanwhile
            why: Literal["retry_after", "limited"] = "retry_after" if rest.limit is None else "limited"
            return Wait(rest.until_s, why) if rest.until_s < plan.deadline_s else why
    return Wait(retry_s, "retry_after" if asked_s > pause_s else "backoff")


def _again_before_others(here: Sequence[Outcome]) -> bool:
    """Tell whether a target may be called again although another is left. `here`: its failures.

    A broken answer is not asked for again, and an upstream that asks for a pause gets one, once.
    """
    last = here[-1]
    if last.kind is Kind.BAD_RESPONSE:
        return False
    pauses = sum(outcome.kind is Kind.RATE_LIMIT or outcome.retry_after_s is not None for outcome in here)
    return pauses <= 1 or not (last.kind is Kind.RATE_LIMIT or last.retry_after_s is not None)


def _move_on(
    plan: Plan, outcomes: Sequence[Outcome], resting: Mapping[int, Rest], no_retry: NoRetry | None
) -> Try | Wait | GiveUp:
    tried = [outcome.step for outcome in outcomes]
    asked = {
        step: rest
        for step, rest in resting.items()
        if rest.asked is not None and step not in plan.unsupported and not (rest.limit is not None and step in tried)
    }
    if len(outcomes) >= plan.max_attempts:
        return GiveUp("exhausted", no_retry, asked)
    choice = next_target(len(plan.steps), tried, resting=resting, unsupported=plan.unsupported)
    if choice is None:
        return GiveUp("exhausted", no_retry, asked)
    if choice.not_before_s is not None:
        if choice.not_before_s < plan.deadline_s:
            return Wait(choice.not_before_s, "retry_after" if resting[choice.step].limit is None else "limited")
        return GiveUp("resting", no_retry, asked)
    return Try(choice.step, "last_resort" if choice.last_resort else "fallback" if tried else "first", no_retry)


def _limited(plan: Plan, outcomes: Sequence[Outcome], resting: Mapping[int, Rest]) -> Mapping[int, Rest]:
    """Return the rests of the steps that were not called, as their providers have no room."""
    closed = {*plan.unsupported, *[outcome.step for outcome in outcomes]}
    return {step: rest for step, rest in without_room(resting).items() if step not in closed}


def step_beside(
    plan: Plan, outcomes: Sequence[Outcome], calling: int, *, resting: Collection[int], left_out: Collection[int] = ()
) -> tuple[int, int] | None:
    """Return the step to call beside the one that is being called, and its most attempts; None if there is none.

    It is the next one with another target that neither rests nor is in `left_out`. Its attempts are those of its own
    `retries`, as far as `max_attempts` leaves them while one is kept for each target not yet tried.
    """
    identity = plan.steps[calling].target.identity
    same = {position for position, step in enumerate(plan.steps) if step.target.identity == identity}
    tried = [*[outcome.step for outcome in outcomes], calling]
    closed = {*plan.unsupported, *same, *left_out, *resting}
    choice = next_target(len(plan.steps), tried, resting=NOBODY, unsupported=closed)
    if choice is None:
        return None
    kept = targets_left(len(plan.steps), [*tried, choice.step], unsupported=plan.unsupported)
    calls_left = plan.max_attempts - len(outcomes) - 1 - kept
    most = min(calls_left, plan.steps[choice.step].retries + 2)  # a stale connection is replaced once
    return (choice.step, most) if most > 0 else None
