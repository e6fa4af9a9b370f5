"""Pools and conditions of a chain become the parts of its route, over the positions of its steps."""

from __future__ import annotations

import pytest

from gateway.config.compiler.chains import MAX_STEPS
from gateway.policy.conditions import Threshold, When
from gateway.policy.failures import Kind
from gateway.policy.overlay import Overlay
from gateway.policy.pools import Conditional, Member, Pool, StickyKey, positions
from tests.compiling import names, problems, route

TOOLS = When(features={"tools": True})


def member(name: str, *parts: int, weight: float = 1.0, is_alias: bool = False) -> Member:
    return Member(name=name, parts=parts, weight=weight, is_alias=is_alias)


def test_a_chain_without_pools_and_conditions_has_no_parts() -> None:
    assert route("models: {fast: [openai/a, {target: openai/b}, {alias: c}], c: openai/c}\n").parts is None


def test_a_mapping_has_weights_and_a_list_has_members_of_weight_one() -> None:
    text = """
models:
  fast:
    - pool: {openai/a: 9, groq/b: 0.5, groq/c: 0}
    - pool: [groq/d, {target: groq/e, weight: 2}]
"""
    found = route(text)
    assert names(found) == ["openai/a", "groq/b", "groq/c", "groq/d", "groq/e"]
    assert found.parts == (
        Pool(members=(member("openai/a", 0, weight=9), member("groq/b", 1, weight=0.5), member("groq/c", 2, weight=0))),
        Pool(members=(member("groq/d", 3), member("groq/e", 4, weight=2))),
    )


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("client", StickyKey(client=True)),
        ("{header: X-Session}", StickyKey(header="x-session")),
        ("{metadata: Session}", StickyKey(metadata="Session")),
    ],
)
def test_a_sticky_pool_may_have_a_key(written: str, key: StickyKey) -> None:
    (pool,) = route(f"models: {{fast: [{{pool: [openai/a, groq/b], pick: sticky, key: {written}}}]}}\n").parts or ()
    assert isinstance(pool, Pool)
    assert (pool.pick, pool.key) == ("sticky", key)


def test_the_limits_of_a_pool_are_those_of_its_targets_but_for_their_own() -> None:
    text = """
models:
  other: groq/c
  fast:
    timeout: 9s
    params: {a: 1, b: 1, c: 1}
    chain:
      - pool: [{target: openai/a, timeout: 3s, params: {a: 3}}, openai/b, {alias: other}]
        timeout: 5s
        retries: 1
        fallback_on: [auth]
        params: {a: 2, b: 2}
"""
    own, of_pool, of_alias = route(text).steps
    assert (own.limits.total_s, own.retries, dict(own.params.sent)) == (3, 1, {"a": 3, "b": 2, "c": 1})
    assert (of_pool.limits.total_s, of_pool.retries, dict(of_pool.params.sent)) == (5, 1, {"a": 2, "b": 2, "c": 1})
    assert (of_alias.limits.total_s, of_alias.retries, dict(of_alias.params.sent)) == (30, 3, {})
    assert own.fallback_on == of_pool.fallback_on == {Kind.AUTH}
    assert [step.says_fallback for step in (own, of_pool, of_alias)] == [True, True, False]


def test_an_alias_brings_its_steps_and_parts_to_where_it_is_named() -> None:
    text = """
models:
  fast:
    - openai/a
    - {when: {tools: true}, alias: inner}
    - pool: [{alias: inner, weight: 3}, groq/d, {alias: plain}]
    - {alias: inner}
    - {alias: plain}
  inner: [{pool: {groq/x: 1, groq/y: 2}, pick: fastest}, {when: {tokens: "> 1k"}, target: groq/z}]
  plain: [openai/p, openai/q]
"""
    found = route(text)

    def inner(first: int) -> tuple[Pool, Conditional]:
        members = (member("groq/x", first), member("groq/y", first + 1, weight=2))
        when = When(tokens=Threshold(">", 1000))
        return Pool(members=members, pick="fastest"), Conditional(when=when, parts=(first + 2,))

    assert names(found) == [
        "openai/a", "groq/x", "groq/y", "groq/z", "groq/x", "groq/y", "groq/z", "groq/d", "openai/p", "openai/q",
        "groq/x", "groq/y", "groq/z", "openai/p", "openai/q",
    ]  # fmt: skip
    assert found.parts == (
        0,
        Conditional(when=TOOLS, parts=inner(1)),
        Pool(
            members=(
                Member(name="inner", parts=inner(4), weight=3, is_alias=True),
                member("groq/d", 7),
                member("plain", 8, 9, is_alias=True),
            )
        ),
        *inner(10),
        13,
        14,
    )
    assert positions(found.parts) == list(range(15))
    assert found.max_attempts == 15


def test_wildcards_carry_the_matched_part_into_pools() -> None:
    text = """
models:
  "team/*":
    - pool: {"openai/*": 9, groq/fixed: 1}
    - {when: {tools: true}, target: "groq/*"}
  fast: [{pool: [{alias: team/x}, openai/a]}]
"""
    found = route(text, "team/gpt-5")
    assert names(found) == ["openai/gpt-5", "groq/fixed", "groq/gpt-5"]
    assert names(route(text)) == ["openai/x", "groq/fixed", "groq/x", "openai/a"]
    (pool,) = route(text).parts or ()
    assert isinstance(pool, Pool)
    assert pool.members[0].parts == (*(found.parts or ())[:1], Conditional(when=TOOLS, parts=(2,)))


def test_the_hooks_of_an_alias_go_with_its_steps_into_a_pool() -> None:
    text = """
models:
  fast: [{pool: [{alias: safe}, openai/a]}]
  safe: {chain: [groq/x], hooks: {pre: [json.dumps]}}
"""
    assert [[own.alias for own in step.nested] for step in route(text).steps] == [["safe"], []]


def test_a_pool_counts_all_its_targets() -> None:
    members = ", ".join(f"openai/m{number}: 1" for number in range(MAX_STEPS + 1))
    assert problems(f"models: {{fast: [{{pool: {{{members}}}}}]}}\n") == ["2:16: chain-too-long"]


def test_a_cycle_through_a_pool_is_found() -> None:
    text = "models: {a: [{pool: [openai/x, {alias: b}]}], b: [{when: {tools: true}, alias: a}]}\n"
    assert problems(text) == ["2:40: alias-cycle"]


def test_weights_may_be_variables() -> None:
    text = "models: {fast: [{pool: {openai/a: '${A}', groq/b: '${B:-1}'}}]}\n"
    (pool,) = route(text, environ={"A": "2.5"}).parts or ()
    assert isinstance(pool, Pool)
    assert [one.weight for one in pool.members] == [2.5, 1]
    assert problems(text, environ={"A": "-2"}) == ["2:35: bad-weight"]
    assert problems(text, environ={"A": ".inf"}) == ["2:35: bad-number"]


def test_a_member_that_variables_make_a_repeat_is_one() -> None:
    text = "models: {fast: [{pool: ['openai/${A}', openai/x]}]}\n"
    assert problems(text, environ={"A": "y"}) == []
    assert problems(text, environ={"A": "x"}) == ["2:40: repeated-target"]


def test_an_overlay_puts_its_targets_around_a_pool() -> None:
    text = 'models: {fast: [{pool: {openai/a: 1, groq/b: 2}}, openai/c], "w/*": [{pool: {"openai/*": 1, groq/b: 2}}]}\n'
    overlay = Overlay(mappings={"fast": "openai/c"}, fallbacks={"w/x": ("openai/z",)})
    found = route(text, overlay=overlay)
    assert (names(found), found.parts) == (["openai/c"], None)
    found = route(text, "w/x", overlay=overlay)
    assert names(found) == ["openai/x", "groq/b", "openai/z"]
    assert found.parts == (Pool(members=(member("openai/x", 0), member("groq/b", 1, weight=2))), 2)


def test_a_pool_that_an_overlay_replaces_is_checked_too() -> None:
    text = "models: {fast: [{pool: [gpt-4o, {alias: nobody}]}, {when: {tokens: '>= 0'}, target: openai/c}]}\n"
    overlay = Overlay(mappings={"fast": "openai/c"}, fallbacks={"fast": ("openai/d",)})
    assert problems(text, overlay=overlay) == ["2:25: no-provider", "2:41: unknown-alias", "2:68: bad-threshold"]


def test_what_is_refused_in_a_pool_hides_nothing_else() -> None:
    text = """
models:
  a: [{pool: {gpt-4o: -1, groq: 1}}, gpt]
  b: [{pool: [gpt-4o, {target: groq/x, weight: x}], pick: stick}, gpt]
  c: [{when: {stream: 5, tokens: ">= 0"}, target: gpt-4o}, {when: {}, target: gpt}]
"""
    assert problems(text) == [
        "4:23: bad-weight", "4:27: no-provider", "4:38: no-provider",
        "5:15: no-provider", "5:48: bad-weight", "5:59: bad-value", "5:67: no-provider",
        "6:23: wrong-type", "6:34: bad-threshold", "6:51: no-provider", "6:67: bad-when", "6:79: no-provider",
    ]  # fmt: skip
