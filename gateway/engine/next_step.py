"""What to do next in a call, and why: a pure function of the plan, what happened so far, and the time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from gateway.engine.selection import next_target, targets_left
from gateway.policy.failures import Kind
from gateway.policy.table import Step

BASE_BACKOFF_S: Final = 0.25
MAX_BACKOFF_S: Final = 4.0

MAX_PATIENCE_S: Final = 10.0
"""The longest Retry-After that is waited for while another target is left to try."""

NoRetry: TypeAlias = Literal[
    "last_resort",  # a target in cooldown is called once
    "no_retries",  # its step has `retries: 0`
    "kind",  # not in its step's `retry_on`
    "retries_used_up",
    "retry_after",  # the upstream asks for a longer wait than `fits` allows
    "cooldown",  # it opened with this failure, or meanwhile
    "retry_budget",
    "calls_kept",  # what `max_attempts` leaves is kept for targets not yet tried
    "max_attempts",
    "deadline",  # it passes before the retry could start
]
"""Why a target that failed is not called again, in the order in which it is asked."""


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
    no_retry: Literal["cooldown", "retry_budget"] | None = None
    """Set when the target's cooldown opened with this failure or its retry budget was used up."""
    stale_connection: bool = False
    """A pooled connection died before a byte came back."""
    last_resort: bool = False
    """The target was in cooldown and was tried because nothing else was left."""


@dataclass(frozen=True, slots=True)
class Try:
    """Call the target of this step now. `last_resort`: it is in cooldown, and no other is left."""

    step: int
    reason: Literal["first", "retry", "fallback", "last_resort"] = "first"
    no_retry: NoRetry | None = None
    """Why not the target that failed last; None before the first attempt and for a retry."""


FIRST: Final = Try(0)
"""Where every call begins, unless a target rests or its time has passed."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until this point on the event loop's clock, then ask again."""

    until_s: float
    reason: Literal["backoff", "retry_after"]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt. `stopped`: the last failure's kind does not move on."""

    reason: Literal["stopped", "exhausted", "deadline"]
    no_retry: NoRetry | None = None
    """As in Try; None as well when the deadline has passed."""


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
        return _move_on(plan, outcomes, resting, None) if resting or plan.unsupported else FIRST
    last = outcomes[-1]
    retry = _retry(plan, outcomes, resting)
    if isinstance(retry, Wait):
        return Try(last.step, "retry") if now_s >= retry.until_s else retry
    if last.kind not in plan.steps[last.step].fallback_on:
        return GiveUp("stopped", retry)
    if last.last_resort:
        return GiveUp("exhausted", retry)
    return _move_on(plan, outcomes, resting, retry)


def fits(plan: Plan, outcome: Outcome, *, targets_left: int) -> bool:
    """Tell whether the wait that an upstream asked for can be waited for."""
    wait_s = outcome.retry_after_s or 0.0
    return outcome.ended_s + wait_s < plan.deadline_s and (wait_s <= MAX_PATIENCE_S or not targets_left)


def backoff_s(retry: int, *, jitter: float) -> float:
    """Return the seconds before retry number `retry` (the first is 1): full jitter, capped at MAX_BACKOFF_S.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return jitter * min(MAX_BACKOFF_S, BASE_BACKOFF_S * 2.0 ** (retry - 1))


def _retry(plan: Plan, outcomes: Sequence[Outcome], resting: Mapping[int, float]) -> Wait | NoRetry:
    """Return until when a retry of the last step waits, or why there is none."""
    last = outcomes[-1]
    step = plan.steps[last.step]
    if last.last_resort:
        return "last_resort"
    left = targets_left(len(plan.steps), [outcome.step for outcome in outcomes], unsupported=plan.unsupported)
    calls_left = plan.max_attempts - len(outcomes) - left
    tries = sum(outcome.step == last.step for outcome in outcomes)
    stale = sum(outcome.step == last.step and outcome.stale_connection for outcome in outcomes)
    if last.stale_connection and stale == 1 and calls_left > 0 and last.step not in resting:
        return Wait(last.ended_s, "backoff")
    retries = tries - 1 - min(stale, 1)
    if not step.retries:
        return "no_retries"
    if last.kind not in step.retry_on:
        return "kind"
    if retries >= step.retries:
        return "retries_used_up"
    if not fits(plan, last, targets_left=left):
        return "retry_after"
    if last.no_retry is not None:
        return last.no_retry
    if last.step in resting:
        return "cooldown"
    if calls_left <= 0:
        return "calls_kept" if left else "max_attempts"
    pause_s = backoff_s(retries + 1, jitter=last.jitter)
    asked_s = last.retry_after_s or 0.0
    retry_s = last.ended_s + max(asked_s, pause_s)
    if retry_s >= plan.deadline_s:
        return "deadline"
    return Wait(retry_s, "retry_after" if asked_s > pause_s else "backoff")


def _move_on(
    plan: Plan, outcomes: Sequence[Outcome], resting: Mapping[int, float], no_retry: NoRetry | None
) -> Try | GiveUp:
    if len(outcomes) >= plan.max_attempts:
        return GiveUp("exhausted", no_retry)
    tried = [outcome.step for outcome in outcomes]
    choice = next_target(len(plan.steps), tried, resting=resting, unsupported=plan.unsupported)
    if choice is None:
        return GiveUp("exhausted", no_retry)
    return Try(choice.step, "last_resort" if choice.last_resort else "fallback" if tried else "first", no_retry)
