"""Limits of providers in simulations: on the simulation's clock, with the buckets as they are in a running gateway."""

from __future__ import annotations

import pytest

from gateway.adapters.mock import MockAdapter
from gateway.engine.limits.store import Fill
from gateway.simulation import clock as virtual
from gateway.simulation.explain import explain, verdicts
from gateway.simulation.simulator import Simulator
from gateway.simulation.upstreams import Script
from gateway.wire.json import JsonObject
from tests.compiling import route, table

ROUTES = """
defaults: {retries: 0}
providers:
  a: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-a, limits: [2 requests/minute, 2 concurrent]}
models:
  fast: [a/x, mock/echo]
  only: a/x
"""
HI: JsonObject = {"messages": [{"role": "user", "content": "hi"}]}
FULL = [Fill("provider/a requests/minute", 2.0, 1.5, 45.0, 0), Fill("client/a requests/minute", 2.0, 2.0, 60.0, 0)]


def test_requests_count_on_the_clock_of_the_simulation() -> None:
    async def run() -> list[str | None]:
        simulator = Simulator(table(ROUTES), Script({}))
        found = [(await simulator.ask({"model": "fast", **HI})).target for _ in range(3)]
        waited = await simulator.ask({"model": "only", **HI})
        assert waited.elapsed_s == pytest.approx(30)
        return [*found, waited.target]

    assert virtual.run(run()) == ["a/x", "a/x", "mock/echo", "a/x"]


@pytest.mark.parametrize(("fills", "answered"), [((), 0), (FULL, 1)])
def test_explain_tells_who_has_no_room(fills: list[Fill], answered: int) -> None:
    known = route(ROUTES, "fast")
    told = explain("fast", known, {}, mock=MockAdapter(), fills=fills)
    assert told.walk.answered == answered
    expected = "kept in reserve" if not answered else "passed over: its provider's limits have no room"
    assert verdicts(known, told.walk)[1 - answered] == expected


def test_explain_tells_of_the_wait_and_of_a_request_that_is_refused() -> None:
    known = route(ROUTES, "only")
    told = explain("only", known, {}, mock=MockAdapter(), fills=FULL)
    assert [round(event.started_s) for event in told.walk.events] == [15]
    at_once = [Fill("provider/a concurrent", 2.0, 2.0, None, 2)]
    known = route(ROUTES + "  short: {chain: [a/x], deadline: 500ms}\n", "short")
    told = explain("short", known, {}, mock=MockAdapter(), fills=at_once)
    assert told.walk.error is not None
    assert (told.walk.error.code, told.walk.passed_over) == ("limited", {0: "limited"})
    assert verdicts(known, told.walk) == {0: "passed over: its provider's limits have no room"}


def test_a_budget_that_others_have_used_is_used_up() -> None:
    known = route(ROUTES.replace("2 concurrent", "1000 tokens/day"), "only")
    used = [Fill("provider/a tokens/day", 1000.0, 1000.0, 3600.0, 0)]
    told = explain("only", known, {}, mock=MockAdapter(), fills=used)
    assert told.walk.error is not None
    assert (told.walk.error.code, told.walk.passed_over) == ("budget_exceeded", {0: "limited"})
