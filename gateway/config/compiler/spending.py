"""Find the price of what may be spent where spend is limited, and the targets that have none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from gateway.concurrency.pacing import paced
from gateway.config.compiler.chains import Chains, Reference
from gateway.config.model.partial import NOTHING, LeftOut
from gateway.config.prices import Prices, load_prices
from gateway.config.problems import Report
from gateway.policy.limits import ClientGroup, ClientGroups, Limit, Price
from gateway.policy.table import Route, Step
from gateway.policy.target import Endpoint, Target

PriceOf = Callable[[Target], Price | None]

_HOW: Final = "write a 'price' beside it, in dollars per million tokens, such as {input: 1.25, output: 10}"


def limits_spend(limits: Sequence[Limit]) -> bool:
    """Tell whether there is a limit of spend among these."""
    return any(limit.unit == "spend" for limit in limits)


def priced(
    groups: ClientGroups,
    endpoints: Mapping[str, Endpoint],
    chains: Chains,
    steps: Mapping[str, tuple[Step, ...]],
    report: Report,
    *,
    left_out: LeftOut = NOTHING,
) -> PriceOf | None:
    """Return the prices by the data; None where nobody's spend is limited. Reports targets without a price.

    `steps` has the whole chains, by alias.
    """
    spending = [
        group
        for group in groups.values()
        if limits_spend(group.limits) and not left_out.touches(("clients", group.name))
    ]
    providers = {name for name, endpoint in endpoints.items() if limits_spend(endpoint.limits)}
    if not spending and not providers:
        return None
    loaded = load_prices()
    prices = loaded or Prices(())
    why = "" if loaded is not None else ", as there is no price data of LiteLLM here"
    who, wild = _limited(spending, chains)
    for name in paced(chains.elements):
        for link, element in chains.placed(name):
            if link.from_code:
                continue  # in a program's own process no client has limits
            if left_out.touches(link.place[:4]):
                continue  # its price may be what it lacks
            for step in _named(element, steps):
                target = step.target
                limited = who.get(name)
                if target.endpoint.provider in providers:
                    limited = f"providers.{target.endpoint.provider}"
                if limited is None or step.price is not None or prices.of(target) is not None:
                    continue
                if "*" not in target.name:
                    message = f"no price is known for {target.name}{why}, and {limited} limits spend; {_HOW}"
                    report(link.name_place, "missing-price", message, at_key=link.is_key)
                elif not prices.may_price(target) and (limited.startswith("providers.") or name in wild):
                    message = (
                        f"no price is known for any model of {target.name}, and {limited} limits spend: it is passed "
                        f"over as unsupported; {_HOW}"
                    )
                    report(link.name_place, "missing-price", message, severity="warning", at_key=link.is_key)
    return prices.of


def _named(element: Step | Reference, steps: Mapping[str, tuple[Step, ...]]) -> Iterator[Step]:
    """Yield the steps that an entry of a chain names itself: its target, or those it fills into a wildcard."""
    if isinstance(element, Step):
        yield element
    elif element.matched is not None and element.alias in steps:
        filled = Route(alias=element.alias, steps=steps[element.alias]).fill(element.matched).steps
        wild = steps[element.alias]
        yield from (one for one, other in zip(filled, wild, strict=True) if one is not other)


def _limited(groups: Sequence[ClientGroup], chains: Chains) -> tuple[dict[str, str], set[str]]:
    """Return by alias the group with a limit of spend whose requests its targets may get, and the aliases as written.

    The others are wildcards that only other aliases lead to, with a text for the star.
    """
    found: dict[str, str] = {}
    as_written: set[str] = set()
    for group in groups:
        asked = [*(chains.elements if group.models is None else group.models)]
        as_written.update(asked)
        asked += [name for limit in group.limits if (name := _then(limit, group.limits, chains)) is not None]
        while asked:
            name = asked.pop()
            if name not in found and name in chains.elements:
                found[name] = f"clients.{group.name}"
                asked += [one.alias for one in chains.elements[name] if isinstance(one, Reference)]
    return found, as_written


def _then(limit: Limit, limits: Sequence[Limit], chains: Chains) -> str | None:
    """Return the alias that requests go on to while another limit of spend still counts."""
    is_counted = any(other is not limit and other.unit == "spend" for other in limits)
    return chains.find(limit.then) if limit.then is not None and is_counted else None
