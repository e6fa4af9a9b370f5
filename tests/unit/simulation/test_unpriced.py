"""Targets without a price, where spend is limited: `explain` passes over what the gateway passes over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.adapters.mock import MockAdapter
from gateway.policy.failures import Kind
from gateway.policy.limits import Price
from gateway.policy.table import RoutingTable
from gateway.policy.target import Target
from gateway.simulation import clock as virtual
from gateway.simulation.circumstances import Circumstances
from gateway.simulation.client_limits import unused_limits
from gateway.simulation.explain import Explanation, as_json, explain, verdicts
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import Script, named
from gateway.wire.json import JsonObject
from tests.compiling import table

ROUTES = """
defaults: {retries: 0}
providers:
  up: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-a}
  own: {kind: openai, base_url: "http://127.0.0.1:8/v1", api_key: sk-b, limits: [{spend: 5, per: day}]}
clients:
  default: {}
  search: {limits: [{spend: 50, per: day}]}
models:
  "team/*": ["up/*", mock/echo]
  "by/*": ["own/*", "up/*", mock/echo]
  "pool/*": [{pool: {"up/*": 1, "own/*": 1}}, {target: mock/echo}]
  "only/*": ["own/*"]
"""
DOWN = named(Kind.SERVER_ERROR)


def price_of(target: Target) -> Price | None:
    """Know the price of `known` only."""
    return Price(input=1, output=1, cached_input=1) if target.model == "known" else None


TABLE = replace(table(ROUTES), price_of=price_of)
FAILS = {"up/*": DOWN, "mock/*": DOWN, "own/*": DOWN}


def served(policy: RoutingTable, name: str, group: str | None) -> Observed:
    body: JsonObject = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
    supposed = Circumstances(group=group)

    async def ask() -> Observed:
        script = Script({target: (outcome,) for target, outcome in FAILS.items()})
        return await Simulator(policy, script).ask(body, client=supposed.caller)

    return virtual.run(ask())


def explained(policy: RoutingTable, name: str, group: str | None) -> Explanation:
    supposed = Circumstances(group=group)
    route = policy.find(name)
    assert route is not None
    limits = None if group is None else unused_limits(policy, route, supposed.caller, {"model": name}, None)
    return explain(
        name, route, FAILS, mock=MockAdapter(), circumstances=supposed, limits=limits, price_of=policy.price_of
    )


@pytest.mark.parametrize("group", [None, "default", "search"])
@pytest.mark.parametrize("name", ["team/known", "team/x", "by/known", "by/x", "pool/known", "pool/x", "only/x"])
def test_explain_calls_whom_the_gateway_calls(name: str, group: str | None) -> None:
    seen, explanation = served(TABLE, name, group), explained(TABLE, name, group)
    told = as_json(explanation)["walk"]
    assert [one.target for one in seen.attempts] == [call["target"] for call in told["calls"]]
    assert (seen.status, seen.error) == (told["status"], told["error"])
    if explanation.refused is None:
        assert sorted(seen.skipped) == sorted(one["target"] for one in told["not_called"])


def test_it_says_why() -> None:
    route = TABLE.find("by/x")
    assert route is not None
    why = "passed over: its price is not known, and spend is limited"
    assert verdicts(route, explained(TABLE, "by/x", None).walk) == {0: why}
    assert verdicts(route, explained(TABLE, "by/x", "search").walk) == {0: why, 1: why}


def test_the_worst_case_has_no_calls_of_theirs() -> None:
    assert explained(TABLE, "by/known", "search").worst.calls == 3
    assert explained(TABLE, "by/x", None).worst.calls == 2
    assert explained(TABLE, "by/x", "search").worst.calls == 1
    assert explained(TABLE, "by/x", "search").worst.untried == ()
