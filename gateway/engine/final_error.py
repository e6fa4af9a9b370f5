"""The client's error of a call that no target answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.adapters.base import NotSupported, NotWhole
from gateway.engine.next_step import GiveUp, Outcome
from gateway.engine.request import RoutedRequest
from gateway.engine.rests import Rest
from gateway.errors import (
    BadRequest,
    BodyTooLarge,
    BudgetExceeded,
    GatewayError,
    Limited,
    NoStep,
    Unsupported,
    UpstreamFailed,
    UpstreamRefused,
)
from gateway.policy.failures import PAUSING, Kind, UpstreamError
from gateway.words import shown

FULL_S: Final = 1.0
"""Seconds until a client may ask again for a target that has too many calls in flight."""


def failure(
    decision: GiveUp,
    outcomes: Sequence[Outcome],
    errors: Sequence[UpstreamError],
    request: RoutedRequest,
    lacks: Sequence[tuple[str, NotSupported]] = (),
    *,
    now_s: float,
) -> GatewayError:
    """Return the client's error when no target answered (docs/failover.md, "What the client gets").

    `lacks` are the names of targets that were passed over for this request, each with what it does not support.
    """
    attempts = request.report.attempts
    if not outcomes and decision.reason == "exhausted":
        skipped = {} if request.arranged is None else request.arranged.skipped
        if len(skipped) == len(request.steps):
            unmet = ", ".join(dict.fromkeys(skipped.values()))
            message = f"no step of {request.model!r} takes this request: it does not meet their conditions ({unmet})"
            return NoStep(message, attempts=attempts)
        said = "; ".join(f"{name} {error}" for name, error in lacks)
        if lacks and isinstance(lacks[0][1], NotWhole) and all(isinstance(error, NotWhole) for _, error in lacks):
            refused = not_whole(f"no target of {request.model!r} can be asked for this: {said}", lacks[0][1])
            refused.attempts = tuple(attempts)
            return refused
        wanted = f"this: {said}" if said else request.operation.name
        return Unsupported(f"no target of {request.model!r} can be asked for {wanted}", attempts=attempts)
    rests = decision.rests
    only_full = rests and all(rest.limit is not None for rest in rests.values())
    if only_full and (decision.reason == "resting" or (decision.reason == "deadline" and not outcomes)):
        return _limited(rests, request, now_s=now_s)
    faults = [outcome for outcome in outcomes if outcome.kind not in _PROMPT_OR_MODEL]
    if errors:
        last = errors[-1]
        final = decision.reason == "stopped" or (
            decision.reason == "exhausted" and last.kind in _PROMPT_OR_MODEL and not _first_failed(outcomes)
        )
        status = last.status if last.status and last.status >= 400 else _STATUS_OF_KIND.get(last.kind)
        if final and status and last.kind not in {Kind.AUTH, Kind.BILLING}:
            return UpstreamRefused(
                status=status, kind=last.kind, body=last.body, attempts=attempts, headers=last.headers
            )
    kinds = {outcome.kind for outcome in faults if outcome.step not in rests} | {rest.asked for rest in rests.values()}
    if kinds == {Kind.RATE_LIMIT}:
        status = 429
    elif decision.reason == "deadline":
        status = 504
    elif kinds <= PAUSING or all(outcome.kind is Kind.OVERLOADED or outcome.last_resort for outcome in faults):
        status = 503
    else:
        status = 502
    known = {outcome.step: outcome for outcome in faults}  # the last one of each step
    known_s = [one.ended_s + one.retry_after_s for one in known.values() if one.retry_after_s is not None]
    again_s = min([rest.until_s for rest in rests.values()] or known_s, default=None)
    if again_s == math.inf:
        again_s = now_s + FULL_S
    retry_after_s = None if again_s is None or status not in {429, 503} else max(0.0, again_s - now_s)
    tried = ", ".join(f"{attempt.target} {attempt.kind}" for attempt in attempts) or "no attempt was made"
    why = f"; it was not asked again, as {errors[-1].asked_once}" if errors and errors[-1].asked_once else ""
    if not why and request.bound is not None:
        why = request.bound.reason(request.route.steps)
    passed = " before the deadline" if decision.reason == "deadline" else ""
    message = f"no target of {request.model!r} answered{passed}: {tried}{why}"
    return UpstreamFailed(message, status=status, attempts=attempts, retry_after_s=retry_after_s)


def _limited(rests: Mapping[int, Rest], request: RoutedRequest, *, now_s: float) -> Limited:
    """Return the client's error when providers have no room for the request before its deadline."""
    step, first = min(rests.items(), key=lambda rest: rest[1].until_s)
    limit = first.limit
    assert limit is not None, "each has one"
    wait_s = FULL_S if first.until_s == math.inf else max(0.0, first.until_s - now_s)
    provider = request.steps[step].target.endpoint.provider
    bound = "" if request.bound is None else request.bound.reason(request.route.steps)
    # Some of it may be left, for a request that needs less.
    has = "has no room for the request in its" if limit.unit in {"tokens", "spend"} else "has reached the"
    error = (BudgetExceeded if limit.is_budget and not first.is_held else Limited)(
        f"the provider {provider!r} {has} limit of {limit.text}, and no other target of {request.model!r} is"
        f" left{bound}; ask again in {shown(math.ceil(wait_s))}",
        limit=limit.text,
        retry_after_s=wait_s,
    )
    error.attempts = tuple(request.report.attempts)
    return error


def not_whole(message: str, error: NotWhole) -> BadRequest:
    """Return the client's error for a body that cannot be decoded."""
    return BodyTooLarge(message) if error.is_too_large else BadRequest(message)


def _first_failed(outcomes: Sequence[Outcome]) -> bool:
    """Tell whether the chain's first target is at fault, which a later one's refusal must not hide."""
    first = min(outcome.step for outcome in outcomes)
    return [outcome.kind for outcome in outcomes if outcome.step == first][-1] not in _PROMPT_OR_MODEL


_PROMPT_OR_MODEL: Final = frozenset({Kind.CONTEXT_WINDOW, Kind.NOT_FOUND})
"""Kinds of the last target that pass through, although the call could not be stopped by them."""

_STATUS_OF_KIND: Final[Mapping[Kind, int]] = {
    Kind.BAD_REQUEST: 400,
    Kind.CONTENT_FILTER: 400,
    Kind.CONTEXT_WINDOW: 400,
    Kind.NOT_FOUND: 404,
}
"""The client's status for an error inside a response with a good status."""
