"""Rules for limits that never count, budgets that lead nowhere cheaper, groups and clients that nobody is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Final

from gateway.config.document.yaml_tree import Where
from gateway.config.lint.subject import Finding, Policy
from gateway.config.model.specs import WhenSpec
from gateway.policy.limits import DEFAULT_GROUP, ClientGroup, Limit, Window
from gateway.policy.table import Route, Step
from gateway.words import did_you_mean

_BUDGETS: Final = frozenset({"day", "month"})
_LENGTH_S: Final[dict[Window, int]] = {"minute": 60, "hour": 3600, "day": 86_400, "month": 31 * 86_400}


def budgets_in_memory(policy: Policy) -> Iterator[Finding]:
    """Find the first limit of days or months, where nothing says that the counts are kept."""
    for place, limits in _lists(policy) if not policy.outside.keeps_counts else ():
        for number, limit in enumerate(limits):
            if limit.per in _BUDGETS:
                message = (
                    f"what is used in a {limit.per} is forgotten when the process ends, unless serve has --state-dir "
                    "or --state; set GATEWAY_STATE_DIR or GATEWAY_STATE here too, or ignore this"
                )
                yield Finding(code="budget-in-memory", place=(*place, number), message=message)
                return


def limits_never_met(policy: Policy) -> Iterator[Finding]:
    """Find limits that another one of the same list always meets first."""
    for place, limits in _lists(policy):
        for one, other in permutations(limits, 2):
            if one.unit == other.unit and other.then is None and _most(other, one) <= one.amount:
                message = f"{other.text} always bites first, so {one.text} never does"
                yield Finding(code="limit-never-met", place=(*place, limits.index(one)), message=message)


def _most(limit: Limit, other: Limit) -> float:
    """Return the most that a limit lets through in the window of another of its unit."""
    if limit.per is None or other.per is None:
        return math.inf
    window_s, other_s = _LENGTH_S[limit.per], _LENGTH_S[other.per]
    if limit.per not in _BUDGETS:
        return limit.amount * (1 + other_s / window_s)  # the whole amount may come at once
    if other_s > window_s:
        return limit.amount * other_s / window_s
    # There may be a midnight in an hour; a month begins with a day.
    return limit.amount * (1 if other.per in _BUDGETS else 2)


def budgets_that_save_nothing(policy: Policy) -> Iterator[Finding]:
    """Find limits that go on with an alias that costs no less than what the group asks for, or of tokens more."""
    for group in policy.clients.values():
        for number, limit in enumerate(group.limits):
            after = policy.find(limit.then) if limit.then is not None else None
            if after is None or limit.then is None:
                continue
            asked = [route for route in _asked(policy, group) if route.alias != after.alias]
            costs = [cost for route in asked if (cost := _cost(policy, route, first=True)) is not None]
            cost = _cost(policy, after, first=False)
            message = ""
            if not asked:
                message = f"{limit.then} is all that the group may ask for: its requests only go on with the same"
            elif limit.unit == "spend" and costs and cost is not None and cost >= max(costs):
                message = f"{limit.then} costs no less per token than what the group asks for"
            elif limit.unit == "tokens" and len(costs) == len(asked) and cost is not None and cost > max(costs):
                message = f"{limit.then} costs more per token than what the group asks for"
            if message:
                place = ("clients", group.name, "limits", number, "then", "alias")
                yield Finding(code="then-no-cheaper", place=place, message=message)


def budgets_that_go_on_with_embeddings(policy: Policy) -> Iterator[Finding]:
    """Find limits of groups that ask for no embeddings which go on with an alias that has nothing else."""
    for group in policy.clients.values():
        for number, limit in enumerate(group.limits):
            after = policy.find(limit.then) if limit.then is not None else None
            if after is None or not all(map(_makes_embeddings, after.steps)):
                continue
            asked = [route for route in _asked(policy, group) if route.alias != after.alias]
            steps = [step for route in asked for step in route.steps]
            if steps and not any(_makes_embeddings(step) or "*" in step.target.model for step in steps):
                message = f"{limit.then} makes embeddings only, and nothing else that the group may ask for does"
                place = ("clients", group.name, "limits", number, "then", "alias")
                yield Finding(code="then-embeddings", place=place, message=message)


def _makes_embeddings(step: Step) -> bool:
    return "embed" in step.target.model.lower()


def _asked(policy: Policy, group: ClientGroup) -> Iterator[Route]:
    return (chain.route for chain in policy.chains if group.models is None or chain.spec.name in group.models)


def _cost(policy: Policy, route: Route, *, first: bool) -> float | None:
    """Return the price of a chain's first or cheapest target, in and out together; None if one is not known."""
    prices = [policy.price(step) for step in (route.steps[:1] if first else route.steps)]
    costs = [price.input + price.output for price in prices if price is not None]
    return min(costs) if len(costs) == len(prices) else None


def groups_of_nobody(policy: Policy) -> Iterator[Finding]:
    """Find groups that no line of the file of client keys names."""
    known = policy.outside.clients
    for name in policy.config.clients or () if known is not None else ():
        if known is not None and name not in known.groups:
            message = f"no client key is of this group{did_you_mean(name, known.groups)}"
            if name == DEFAULT_GROUP:
                message = "every client key names another group"
            yield Finding(code="unused-group", place=("clients", name), message=message, at_key=True)


def unknown_clients(policy: Policy) -> Iterator[Finding]:
    """Find conditions that name clients whom the file of client keys does not have."""
    known = policy.outside.clients
    if known is None:
        return
    for chain in policy.chains:
        for item in chain.items:
            for place, when in _whens(item.spec.when, (*item.place, "when")):
                for name in sorted(when.clients - known.names):
                    message = f"no client key is named {name!r}{did_you_mean(name, known.names)}"
                    yield Finding(code="unknown-client", place=(*place, "client"), message=message)


def _whens(when: WhenSpec | None, place: Where) -> Iterator[tuple[Where, WhenSpec]]:
    if when is not None:
        yield place, when
        yield from _whens(when.inverse, (*place, "not"))


def _lists(policy: Policy) -> Iterator[tuple[Where, Sequence[Limit]]]:
    """Yield each list of limits with its place."""
    yield from ((("providers", name, "limits"), endpoint.limits) for name, endpoint in policy.endpoints.items())
    yield from ((("clients", name, "limits"), group.limits) for name, group in policy.clients.items())
