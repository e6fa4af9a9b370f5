"""What comes of each attempt of a supposed call: failures that somebody names, and what mocks do by name or script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from gateway.errors import UsageError
from gateway.policy.failures import Kind, classify
from gateway.policy.table import Route, Step
from gateway.policy.target import ScriptedOutcome, Target
from gateway.simulation.forecast import Failing, Fate, longest_s
from gateway.words import did_you_mean

OF_KIND: Final[Mapping[Kind, tuple[int, str | None]]] = {
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
"""Status and code of a failure that is named by its kind. The three kinds without a status are not here."""

Mocks = Callable[[Target, int], ScriptedOutcome]
"""What a call of a mock comes to after so many others of its provider."""


def best_match(name: str, patterns: Iterable[str]) -> str | None:
    """Return the pattern that holds for a name: the name itself, else the longest one before its `*`."""
    fitting = [
        pattern for pattern in patterns if pattern == name or (pattern[-1:] == "*" and name.startswith(pattern[:-1]))
    ]
    return max(fitting, key=lambda pattern: (pattern == name, len(pattern)), default=None)


def read_failure(text: str, route: Route, *, option: str) -> tuple[str, Failing]:
    """Read `TARGET=KIND`: a target or a pattern, and how it fails. Raises UsageError, which calls it by `option`."""
    target, equals, failure = text.rpartition("=")
    names = [step.target.name for step in route.steps]
    if not equals or not target:
        raise UsageError(f"{option} is {text[:128]!r}; write TARGET=KIND, such as {names[0]}=rate_limit")
    if not any(best_match(name, (target,)) for name in names):
        hint = did_you_mean(target, names) or f"; it has {', '.join(names)}"
        raise UsageError(f"{option} names {target[:128]!r}, which is not in the chain of {route.alias!r}{hint}")
    if failure.isascii() and failure.isdigit() and 400 <= int(failure[:4]) <= 599:
        status = int(failure)
        return target, Failing(kind=classify(status), status=status)
    kinds = [kind.value for kind in Kind]
    if failure not in kinds:
        hint = did_you_mean(failure, kinds) or f"; write a status, or one of {', '.join(kinds)}"
        raise UsageError(f"{option} has no kind {failure[:128]!r}{hint}")
    return target, Failing(kind=Kind(failure), status=OF_KIND.get(Kind(failure), (None, None))[0])


def fate_of(route: Route, fails: Mapping[str, Failing], *, stream: bool, mocks: Mocks) -> Fate:
    """Return what comes of each attempt, asked in the order of the attempts.

    A timeout takes its whole limit, every other failure no time. A mock that `fails` does not name plays itself.
    """
    played: Counter[str] = Counter()

    def fate(_: int, step: Step, __: int) -> Failing | None:
        target = step.target
        failure = fails.get(best_match(target.name, fails) or "")
        if failure is not None:
            took_s = longest_s(route, step, stream=stream) if failure.kind is Kind.TIMEOUT else 0.0
            return replace(failure, took_s=took_s)
        if target.endpoint.adapter != "mock":
            return None
        played[target.endpoint.provider] += 1
        return _mocked(mocks(target, played[target.endpoint.provider] - 1), route, step, stream=stream)

    return fate


def _mocked(outcome: ScriptedOutcome, route: Route, step: Step, *, stream: bool) -> Failing | None:
    """Return how a mock's call fails; None when it answers, or breaks only after the first content was sent."""
    longest = longest_s(route, step, stream=stream)
    if outcome.delay_s >= longest:
        return Failing(kind=Kind.TIMEOUT, took_s=longest)
    if outcome.status >= 400:
        return Failing(
            kind=classify(outcome.status),
            status=outcome.status,
            took_s=outcome.delay_s,
            retry_after_s=outcome.retry_after_s,
        )
    ends = [place for place in (outcome.stall, outcome.cut) if place is not None]
    if not ends or (stream and route.stream.hold == "first_token" and min(ends) > 0):
        return None
    if outcome.stall is not None and (not stream or outcome.stall == min(ends)):
        return Failing(kind=Kind.TIMEOUT, took_s=longest)
    return Failing(kind=Kind.BAD_RESPONSE, status=200, took_s=outcome.delay_s)
