"""Look-up in the routing table: exact names, wildcards, pass-through; and what a wildcard may carry over."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.compiler.chains import split_wildcards
from gateway.policy.keys import KeySource
from gateway.policy.table import MAX_NAME, MAX_USED, AliasHooks, Hook, Route, RoutingTable, Step, is_model_name
from gateway.policy.target import Endpoint, Limits, Target

ENDPOINT = Endpoint(provider="openai", kind="openai", adapter="relay")
LIMITS = Limits(connect_s=5, first_token_s=30, idle_s=30, total_s=30)


def route(alias: str, *models: str) -> Route:
    steps = (
        Step(
            target=Target(name=f"openai/{model}", model=model, label=f"openai/{model}", endpoint=ENDPOINT),
            limits=LIMITS,
        )
        for model in models
    )
    return Route(alias=alias, steps=tuple(steps))


def table(*routes: Route, passthrough: Route | None = None) -> RoutingTable:
    exact, wildcards, lengths = split_wildcards({each.alias: each for each in routes})
    return RoutingTable(
        generation=1, routes=exact, wildcards=wildcards, wildcard_lengths=lengths, passthrough=passthrough
    )


def found(live: RoutingTable, name: str) -> tuple[str, list[str]] | None:
    result = live.find(name)
    return None if result is None else (result.alias, [step.target.name for step in result.steps])


def test_an_exact_name_wins_over_every_wildcard() -> None:
    live = table(route("team/*", "*"), route("team/fast", "gpt-4o"))
    assert found(live, "team/fast") == ("team/fast", ["openai/gpt-4o"])


def test_the_longest_text_before_the_star_wins() -> None:
    live = table(route("*", "a/*"), route("team/eu-*", "c/*"), route("team/*", "b/*"))
    assert found(live, "team/eu-x") == ("team/eu-*", ["openai/c/x"])
    assert found(live, "team/us-x") == ("team/*", ["openai/b/us-x"])
    assert found(live, "other") == ("*", ["openai/a/other"])


def test_the_matched_part_is_carried_into_name_and_model_but_not_into_the_label() -> None:
    result = table(route("team/*", "*", "gpt-4o")).find("team/o3-mini")
    assert result is not None
    carried, fixed = (step.target for step in result.steps)
    assert (carried.name, carried.model, carried.label) == ("openai/o3-mini", "o3-mini", "openai/*")
    assert (fixed.name, fixed.model, fixed.label) == ("openai/gpt-4o", "gpt-4o", "openai/gpt-4o")


def test_a_name_that_a_wildcard_took_has_the_same_route_the_next_time() -> None:
    live = table(route("team/*", "*"), passthrough=route("*", "*"))
    assert live.find("team/a") is live.find("team/a")
    assert live.find("other") is live.find("other")
    assert found(live, "team/b") == ("team/*", ["openai/b"])


def test_clients_cannot_make_a_table_remember_without_bound() -> None:
    live = table(route("team/*", "*"))
    for number in range(MAX_USED + 10):
        assert found(live, f"team/{number}") == ("team/*", [f"openai/{number}"])
        assert live.find(f"team/?{number}") is None
    assert live.find("team/" + "x" * MAX_NAME) is None
    assert len(live._used) == 10


def test_what_is_asked_for_is_made_anew_once() -> None:
    live = table(route("smart", "gpt-4o", "gpt-4o-mini"))
    made, written = live.find("smart"), live.routes["smart"]
    assert made == written
    assert made is live.find("smart")
    assert made is not None
    new, old = made.steps[0].target, written.steps[0].target
    assert new.name is new.label
    for attribute in ("name", "model", "label", "header", "identity"):
        assert getattr(new, attribute) is not getattr(old, attribute)
    assert new.endpoint is old.endpoint
    assert made.steps[1] is written.steps[1], "a chain may be long, and the others' targets are seldom called"
    assert made.alias is not written.alias


def test_of_many_names_those_that_were_asked_for_first_are_made_anew() -> None:
    names = [f"alias-{number}" for number in range(MAX_USED + 1)]
    live = table(*(route(name, "gpt-4o") for name in names), route("team/*", "*"))
    made = {name: live.find(name) for name in names}
    assert [name for name in names if made[name] is live.routes[name]] == names[-1:]
    assert all(live.find(name) is made[name] for name in names)
    assert found(live, "team/a") == ("team/*", ["openai/a"])
    assert len(live._used) == 1, "a wildcard's names may be many, so all are forgotten together"
    assert [found(live, name) for name in names] == [(name, ["openai/gpt-4o"]) for name in names]


def test_what_a_table_remembers_is_no_part_of_its_value() -> None:
    live, same = table(route("team/*", "*")), table(route("team/*", "*"))
    live.find("team/a")
    assert live == same
    assert "team/a" not in repr(live)
    assert len(replace(live, generation=2)._used) == 0


def test_a_targets_identity_is_its_name_address_and_key_source() -> None:
    endpoint = replace(ENDPOINT, base_url="http://x/v1", api_key=KeySource(name="env:K"))
    target = Target(name="openai/a", model="a", label="openai/a", endpoint=endpoint)
    assert target.identity == ("openai/a", "http://x/v1", "env:K")
    assert replace(target, name="openai/b").identity == ("openai/b", "http://x/v1", "env:K")


def test_a_wildcard_does_not_match_its_bare_prefix() -> None:
    assert table(route("team/*", "*")).find("team/") is None


def test_a_pattern_is_no_name_that_a_client_can_ask_for() -> None:
    assert table(route("team/*", "*")).find("team/*") is None


@pytest.mark.parametrize(
    "matched", ["..", "../x", "a/../b", "a?b", "a#b", "a b", "a%2eb", "/a", "a/", "a//b", "a\n", "é", "a\\b"]
)
def test_a_wildcard_carries_nothing_that_could_steer_a_url(matched: str) -> None:
    live = table(route("team/*", "*"), route("*", "*"))
    assert live.find(f"team/{matched}") is None


@pytest.mark.parametrize("matched", ["gpt-4o", "meta-llama/Llama-3.1-8B", "a:b@c", "v1.5_x", "ft:gpt-4o:org::id"])
def test_a_wildcard_carries_what_looks_like_a_model(matched: str) -> None:
    assert found(table(route("team/*", "*")), f"team/{matched}") == ("team/*", [f"openai/{matched}"])


def test_without_a_match_there_is_no_route() -> None:
    assert table(route("fast", "gpt-4o")).find("slow") is None
    assert table().find("") is None


def test_a_passthrough_takes_every_model_name_that_nothing_else_takes() -> None:
    any_name = Route(
        alias="*",
        steps=(Step(target=Target(name="*", model="*", label="*", endpoint=ENDPOINT), limits=LIMITS),),
    )
    live = table(route("fast", "gpt-4o"), passthrough=any_name)
    assert found(live, "fast") == ("fast", ["openai/gpt-4o"])
    assert found(live, "groq/llama-3") == ("*", ["groq/llama-3"])
    assert live.find("no model") is None


def hook(name: str, *operations: str, **more: Any) -> Hook:
    return Hook(path=f"hooks.{name}", call=dict, is_async=False, operations=frozenset(operations), **more)


class TestPassing:
    """A route as the requests of one operation pass it."""

    chat, both = hook("chat", "chat"), hook("both", "chat", "rerank")
    lax = hook("lax", "rerank", on_error="skip")

    def test_it_has_the_hooks_that_know_the_operation(self) -> None:
        asked = replace(route("fast", "a"), pre=(self.lax, self.both), post=(self.chat, self.both))
        passing, refused_by = asked.passing("chat")
        assert (passing.pre, passing.post, refused_by) == ((self.both,), (self.chat, self.both), None)
        assert asked.passing("rerank").route.post == (self.both,)

    def test_the_first_pre_hook_that_does_not_know_it_refuses_unless_it_may_be_skipped(self) -> None:
        asked = replace(route("fast", "a"), pre=(self.lax, self.both, self.chat), post=(self.chat,))
        assert asked.passing("chat").refused_by is None
        assert asked.passing("rerank").refused_by == ("fast", self.chat)
        assert asked.passing("speech").refused_by == ("fast", self.both)

    def test_nested_hooks_count_where_the_target_carries_the_operation(self) -> None:
        nested = AliasHooks(alias="safe", pre=(self.chat,), post=(self.both,))
        translated = Endpoint(provider="claude", kind="anthropic", adapter="litellm")
        step = replace(route("fast", "a").steps[0], nested=(nested,))
        other = replace(step, target=replace(step.target, endpoint=translated))
        assert Route(alias="fast", steps=(step,)).passing("rerank").refused_by == ("safe", self.chat)
        passing, refused_by = Route(alias="fast", steps=(other,)).passing("rerank")
        assert refused_by is None
        assert passing.steps[0].nested == (replace(nested, pre=()),)

    def test_nothing_is_left_of_a_route_whose_hooks_do_not_know_it(self) -> None:
        nested = AliasHooks(alias="safe", post=(self.chat,))
        steps = (replace(route("fast", "a").steps[0], nested=(nested,)),)
        asked = Route(alias="fast", steps=steps, pre=(self.lax,), post=(self.chat,))
        assert asked.has_hooks
        assert not asked.passing("speech").route.has_hooks

    def test_it_is_computed_once(self) -> None:
        asked = replace(route("fast", "a"), pre=(self.chat,))
        assert asked.passing("chat") is asked.passing("chat")


_NAMES = st.text(string.ascii_lowercase + "/-.", min_size=1, max_size=6)


@given(
    exact=st.sets(_NAMES, max_size=4),
    prefixes=st.sets(st.text(string.ascii_lowercase + "/-.", max_size=4), max_size=4),
    name=_NAMES,
    data=st.data(),
)
def test_exact_wins_then_the_longest_prefix_and_order_never_counts(
    exact: set[str], prefixes: set[str], name: str, data: st.DataObject
) -> None:
    aliases = [*exact, *(f"{prefix}*" for prefix in prefixes)]
    shuffled = data.draw(st.permutations(aliases))
    live = table(*(route(alias, "*" if alias.endswith("*") else "x") for alias in shuffled))
    result = live.find(name)
    matching = [prefix for prefix in prefixes if name.startswith(prefix) and name != prefix]
    if name in exact:
        assert result is not None
        assert result.alias == name
    elif matching:
        longest = max(matching, key=len)
        matched = name[len(longest) :]
        assert (result and result.alias) == (f"{longest}*" if is_model_name(matched) else None)
    else:
        assert result is None
