"""What holds for every policy, in the simulator that `test` and `explain` use: calls, conditions, shares, keys."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.compare.policies import compare
from gateway.config.compare.shapes import when_text
from gateway.config.compare.shares import NO_CONDITION
from gateway.engine.arrange import shares
from gateway.engine.facts import RequestFacts
from gateway.operations import CHAT
from gateway.policy.conditions import When, unmet
from gateway.policy.failures import KEY_FAULTS, Kind
from gateway.policy.pools import conditionals, positions
from gateway.policy.table import Route, RoutingTable
from gateway.simulation import clock as virtual
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import ANSWERED, Script, named
from gateway.wire.json import JsonObject
from tests import random_policies
from tests.random_policies import EU, KEYS, PAID, compiled

DEVIATIONS: Final = 6.0
"""Standard deviations that drawn shares may be off: a right one fails once in 500 million."""

MOVING: Final = [Kind.CONNECTION, Kind.RATE_LIMIT, Kind.OVERLOADED, Kind.SERVER_ERROR, Kind.AUTH, Kind.BILLING]
"""Failures of no time that lead to the next target."""

HEADERS: Final[dict[str, dict[str, str]]] = {
    "shares": {},
    f"shares.{NO_CONDITION}": {},
    f"shares.{when_text(When(headers={'x-tier': ('paid',)}))}": {"x-tier": "paid"},
    f"shares.{when_text(When(headers={'x-region': ('eu', 'uk')}))}": {"x-region": "uk"},
}
"""Field of a change of shares → header fields of a request that it is about."""


def drawn_shares(table: RoutingTable, headers: dict[str, str], *, requests: int, seed: int) -> dict[str | None, float]:
    """Return target → part of many requests that it answers while all are well; each has a session of its own."""

    async def ask() -> Counter[str | None]:
        simulator = Simulator(table, Script({"*": (ANSWERED,)}), seed=seed)
        found: Counter[str | None] = Counter()
        for number in range(requests):
            sent = {**headers, "x-run": f"run-{seed}-{number}"}
            found[(await simulator.ask(body(), headers=sent)).target] += 1
        return found

    return {target: count / requests for target, count in virtual.run(ask()).items()}


def body(*, stream: bool = False, is_long: bool = False) -> JsonObject:
    content = "word " * (2000 if is_long else 1)
    return {
        "model": "smart",
        "messages": [{"role": "user", "content": content}],
        **({"stream": True} if stream else {}),
    }


def check_shares_of_diff(models: dict[str, Any], *, seed: int, requests: int) -> None:
    old, new = compiled({**models, "smart": ["own/old"]}), compiled(models)
    for change in compare(old, new, shares).changes:
        if not change.field.startswith("shares"):
            continue
        drawn = drawn_shares(new, HEADERS[change.field], requests=requests, seed=seed)
        expected = {**change.new, None: 1.0 - sum(change.new.values())}  # None: no step takes the request
        for target in {*drawn, *expected}:
            share = min(1.0, max(0.0, expected.get(target, 0.0)))
            deviation = math.sqrt(share * (1 - share) / requests)
            assert abs(drawn.get(target, 0.0) - share) <= DEVIATIONS * deviation + 1e-8, (change.field, drawn, expected)


ARMS: Final = random_policies.models(whens=[PAID, EU])


@settings(max_examples=8)
@given(models=ARMS, seed=st.integers(0, 1000))
def test_the_shares_that_diff_tells_are_those_of_the_draws(models: dict[str, Any], seed: int) -> None:
    check_shares_of_diff(models, seed=seed, requests=400)


@pytest.mark.slow
@settings(max_examples=60)
@given(models=ARMS, seed=st.integers(0, 1000))
def test_the_shares_that_diff_tells_are_those_of_the_draws_for_many(models: dict[str, Any], seed: int) -> None:
    check_shares_of_diff(models, seed=seed, requests=1000)


class Asked:
    """One request: what it is like, and which targets fail meanwhile."""

    def __init__(self, draw: st.DrawFn, names: list[str]) -> None:
        self.headers = {"x-run": draw(st.sampled_from("abc"))}
        self.headers |= draw(st.sampled_from([{}, {"x-tier": "paid"}, {"x-region": "eu"}, {"x-tier": "free"}]))
        self.body = body(stream=draw(st.booleans()), is_long=draw(st.booleans()))
        self.after_s = draw(st.sampled_from([0.0, 1.0, 40.0]))
        self.down: dict[str, Kind] = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(MOVING)))

    def forbidden(self, route: Route) -> set[str]:
        """Return the targets whose condition does not hold."""
        stream = bool(self.body.get("stream"))
        facts = RequestFacts(CHAT, self.body, arrived=lambda: 0.0, stream=stream, headers=self.headers)
        return {
            route.steps[position].target.name
            for one in conditionals(route.parts or ())
            if unmet(one.when, facts) is not None
            for position in positions(one.parts)
        }


@st.composite
def histories(draw: st.DrawFn) -> tuple[RoutingTable, list[Asked], int]:
    """Return a policy, some requests one after the other, and a seed."""
    table = compiled(draw(random_policies.models()))
    names = [step.target.name for step in table.routes["smart"].steps]
    return table, [Asked(draw, names) for _ in range(draw(st.integers(1, 4)))], draw(st.integers(0, 100))


def check_calls(table: RoutingTable, requests: list[Asked], seed: int) -> None:
    """No target is called more often than its retries and keys allow, none whose condition fails; one answers."""
    route = table.routes["smart"]
    steps = {step.target.name: step for step in route.steps}

    async def ask() -> list[Observed]:
        simulator = Simulator(table, Script({}), seed=seed)
        found: list[Observed] = []
        for request in requests:
            await asyncio.sleep(request.after_s)
            simulator.play(Script({name: (named(kind),) for name, kind in request.down.items()}))
            found.append(await simulator.ask(request.body, headers=request.headers))
        return found

    for request, observed in zip(requests, virtual.run(ask()), strict=True):
        forbidden = request.forbidden(route)
        called = Counter(seen.target for seen in observed.attempts)
        assert forbidden.isdisjoint(called)
        for name, times in called.items():
            has_keys = name.startswith("keyed/") and request.down.get(name) in KEY_FAULTS
            assert times <= (1 + steps[name].retries) * (KEYS if has_keys else 1)
        sound = steps.keys() - forbidden - request.down.keys()
        assert not observed.crashed, observed.fault
        if sound:
            assert (observed.status, observed.broken) == (200, False), observed
            assert observed.target in sound
        elif forbidden == steps.keys():
            assert (observed.status, observed.error) == (400, "no_step")
        else:
            assert observed.status in {429, 502, 503}


@settings(max_examples=60)
@given(history=histories())
def test_who_is_called_whatever_the_policy_and_the_failures(history: tuple[RoutingTable, list[Asked], int]) -> None:
    check_calls(*history)


@pytest.mark.slow
@settings(max_examples=1500)
@given(history=histories())
def test_who_is_called_in_many_more_histories(history: tuple[RoutingTable, list[Asked], int]) -> None:
    check_calls(*history)


@settings(max_examples=40)
@given(models=random_policies.models(whens=[PAID, EU], picks=["sticky"]), seed=st.integers(0, 100))
def test_a_session_keeps_its_target_on_every_replica_and_comes_back_after_an_outage(
    models: dict[str, Any], seed: int
) -> None:
    table, again = compiled(models), compiled(models)

    async def ask(table: RoutingTable, run: str, seed: int) -> list[str | None]:
        simulator = Simulator(table, Script({}), seed=seed)
        found: list[str | None] = []
        for outage in (False, False, True, False):
            first = found[0] if found else None
            simulator.play(Script({str(first): (named(Kind.OVERLOADED),)} if outage else {}))
            found.append((await simulator.ask(body(), headers={"x-run": run})).target)
            await asyncio.sleep(3600)
        return found

    for run in "abcd":
        first, second, during, after = virtual.run(ask(table, run, seed))
        assert first == second == after
        assert during != first or first is None
        assert virtual.run(ask(again, run, seed + 1)) == [first, second, during, after]


@settings(max_examples=30)
@given(models=random_policies.models(), seed=st.integers(0, 100))
def test_a_seed_has_one_outcome(models: dict[str, Any], seed: int) -> None:
    table = compiled(models)

    async def ask() -> list[str | None]:
        simulator = Simulator(table, Script({}), seed=seed)
        return [(await simulator.ask(body(), headers={"x-run": str(number)})).target for number in range(5)]

    assert virtual.run(ask()) == virtual.run(ask())
