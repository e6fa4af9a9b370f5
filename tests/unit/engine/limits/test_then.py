"""The chain of a budget's `then`, as if it were the asked alias' own."""

from __future__ import annotations

from dataclasses import replace

from gateway.engine.hooks import hook_of
from gateway.engine.limits.then import Shared, changes_model, route_through, shared_hooks
from gateway.policy.overlay import Overlay
from gateway.policy.table import Hook
from gateway.wire.json import JsonObject
from tests.compiling import table

FILE = """
models:
  smart: {chain: [openai/gpt-4o], deadline: 7s, max_attempts: 2, stream: {hold: full}}
  cheap: {chain: [{pool: {openai/gpt-4o-mini: 9, openai/gpt-4o: 1}}, anthropic/claude-haiku-4-5], deadline: 9s}
  same: openai/gpt-4o
"""


def named(path: str) -> Hook:
    def hook(body: JsonObject) -> JsonObject:
        return body

    return replace(hook_of(hook), path=path)


def test_steps_and_pools_are_then_s_and_all_else_is_the_asked_alias() -> None:
    policy = table(FILE)
    smart, cheap = policy.routes["smart"], policy.routes["cheap"]
    route = route_through(smart, cheap, Shared(0, 0))
    assert (route.steps, route.parts) == (cheap.steps, cheap.parts)
    assert (route.alias, route.deadline_s, route.stream) == ("smart", 7.0, smart.stream)
    assert route.max_attempts == 3, "one for each target"


def test_its_own_hooks_come_with_its_steps_and_those_for_all_requests_do_not() -> None:
    everybody, own, after = named("everybody"), named("own"), named("after")
    policy = table(FILE, overlay=Overlay(pre=(everybody,)))
    routes = dict(policy.routes)
    routes["cheap"] = replace(routes["cheap"], pre=(everybody, own), post=(after,))
    policy = replace(policy, routes=routes)
    shared = shared_hooks(policy)
    assert shared == Shared(1, 0)
    route = route_through(routes["smart"], routes["cheap"], shared)
    assert route.pre == (everybody,)
    for step in route.steps:
        [nested] = step.nested
        assert (nested.alias, nested.pre, nested.post) == ("cheap", (own,), (after,))
    assert route_through(routes["cheap"], routes["smart"], shared).steps == routes["smart"].steps


def test_hooks_for_all_requests_are_those_with_which_all_aliases_begin() -> None:
    one, two, three = named("one"), named("two"), named("three")
    policy = table(FILE)
    for hooks, count in (
        (((one, two), (one, two, three), (one,)), 1),
        (((one,), (two,), (one,)), 0),
        (((one, two), (one, two), (one, two)), 2),
        (((), (one,), (one,)), 0),
    ):
        routes = {
            name: replace(route, pre=pre) for (name, route), pre in zip(policy.routes.items(), hooks, strict=True)
        }
        assert shared_hooks(replace(policy, routes=routes)).pre == count


def test_it_is_known_whether_a_model_would_change() -> None:
    routes = table(FILE).routes
    assert changes_model(routes["smart"], routes["cheap"])
    assert not changes_model(routes["smart"], routes["same"])
