"""Parameters of the file: merged, sent and shown; and all who send or show a request make the same of them."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from gateway.adapters.litellm.translate import request_kwargs
from gateway.adapters.relay.adapter import RelayAdapter
from gateway.policy.params import NO_PARAMS, Params, merged, merged_for_output
from gateway.simulation.simulator import Simulator
from gateway.simulation.upstreams import ANSWERED, Script
from tests.compiling import table
from tests.litellm_calls import make_call
from tests.relay_calls import a_call
from tests.scripted_openai import ScriptedOpenAI

MESSAGES: Final = [{"role": "user", "content": "hi"}]

BLOCKS: Final = [
    ({}, {}, {}),
    ({"stop": None, "seed": 1}, {}, {"stop": None, "seed": 1}),
    ({"stop": None}, {"seed": 2}, {"stop": None, "seed": 2}),
    ({"seed": 1, "top_p": 1}, {"seed": 2, "top_p": None, "user": None}, {"seed": 2}),
    ({"stop": None}, {"stop": None}, {}),
]
"""A request's own parameters, the file's, and what is sent of both."""


@pytest.mark.parametrize(("own", "files", "sent"), BLOCKS)
async def test_the_relay_litellm_and_the_simulation_send_the_same(
    own: dict[str, Any], files: dict[str, Any], sent: dict[str, Any]
) -> None:
    whole = {"model": "a", "messages": MESSAGES, **sent}
    assert merged({"messages": MESSAGES, **own}, files, "a") == whole

    async with ScriptedOpenAI() as upstream:
        adapter = RelayAdapter()
        await adapter.complete(a_call(upstream.base_url, params={"messages": MESSAGES, **own}, overrides=files))
        await adapter.close()
    assert upstream.requests[0].body == whole

    policy = table(f"models: {{fast: [{{target: openai/a, params: {json.dumps(files)}}}]}}")
    observed = await Simulator(policy, Script({"*": (ANSWERED,)})).ask({"model": "fast", "messages": MESSAGES, **own})
    call = observed.attempts[0].call
    assert call.sent == call.shown == whole

    kwargs = request_kwargs(make_call(own, overrides=files), key=None, stream=False, unsent=frozenset())
    named = {name: kwargs[name] for name in ("stop", "seed", "top_p", "user") if name in kwargs}
    assert named == {name: value for name, value in sent.items() if value is not None}


def test_a_target_has_its_own_model_whatever_the_blocks_say() -> None:
    assert merged({}, {"model": None, "seed": 1}, "a") == {"model": "a", "seed": 1}


def test_an_upper_block_wins_and_takes_the_lower_ones_text_with_it() -> None:
    lower = Params({"a": "x", "b": "y"}, {"a": "${A}", "b": "${B}"})
    both = lower.under(Params({"b": "z", "c": "w"}, {"c": "${C}"}))
    assert both.sent == {"a": "x", "b": "z", "c": "w"}
    assert both.shown == {"a": "${A}", "b": "z", "c": "${C}"}
    assert lower.under(NO_PARAMS) is lower
    assert NO_PARAMS.under(lower) is lower
    assert lower.without(frozenset({"b"})) == Params({"a": "x"}, {"a": "${A}"})
    assert lower.without(frozenset({"c"})) is lower


def test_parameters_are_printed_as_they_are_shown() -> None:
    params = Params({"passwd": "p", "token": "t", "n": 1}, {"passwd": "${P}"})
    assert repr(params) == "Params({'passwd': '${P}', 'token': '***', 'n': 1})"


def test_a_name_that_swallowed_its_secret_is_not_shown() -> None:
    params = Params({"auth_token sesame": 1, "nested": {"k3v8q0zw5mx1": 2}})
    assert params.shown == {"auth_token***": 1, "nested": {"***": 2}}
    body = {"model": "ft:gpt-4o:Llama3Instruct2::9bQx7Ab2", "auth_token***": 1, "nested": {"***": 2}}
    assert merged_for_output({}, params, "ft:gpt-4o:Llama3Instruct2::9bQx7Ab2") == body


def test_a_request_is_shown_with_the_files_text_for_what_the_file_sets() -> None:
    params = Params({"user": "u", "stop": None, "empty": None}, {"user": "${U}", "empty": "${E:-}"})
    shown = merged_for_output({"user": "own", "stop": "x", "my_token": "t"}, params, "a")
    assert shown == {"model": "a", "user": "${U}", "my_token": "***"}


@pytest.mark.parametrize(
    ("one", "other"), [({"a": 1}, {"a": True}), ({"a": 1}, {"a": 1.0}), ({"a": 1}, {"b": 1}), ({"a": "x"}, {})]
)
def test_blocks_that_send_something_else_are_not_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert Params(one) != Params(other)
    assert Params(one) == Params(dict(one))
    assert hash(Params(one)) == hash(Params(dict(one)))
    assert Params(one) != one
