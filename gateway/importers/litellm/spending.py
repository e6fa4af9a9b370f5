"""Prices of deployments as those of their steps, and budgets as limits of spend of their providers.

Checked against LiteLLM 1.110.2, `router_strategy/budget_limiter.py`: the budget of a deployment counts where
`budget_duration` stands beside it, that of `provider_budget_config` for all deployments of a provider. Both begin with
the first call, are charged after each answer, and pass over what has used them up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.config.document.yaml_tree import Where
from gateway.config.model.limit_texts import limit_text
from gateway.config.prices import load_prices
from gateway.importers.litellm.draft import Step, Upstream
from gateway.importers.litellm.report import Report
from gateway.importers.litellm.values import number
from gateway.policy.limits import Window
from gateway.wire.json import Json, JsonObject

if TYPE_CHECKING:
    from gateway.importers.litellm.deployments import Deployment

_COSTS: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
}
"""LiteLLM's key → that of `price`."""
_PER: Final = 1_000_000

_DURATION: Final = re.compile(r"([0-9]{1,6})\s*(mo|[smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "mo": 30 * 86_400}
_WINDOWS: Final[Mapping[int, Window]] = {60: "minute", 3600: "hour", 86_400: "day", 30 * 86_400: "month"}
_MOST: Final = 1e9

BUDGET_KEYS: Final = ("max_budget", "budget_duration")
PROVIDER_BUDGETS: Final[Where] = ("router_settings", "provider_budget_config")

_NO_BUDGET: Final = (
    "a budget is dollars above zero, in a minute, an hour, a day or a month: `max_budget` and `budget_duration`"
)
_DIFFERS: Final = (
    "LiteLLM's window begins with the first call and counts after the answer; here it is taken before, by an estimate"
)


class Budget(NamedTuple):
    """Dollars in a window."""

    amount: float
    per: Window

    @property
    def text(self) -> str:
        """For messages, such as `$5/day`."""
        return limit_text("spend", self.amount, self.per)

    @property
    def entry(self) -> JsonObject:
        """The limit as the file writes it."""
        return {"spend": _plain(self.amount), "per": self.per}


def price_of(blocks: Mapping[str, JsonObject], where: Where, report: Report) -> JsonObject | None:
    """Return the `price` of a step, and report the keys that it is from. The first of `blocks` that has one counts."""
    found: JsonObject = {}
    places: list[Where] = []
    for block, values in blocks.items():
        for key, name in _COSTS.items():
            cost = number(values.get(key))
            if cost is not None and 0 <= cost < 1 and name not in found:
                found[name] = _plain(round(cost * _PER, 9))
                places.append((*where, block, key))
    if not {"input", "output"} <= found.keys():
        return None
    for place in places:
        report.exact(place, "as the step's `price`, in dollars per million tokens")
    return {name: found[name] for name in _COSTS.values() if name in found}


def is_cost(key: str) -> bool:
    """Tell whether a key is one that a `price` is made of."""
    return key in _COSTS


def budget_of(params: JsonObject, place: Where, report: Report) -> Budget | None:
    """Return the budget of a deployment; report one that cannot be carried over."""
    budget = _budget(*map(params.get, BUDGET_KEYS))
    for key in BUDGET_KEYS if budget is None else ():
        if params.get(key) is not None:
            report.left_out((*place, key), _NO_BUDGET)
    return budget


def _budget(amount: Json, lasts: Json) -> Budget | None:
    most, match = number(amount), _DURATION.fullmatch(lasts.strip()) if isinstance(lasts, str) else None
    per = None if match is None else _WINDOWS.get(int(match[1]) * _SECONDS[match[2]])
    return None if most is None or per is None or not 0 < most <= _MOST else Budget(most, per)


def budget_note(budget: Budget, deployments: Iterable[Deployment], upstream: Upstream) -> tuple[str, bool]:
    """Return what becomes of a budget of all these deployments of a provider, and whether it is carried over."""
    unpriced = [one.shown for one in deployments if not _is_priced(one.step, upstream)]
    if unpriced:
        return (
            f"no price is known for {unpriced[0]}, and a limit of spend needs one: write it as the step's `price`",
            False,
        )
    return f"as {of_upstream(budget.text, upstream)}; {_DIFFERS}", True


def of_upstream(limit: str, upstream: Upstream) -> str:
    """Return what a limit is, for messages."""
    return f"the limit {limit} of a provider of its own" if upstream.owner else f"the provider's limit {limit}"


def budgeted_kinds(given: Json) -> frozenset[str]:
    """Return the kinds of provider for which `provider_budget_config` has a budget that may be carried over."""
    entries = given.items() if isinstance(given, dict) else ()
    return frozenset(name for name, values in entries if _provider_budget(values) is not None)


def _provider_budget(values: Json) -> Budget | None:
    fields = values if isinstance(values, dict) else {}
    amount = fields.get("budget_limit", fields.get("max_budget"))
    return _budget(amount, fields.get("time_period", fields.get("budget_duration")))


def provider_budgets(
    given: Json, users: Mapping[str, Sequence[Deployment]], upstreams: dict[str, Upstream], report: Report
) -> None:
    """Add the budgets of `provider_budget_config` to the upstreams, and report them.

    `users` has the deployments of each upstream.
    """
    if given is not None and not isinstance(given, dict):
        report.left_out(PROVIDER_BUDGETS, "it must be a mapping of providers")
    for name, values in given.items() if isinstance(given, dict) else ():
        where = (*PROVIDER_BUDGETS, name)
        budget = _provider_budget(values)
        found = [identity for identity in users if upstreams[identity].kind == name]
        if budget is None:
            report.left_out(where, "a budget is dollars above zero, in a minute, an hour, a day or a month")
        elif len(found) != 1:
            why = "no model is at this provider" if not found else "it is several providers here, with limits each"
            report.left_out(where, why)
        elif any(isinstance(one, dict) and one["per"] == budget.per for one in _limits(upstreams[found[0]])):
            report.left_out(where, "its deployment has a budget of its own")
        else:
            message, is_carried = budget_note(budget, users[found[0]], upstreams[found[0]])
            if is_carried:
                add_limits(upstreams, found[0], [budget.entry])
                report.approximate(where, message)
            else:
                report.left_out(where, message)


def add_limits(upstreams: dict[str, Upstream], identity: str, limits: Sequence[Json]) -> None:
    """Add limits to an upstream."""
    upstream = upstreams[identity]
    entry = {**upstream.entry, "limits": [*_limits(upstream), *limits]}
    upstreams[identity] = replace(upstream, entry=entry)


def _limits(upstream: Upstream) -> list[Json]:
    found = upstream.entry.get("limits")
    return found if isinstance(found, list) else []


def _is_priced(step: Step, upstream: Upstream) -> bool:
    if step.price is not None or upstream.kind == "mock":
        return True
    if step.variable or "base_url" in upstream.entry:
        return False
    prices = load_prices()
    return prices is not None and prices.of_model(upstream.kind, step.model) is not None


def _plain(amount: float) -> float:
    """Return a whole number without its point."""
    return int(amount) if amount == int(amount) else amount
