"""The chain of a budget's `then`, as if it were the asked alias' own."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from gateway.engine.limits.then import changes_model, route_through
from gateway.policy.table import AliasHooks, Route
from gateway.wire.json import JsonObject
from tests.compiling import table

FILE = """
models:
  smart: {chain: [openai/gpt-4o], deadline: 7s, max_attempts: 2, stream: {hold: full}}
  cheap: {chain: [{pool: {openai/gpt-4o-mini: 9, openai/gpt-4o: 1}}, anthropic/claude-haiku-4-5], deadline: 9s}
  same: openai/gpt-4o
"""
HOOKED = """
hooks: {pre: [hooks_of_then.everybody]}
models:
  smart: {chain: [openai/gpt-4o], hooks: {pre: [hooks_of_then.each]}}
  cheap: {chain: [openai/gpt-4o-mini, {alias: inner}], hooks: {pre: [hooks_of_then.each], post: [hooks_of_then.after]}}
  inner: {chain: [mistral/mistral-small-latest], hooks: {pre: [hooks_of_then.each]}}
  "team/*": {chain: ["openai/*"], hooks: {pre: [hooks_of_then.each]}}
"""


@pytest.fixture(autouse=True)
def hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(body: JsonObject) -> JsonObject:
        return body

    module = ModuleType("hooks_of_then")
    for name in ("everybody", "each", "after"):
        setattr(module, name, hook)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def told(hooks: AliasHooks) -> tuple[str, list[str], list[str]]:
    pre, post = ([hook.path.rpartition(".")[2] for hook in some] for some in (hooks.pre, hooks.post))
    return hooks.alias, pre, post


def nested(route: Route) -> list[list[tuple[str, list[str], list[str]]]]:
    return [[told(own) for own in step.nested] for step in route.steps]


def test_steps_and_pools_are_then_s_and_all_else_is_the_asked_alias() -> None:
    policy = table(FILE)
    smart, cheap = policy.routes["smart"], policy.routes["cheap"]
    route = route_through(smart, cheap)
    assert (route.steps, route.parts) == (cheap.steps, cheap.parts)
    assert (route.alias, route.deadline_s, route.stream) == ("smart", 7.0, smart.stream)
    assert route.max_attempts == 3, "one for each target"


def test_its_own_hooks_come_with_its_steps_and_those_for_all_requests_do_not() -> None:
    routes = table(HOOKED).routes
    route = route_through(routes["smart"], routes["cheap"])
    assert (route.pre, route.own) == (routes["smart"].pre, routes["smart"].own)
    cheap = ("cheap", ["each"], ["after"])
    assert nested(route) == [[cheap], [cheap, ("inner", ["each"], [])]]


def test_a_hook_that_all_aliases_name_runs_for_both_as_in_a_chain_of_that_alias() -> None:
    chained = table(HOOKED.replace("chain: [openai/gpt-4o],", "chain: [{alias: cheap}],")).routes["smart"]
    routes = table(HOOKED).routes
    assert nested(route_through(routes["smart"], routes["cheap"])) == nested(chained)


def test_a_wildcard_brings_its_own_hooks_too() -> None:
    policy = table(HOOKED)
    filled = policy.find("team/gpt-5.5")
    assert filled is not None
    assert nested(route_through(policy.routes["smart"], filled)) == [[("team/*", ["each"], [])]]


def test_an_alias_without_hooks_of_its_own_brings_none() -> None:
    policy = table(HOOKED + "  plain: openai/gpt-4o\n")
    assert policy.routes["plain"].own is None
    assert nested(route_through(policy.routes["smart"], policy.routes["plain"])) == [[]]


def test_it_is_known_whether_a_model_would_change() -> None:
    routes = table(FILE).routes
    assert changes_model(routes["smart"], routes["cheap"])
    assert not changes_model(routes["smart"], routes["same"])
