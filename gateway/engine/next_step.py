"""What to do next in a call: a pure function of the plan, what happened so far, and the time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from gateway.policy.failures import Kind
from gateway.policy.table import Step

BASE_BACKOFF_S: Final = 0.25
MAX_BACKOFF_S: Final = 4.0

MAX_PATIENCE_S: Final = 10.0
"""The longest Retry-After that is waited for while another target is left to try."""


class Plan(NamedTuple):
    """What a call may do."""

    steps: tuple[Step, ...]
    deadline_s: float
    """A point on the event loop's clock: nothing starts from then on."""
    max_attempts: int
    unsupported: Collection[int] = ()
    """Steps whose target cannot be asked for the operation: they are never tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt failed."""

    step: int
    """The position of its step in the plan."""
    kind: Kind
    ended_s: float
    retry_after_s: float | None = None
    jitter: float = 1.0
    """A random number from 0 to 1, drawn when the attempt ended: it scales the backoff."""
    may_retry: bool = True
    """False when the target's cooldown opened with this failure or its retry budget was used up."""
    stale_connection: bool = False
    """A pooled connection died before a byte came back."""
    last_resort: bool = False
    """The target was in cooldown and was tried because nothing else was left."""


@dataclass(frozen=True, slots=True)
class Try:
    """Call the target of this step now."""

    step: int
    retry: bool = False
    last_resort: bool = False


FIRST: Final = Try(0)
"""Where every call begins, unless a target rests or its time has passed."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until this point on the event loop's clock, then ask again."""

    until_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt. `stopped`: the last failure's kind does not move on."""

    reason: Literal["stopped", "exhausted", "deadline"]


def next_step(
    plan: Plan, outcomes: Sequence[Outcome], *, now_s: float, resting: Mapping[int, float]
) -> Try | Wait | GiveUp:
    """Decide what a call does next. `outcomes` are its failed attempts so far, in order.

    `resting` names the steps whose target is in cooldown, with the time when that ends. They are passed over
    while any other is left; when none is, the one whose cooldown ends first is tried, once.
    """
    if now_s >= plan.deadline_s:
        return GiveUp("deadline")
    if not outcomes:
        return _next_target(plan, outcomes, -1, resting) if resting or plan.unsupported else FIRST
    last = outcomes[-1]
    step = plan.steps[last.step]
    if len(outcomes) < plan.max_attempts:
        retry_s = None if last.step in resting else _retry_at_s(plan, outcomes)
        if retry_s is not None:
            return Try(last.step, retry=True) if now_s >= retry_s else Wait(retry_s)
    if last.kind not in step.fallback_on:
        return GiveUp("stopped")
    if last.last_resort:
        return GiveUp("exhausted")
    return _next_target(plan, outcomes, last.step, resting)


def fits(plan: Plan, outcome: Outcome, *, targets_left: int) -> bool:
    """Tell whether the wait that an upstream asked for can be waited for."""
    wait_s = outcome.retry_after_s or 0.0
    return outcome.ended_s + wait_s < plan.deadline_s and (wait_s <= MAX_PATIENCE_S or not targets_left)


def backoff_s(retry: int, *, jitter: float) -> float:
    """Return the seconds before retry number `retry` (the first is 1): full jitter, capped at MAX_BACKOFF_S.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return jitter * min(MAX_BACKOFF_S, BASE_BACKOFF_S * 2.0 ** (retry - 1))


def targets_left(plan: Plan, outcomes: Sequence[Outcome]) -> int:
    """Return how many steps of the plan can still be tried for the first time."""
    return len(plan.steps) - len({outcome.step for outcome in outcomes}.union(plan.unsupported))


def _retry_at_s(plan: Plan, outcomes: Sequence[Outcome]) -> float | None:
    """Return when the last step may be tried again, or None when it may not."""
    last = outcomes[-1]
    step = plan.steps[last.step]
    tries = sum(outcome.step == last.step for outcome in outcomes)
    left = targets_left(plan, outcomes)
    if last.last_resort or len(outcomes) + 1 + left > plan.max_attempts:
        return None
    stale = sum(outcome.step == last.step and outcome.stale_connection for outcome in outcomes)
    if last.stale_connection and stale == 1:
        return last.ended_s
    retries = tries - 1 - min(stale, 1)
    if last.kind not in step.retry_on or retries >= step.retries or not last.may_retry:
        return None
    if not fits(plan, last, targets_left=left):
        return None
    retry_s = last.ended_s + max(last.retry_after_s or 0.0, backoff_s(retries + 1, jitter=last.jitter))
    return retry_s if retry_s < plan.deadline_s else None


def _next_target(plan: Plan, outcomes: Sequence[Outcome], position: int, resting: Mapping[int, float]) -> Try | GiveUp:
    if len(outcomes) >= plan.max_attempts:
        return GiveUp("exhausted")
    tried = {outcome.step for outcome in outcomes}.union(plan.unsupported)
    # Those behind the last one first; then those that were passed over, and whose cooldown has ended meanwhile.
    for candidate in (*range(position + 1, len(plan.steps)), *range(position)):
        if candidate not in resting and candidate not in tried:
            return Try(candidate)
    untried = [step for step in resting if step not in tried]
    if not untried:
        return GiveUp("exhausted")
    return Try(min(untried, key=lambda step: (resting[step], step)), last_resort=True)
