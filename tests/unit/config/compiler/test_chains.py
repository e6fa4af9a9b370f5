"""Chains: target strings, alias steps, wildcards, cycles, and the merged limits of each step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.compiler.compiler import Compiler
from gateway.errors import UsageError
from gateway.policy.failures import FALLBACK_ON, RETRY_ON, Kind
from gateway.policy.table import Hedge, StreamPolicy
from gateway.policy.target import Limits
from tests.compiling import messages, names, problems, route, step, table


@pytest.mark.parametrize(
    ("target", "provider", "model"),
    [
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("openrouter/openai/gpt-4o", "openrouter", "openai/gpt-4o"),
        ("groq/a:b@c/d", "groq", "a:b@c/d"),
        ("watsonx/ibm/granite", "watsonx", "ibm/granite"),
    ],
)
def test_the_provider_stands_before_the_first_slash(target: str, provider: str, model: str) -> None:
    found = step(f"models: {{fast: '{target}'}}\n").target
    assert (found.endpoint.provider, found.model, found.name, found.label) == (provider, model, target, target)


def test_a_string_in_a_chain_is_never_an_alias() -> None:
    assert problems("models: {smart: openai/gpt-4o, fast: [smart]}\n") == ["2:39: no-provider"]
    (message,) = messages("models: {smart: openai/gpt-4o, fast: [smart]}\n")
    assert "{alias: smart}" in message


def test_a_targets_name_may_be_an_alias_too() -> None:
    assert names(route("models: {openai/gpt-4o: groq/llama, fast: openai/gpt-4o}\n")) == ["openai/gpt-4o"]


def test_an_alias_step_brings_steps_with_their_own_limits_and_params() -> None:
    text = """
models:
  smart:
    timeout: 7s
    retries: 1
    params: {temperature: 0}
    retry_on: [timeout]
    chain: [openai/gpt-4o]
  fast:
    timeout: 9s
    retries: 5
    params: {top_p: 1}
    chain: [groq/llama, {alias: smart}]
"""
    own, brought = route(text).steps
    assert (own.limits.total_s, own.retries, dict(own.params.sent)) == (9, 5, {"top_p": 1})
    assert (brought.limits.total_s, brought.retries, dict(brought.params.sent)) == (7, 1, {"temperature": 0})
    assert own.retry_on == RETRY_ON
    assert brought.retry_on == {Kind.TIMEOUT}


def test_stream_deadline_and_max_attempts_come_from_the_alias_asked_for() -> None:
    text = """
models:
  smart: {chain: [openai/gpt-4o], stream: {hold: full}, deadline: 5s, max_attempts: 3}
  fast: [{alias: smart}]
"""
    assert route(text, "smart").stream.hold == "full"
    asked = route(text)
    assert (asked.stream, asked.deadline_s, asked.max_attempts) == (StreamPolicy(), 120.0, 8)


def test_an_alias_step_is_looked_up_as_a_clients_name_is() -> None:
    text = """
models:
  "*": openai/gpt-4o-mini
  "team/*": ["openai/*", openai/gpt-4o]
  team/fixed: groq/llama
  fast: [{alias: team/o3}, {alias: team/fixed}, {alias: other}]
"""
    found = route(text)
    assert names(found) == ["openai/o3", "openai/gpt-4o", "groq/llama", "openai/gpt-4o-mini"]
    assert found.steps[0].target.label == "openai/*"
    assert "openai/o3" in [target.name for target in table(text).targets]


def test_a_wildcard_may_go_on_with_another_alias() -> None:
    text = 'models: {smart: openai/gpt-4o, "team/*": ["groq/*", {alias: smart}]}\n'
    assert names(route(text, "team/llama")) == ["groq/llama", "openai/gpt-4o"]


def test_a_chain_of_aliases_may_be_long_and_deep() -> None:
    lines = [f"  a{number}: [{{alias: a{number + 1}}}]" for number in range(5000)]
    text = "models:\n" + "\n".join(lines) + "\n  a5000: openai/gpt-4o\n"
    assert names(route(text, "a0")) == ["openai/gpt-4o"]


def test_a_chain_of_a_hundred_targets_is_not_too_long() -> None:
    targets = ", ".join(["openai/gpt-4o"] * 100)
    found = route(f"models: {{fast: [{targets}]}}\n")
    assert (len(found.steps), found.max_attempts) == (100, 100)
    assert problems(f"models: {{fast: [{targets}, groq/x]}}\n") == ["2:16: chain-too-long"]


def test_a_cycle_of_very_many_aliases_is_told_in_few_words() -> None:
    lines = [f"  a{number}: [{{alias: a{(number + 1) % 3000}}}]" for number in range(3000)]
    (message,) = messages("models:\n" + "\n".join(lines) + "\n")
    assert message.endswith("a0 -> a1 -> a2 -> a3 -> a4 -> a5 -> a6 -> … -> a0")


def test_very_many_cycles_are_reported_in_bounded_number() -> None:
    lines = [f"  a{number}: [{{alias: a{number}}}]" for number in range(300)]
    assert len(problems("models:\n" + "\n".join(lines) + "\n")) == 100


def test_two_cycles_with_the_same_first_step_are_one_problem_there() -> None:
    text = "models:\n  a: [{alias: b}]\n  b: [{alias: a}, {alias: c}]\n  c: [{alias: a}]\n"
    assert problems(text) == ["3:15: alias-cycle"]


def test_an_alias_that_leads_into_a_cycle_is_not_reported_again() -> None:
    text = "models:\n  x: [{alias: a}]\n  a: [{alias: b}, {alias: x2}]\n  b: [{alias: a}]\n  x2: openai/gpt-4o\n"
    assert problems(text) == ["4:15: alias-cycle"]


@given(st.permutations(["*", "team/*", "team/eu-*", "team/eu-fast"]))
def test_the_order_of_aliases_never_counts(order: list[str]) -> None:
    targets = {"*": "openai/any", "team/*": "groq/*", "team/eu-*": "openrouter/*", "team/eu-fast": "openai/gpt-4o"}
    live = table("models:\n" + "".join(f'  "{name}": "{targets[name]}"\n' for name in order))
    asked = ["other", "team/x", "team/eu-x", "team/eu-fast"]
    assert [names(live.find(name)) for name in asked] == [
        ["openai/any"],
        ["groq/x"],
        ["openrouter/x"],
        ["openai/gpt-4o"],
    ]


def test_a_lone_star_is_a_catch_all() -> None:
    assert names(route('models: {"*": "openai/*"}\n', "gpt-4o")) == ["openai/gpt-4o"]


def test_limits_merge_key_by_key_from_the_step_to_what_is_built_in() -> None:
    text = """
defaults: {timeout: {total: 10m, connect: 1s}}
models:
  fast:
    timeout: {idle: 8s, connect: 2s}
    chain: [{target: openai/gpt-4o, timeout: {connect: 3s}}]
"""
    expected = Limits(connect_s=3, first_token_s=20, idle_s=8, total_s=600, stream_total_s=600)
    assert step(text, environ={"LITELLM_TIMEOUT": "20"}).limits == expected


def test_a_bare_timeout_gives_streams_no_total() -> None:
    limits = step("models: {fast: {chain: [openai/gpt-4o], timeout: 10s}}\n").limits
    assert limits == Limits(connect_s=5, first_token_s=10, idle_s=10, total_s=10, stream_total_s=None)


def test_without_a_word_the_environments_defaults_hold() -> None:
    found = step("models: {fast: openai/gpt-4o}\n")
    assert found.limits == Limits(connect_s=5, first_token_s=30, idle_s=30, total_s=30)
    assert found.retries == 3


def test_retries_come_from_step_then_alias_then_defaults_then_environment() -> None:
    text = """
defaults: {retries: 1}
models:
  a: {retries: 2, chain: [{target: openai/gpt-4o, retries: 0}]}
  b: {retries: 2, chain: [openai/gpt-4o]}
  c: openai/gpt-4o
"""
    assert [step(text, name).retries for name in "abc"] == [0, 2, 1]
    assert step("models: {fast: openai/gpt-4o}\n", environ={"LITELLM_MAX_RETRIES": "9"}).retries == 9


def test_retry_on_and_fallback_on_override_whole_sets() -> None:
    text = """
defaults: {retry_on: [timeout], fallback_on: [auth]}
models:
  a: openai/gpt-4o
  b: {retry_on: [], fallback_on: [billing, timeout], chain: [openai/gpt-4o]}
  c: {retry_on: [], chain: [{target: openai/gpt-4o, retry_on: [overloaded]}]}
"""
    assert [step(text, name).retry_on for name in "abc"] == [{Kind.TIMEOUT}, frozenset(), {Kind.OVERLOADED}]
    assert [step(text, name).fallback_on for name in "abc"] == [
        {Kind.AUTH},
        {Kind.BILLING, Kind.TIMEOUT},
        {Kind.AUTH},
    ]
    plain = step("models: {fast: openai/gpt-4o}\n")
    assert (plain.retry_on, plain.fallback_on) == (RETRY_ON, FALLBACK_ON)


@pytest.mark.parametrize(
    ("text", "deadline_s"),
    [
        ("models: {fast: openai/gpt-4o}\n", 120),
        ("models: {fast: {chain: [openai/gpt-4o], timeout: 5m}}\n", 300),
        ("models: {fast: {chain: [openai/gpt-4o], timeout: {total: 10m}}}\n", 600),
        ("models: {fast: {chain: [groq/x, {target: openai/gpt-4o, timeout: {total: 4m}}]}}\n", 240),
        ("models: {fast: [{alias: b}], b: {chain: [openai/gpt-4o], timeout: 3m, deadline: 1s}}\n", 180),
        ("models: {fast: {chain: [openai/gpt-4o], timeout: 10m, deadline: 30s}}\n", 30),
        ("defaults: {deadline: 45s}\nmodels: {fast: {chain: [openai/gpt-4o], timeout: 10m}}\n", 45),
        ("defaults: {deadline: 45s}\nmodels: {fast: {chain: [openai/gpt-4o], deadline: 50s}}\n", 50),
    ],
)
def test_the_deadline_is_written_or_two_minutes_or_the_longest_total(text: str, deadline_s: float) -> None:
    assert route(text).deadline_s == deadline_s


def test_max_attempts_always_keeps_one_for_each_target() -> None:
    three = "[openai/a, openai/b, openai/c]"
    text = f"defaults: {{max_attempts: 2}}\nmodels: {{fast: {three}, own: {{chain: {three}, max_attempts: 20}}}}\n"
    assert route(text).max_attempts == 3
    assert route(text, "own").max_attempts == 20
    assert route("models: {fast: openai/a}\n").max_attempts == 8


def test_params_merge_from_defaults_to_provider_to_alias_to_step() -> None:
    text = """
defaults: {params: {a: defaults, b: defaults, c: defaults, d: defaults}}
providers: {openai: {params: {b: provider, c: provider, d: provider}}}
models:
  fast: {params: {c: alias, d: alias}, chain: [{target: openai/gpt-4o, params: {d: null}}, groq/llama]}
  other: openai/gpt-4o
"""
    own, groq = route(text).steps
    assert dict(own.params.sent) == {"a": "defaults", "b": "provider", "c": "alias", "d": None}
    assert dict(groq.params.sent) == {"a": "defaults", "b": "defaults", "c": "alias", "d": "alias"}
    assert dict(step(text, "other").params.sent) == {"a": "defaults", "b": "provider", "c": "provider", "d": "provider"}


def test_an_alias_stream_is_laid_over_the_defaults() -> None:
    text = """
defaults: {stream: {max_bytes: 1000}}
models: {fast: {chain: [openai/gpt-4o], stream: {hold: full}}, other: openai/gpt-4o}
"""
    assert route(text).stream == StreamPolicy(hold="full", max_bytes=1000)
    assert route(text, "other").stream == StreamPolicy(hold="first_token", max_bytes=1000)


@pytest.mark.parametrize("variable", ["LITELLM_TIMEOUT", "LITELLM_MAX_RETRIES"])
def test_a_malformed_variable_stops_the_compiler_from_being_made(variable: str) -> None:
    with pytest.raises(UsageError, match=variable):
        Compiler(environ={variable: "soon"})


def test_a_hedge_has_its_seconds_or_waits_for_a_percentile() -> None:
    text = """
models:
  fast: {chain: [mock/a, mock/b], hedge: 1500ms}
  usual: {chain: [mock/a, mock/b], hedge: p95}
  outer: [{alias: fast}]
"""
    assert [route(text, name).hedge for name in ("fast", "usual", "outer")] == [Hedge(1.5), Hedge(None), None]
    assert not route(text).is_plain
    assert (route(text).is_paced, route(text, "usual").is_paced) == (False, True)


def test_a_shadow_has_its_providers_and_its_alias_limits_and_params_and_is_never_retried() -> None:
    text = """
providers: {other: {kind: mock, params: {seed: 1}}}
defaults: {params: {top_p: 1}}
models:
  fast:
    timeout: 7s
    retries: 2
    params: {temperature: 0}
    chain: [{target: openai/gpt-4o, params: {n: 2}}]
    shadow: {target: other/new, share: 2.5%}
  "own/*": {chain: ["openai/*"], shadow: {target: "other/*", share: 1}}
"""
    shadow = route(text).shadow
    assert shadow is not None
    assert (shadow.step.target.name, shadow.share, shadow.step.retries) == ("other/new", 0.025, 0)
    assert shadow.step.limits.total_s == 7
    assert dict(shadow.step.params.sent) == {"seed": 1, "top_p": 1, "temperature": 0}
    filled = route(text, "own/x").shadow
    assert filled is not None
    assert filled.step.target.name == "other/x"
    assert [target.name for target in table(text).targets] == ["openai/gpt-4o", "other/new", "openai/*", "other/*"]
