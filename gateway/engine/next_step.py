"""Decides the next step of a call, with the reason: a pure function of plan, outcomes and time."""

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
"""The longest Retry-After, in seconds, to wait for while another target is left."""

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
    no_retry: Literal["cooldown", "retry_budget"] | None = None
    """Set if this failure started the target's cooldown, or its retry budget is used up."""
    stale_connection: bool = False
    """A pooled connection closed before a byte came back."""
    last_resort: bool = False
    """The target was in cooldown and no other was left."""


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
    reason: Literal["backoff", "retry_after"]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Make no further attempt. `stopped`: the last failure's kind is not in `fallback_on`."""

    reason: Literal["stopped", "exhausted", "deadline"]
    no_retry: NoRetry | None = None
    """As in Try; None after the deadline."""


def next_step(
    plan: Plan, outcomes: Sequence[Outcome], *, now_s: float, resting: Mapping[int, float]
) -> Try | Wait | GiveUp:
    """Return the next step of a call. `outcomes` are its failed attempts so far, in order.

    `resting`: step → end of its target's cooldown. These steps are passed over while any other is left; then the one
    whose cooldown ends first is tried, once.
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
    """Tell whether the wait that the upstream asked for fits the deadline and MAX_PATIENCE_S."""
    wait_s = outcome.retry_after_s or 0.0
    return outcome.ended_s + wait_s < plan.deadline_s and (wait_s <= MAX_PATIENCE_S or not targets_left)


def backoff_s(retry: int, *, jitter: float) -> float:
    """Return the seconds before retry number `retry` (the first is 1): full jitter, capped at MAX_BACKOFF_S.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return jitter * min(MAX_BACKOFF_S, BASE_BACKOFF_S * 2.0 ** (retry - 1))


def _retry(plan: Plan, outcomes: Sequence[Outcome], resting: Mapping[int, float]) -> Wait | NoRetry:
    """Return when to retry the last step, or why there is no retry."""
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
