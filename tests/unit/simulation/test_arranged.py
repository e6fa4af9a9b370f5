"""Simulated calls of chains with pools and conditions: order, shares, and what holds for a request."""

from __future__ import annotations

from gateway.adapters.mock import MockAdapter
from gateway.engine.facts import RequestFacts
from gateway.operations import CHAT
from gateway.policy.conditions import Threshold, When
from gateway.policy.failures import Kind
from gateway.policy.pools import Conditional, Member, Pool
from gateway.policy.table import RoutingTable
from gateway.simulation import clock as virtual
from gateway.simulation.circumstances import caller
from gateway.simulation.explain import as_json, explain, verdicts
from gateway.simulation.shares import first_choices
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import Script
from gateway.simulation.walk import seeded, walk, worst
from gateway.wire.json import Json
from tests.supposing import fails
from tests.unit.simulation.test_walk import route, step

LONG = Conditional(when=When(tokens=Threshold(">", 1000)), parts=(0,))
POOL = Pool(members=(Member(name="b/x", parts=(1,), weight=9), Member(name="c/x", parts=(2,))))
CHAIN = route(step("a/x"), step("b/x"), step("c/x"), step("d/x"), parts=(LONG, POOL, 3))


def facts(**params: Json) -> RequestFacts:
    return RequestFacts(CHAT, params, arrived=lambda: 0.0)


def test_a_walk_tells_the_positions_of_the_file() -> None:
    call = walk(CHAIN, fails(Kind.OVERLOADED))
    assert sorted(event.step for event in call.events) == [1, 2, 3]
    assert call.events[-1].step == 3
    assert call.passed_over == {0: "condition"}
    assert verdicts(CHAIN, call) == {0: "passed over: the request does not meet its condition: tokens"}


def test_a_walk_is_the_same_each_time_and_another_with_another_seed() -> None:
    firsts = {walk(CHAIN, fails(None)).events[0].step for _ in range(5)}
    assert len(firsts) == 1
    assert {walk(CHAIN, fails(None), draw=seeded(seed)).events[0].step for seed in range(60)} == {1, 2}


def test_a_walk_of_a_request_that_meets_the_condition() -> None:
    call = walk(CHAIN, fails(None), facts=facts(messages=[{"role": "user", "content": "word " * 1000}]))
    assert [event.step for event in call.events] == [0]


def test_the_worst_case_counts_all_steps() -> None:
    assert worst(CHAIN, stream=False, slow=False).tried == {0, 1, 2, 3}


def test_the_shares_of_first_choices() -> None:
    assert first_choices(CHAIN, facts()) == {1: 0.9, 2: 0.1}
    assert first_choices(CHAIN, facts(messages=[{"role": "user", "content": "word " * 1000}])) == {0: 1.0}
    assert first_choices(route(step("a/x"), step("b/x")), facts()) == {0: 1.0}


def test_an_explanation_tells_pools_and_conditions() -> None:
    told = as_json(explain("smart", CHAIN, {}, mock=MockAdapter()))
    assert told["conditions"] == [{"steps": [1], "holds": False, "unmet": "tokens"}]
    [pool] = told["pools"]
    assert sorted(pool.pop("order")) == ["b/x", "c/x"]
    assert pool == {
        "pick": "weighted",
        "key": None,
        "members": [
            {"name": "b/x", "weight": 9, "share": 0.9, "steps": [2]},
            {"name": "c/x", "weight": 1.0, "share": 0.1, "steps": [3]},
        ],
    }


def test_a_simulator_has_headers_a_client_a_clock_and_a_seed() -> None:
    paid = Conditional(when=When(headers={"x-tier": ("paid",)}, clients=frozenset({"alice"})), parts=(0,))
    table = RoutingTable(generation=1, routes={"smart": route(step("a/x"), step("b/x"), parts=(paid, 1))})

    async def ask(headers: dict[str, str], client: str | None) -> Observed:
        body = {"model": "smart", "messages": [{"role": "user", "content": "hi"}]}
        return await Simulator(table, Script({}), seed=3).ask(body, headers=headers, client=caller(client, None))

    assert virtual.run(ask({"x-tier": "paid"}, "alice")).target == "a/x"
    other = virtual.run(ask({"x-tier": "paid"}, "bob"))
    assert (other.target, other.skipped) == ("b/x", ("a/x",))
