"""Chat requests as Messages requests: parameters, tools, formats, thinking."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway.adapters.anthropic import to_messages
from gateway.adapters.anthropic.models import OTHER_MAX_TOKENS
from gateway.adapters.base import NotSupported
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import CHAT_TOOL, SCHEMA, assistant, chat_call, tool, user


def sent(model: str = "claude-sonnet-4-5", messages: Json = None, **params: Json) -> JsonObject:
    body = {"model": model, "messages": [user()] if messages is None else messages, **params}
    before = copy.deepcopy(body)
    translated = to_messages.request(body).body
    assert body == before, "the client's body is shared with other targets"
    return translated


def lacking(**params: Json) -> str:
    with pytest.raises(NotSupported) as raised:
        sent(**params)
    return str(raised.value)


def test_a_plain_request() -> None:
    assert sent(max_tokens=100, temperature=0.5, stream=True) == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "temperature": 0.5,
        "stream": True,
    }


@pytest.mark.parametrize(
    ("model", "params", "max_tokens"),
    [
        ("claude-sonnet-4-5", {}, 64_000),
        ("claude-opus-5", {}, 128_000),
        ("kimi-k2", {}, OTHER_MAX_TOKENS),
        ("claude-sonnet-4-5", {"max_tokens": 7}, 7),
        ("claude-sonnet-4-5", {"max_tokens": 7, "max_completion_tokens": 8}, 8),
        ("claude-sonnet-4-5", {"max_tokens": 7.6}, 8),
        ("claude-sonnet-4-5", {"max_tokens": None}, 64_000),
    ],
)
def test_max_tokens_has_a_default(model: str, params: JsonObject, max_tokens: int) -> None:
    assert sent(model, **params)["max_tokens"] == max_tokens


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True, "top_logprobs": 3}, "logprobs"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}, "audio"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"store": True}, "store: true"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"response_format": {"type": "json_object"}}, "response_format json_object"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "custom tools"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools of type web_search_20250305"),
        ({"stop": " \n"}, "stop sequences of white space"),
        ({"n": 2, "store": True}, "n and store: true"),
        ({"model": "claude-3-5-haiku", "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
         "response_format json_schema"),
        ({"model": "claude-opus-5-5", "tools": [CHAT_TOOL], "tool_choice": "required"}, "tool_choice that forces"),
        ({"tools": [CHAT_TOOL], "tool_choice": "perhaps"}, "tool_choice perhaps"),
        ({"tools": ["weather"]}, "tools that are no objects"),
        ({"tools": [CHAT_TOOL], "tool_choice": {"type": "custom", "custom": {"name": "c"}}}, "tool_choice custom"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_named(params: JsonObject, words: str) -> None:
    assert words in lacking(**params)


def test_what_only_hints_is_left_out() -> None:
    params: dict[str, Any] = {
        "n": 1, "logprobs": False, "top_logprobs": 0, "modalities": ["text"], "audio": None, "functions": [],
        "function_call": "auto", "store": False, "seed": 1, "frequency_penalty": 0.5, "presence_penalty": 1,
        "logit_bias": {"1": 2}, "context_management": {},
        "prediction": {"type": "content"}, "verbosity": "low", "prompt_cache_key": "k",
        "stream_options": {"include_usage": True}, "response_format": {"type": "text"}, "tool_choice": "auto",
        "parallel_tool_calls": True, "stream": False, "unknown": 1, "service_tier": "flex", "stop": None,
    }  # fmt: skip
    assert sent(**params) == sent()


def test_sampling_is_sent_as_far_as_the_model_takes_it() -> None:
    both: JsonObject = {"temperature": 1.7, "top_p": 0.9, "top_k": 5}
    assert {"temperature": 1.0, "top_k": 5}.items() <= sent(**both).items()
    assert "top_p" not in sent(**both), "models since 4.1 refuse both"
    assert sent(top_p=0.9)["top_p"] == 0.9
    assert sent("claude-3-7-sonnet", **both)["top_p"] == 0.9
    for params in (sent("claude-opus-4-7", **both), sent(reasoning_effort="low", **both)):
        assert not {"temperature", "top_p", "top_k"} & params.keys()


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("claude-sonnet-4-5", "none", {}),
        ("claude-sonnet-4-5", "low", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("claude-sonnet-4-5", "max", {"thinking": {"type": "enabled", "budget_tokens": 16_384}}),
        ("claude-sonnet-4-5", {"effort": "high", "summary": "auto"},
         {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
        ("claude-3-5-haiku", "high", {}),
        ("claude-opus-4-6", "xhigh",
         {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}}),
        ("claude-opus-4-7", "xhigh",
         {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}}),
        ("claude-sonnet-5", "minimal",
         {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}}),
        ("claude-sonnet-5", "none", {"thinking": {"type": "disabled"}}),
        ("claude-opus-5-5", "none", {}),
    ],
)  # fmt: skip
def test_reasoning_effort_is_thinking(model: str, effort: Json, expected: JsonObject) -> None:
    params = sent(model, reasoning_effort=effort)
    assert {name: params[name] for name in ("thinking", "output_config") if name in params} == expected


@pytest.mark.parametrize(("max_tokens", "budget"), [(4096, 2048), (3000, 1500), (2047, None), (10, None)])
def test_thinking_leaves_half_of_the_tokens_for_the_answer(max_tokens: int, budget: int | None) -> None:
    thinking = sent(reasoning_effort="high", max_completion_tokens=max_tokens).get("thinking")
    assert (thinking or {}).get("budget_tokens") == budget


@pytest.mark.parametrize(
    ("model", "thinking", "expected"),
    [
        ("claude-sonnet-4-5", {"type": "enabled", "budget_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}),
        ("claude-sonnet-4-5", {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2048}),
        ("claude-opus-4-7", {"type": "enabled", "budget_tokens": 9999}, {"type": "adaptive"}),
        ("claude-opus-4-7", {"type": "between_tools"}, {"type": "between_tools"}),
        ("claude-opus-4-7", {"type": "adaptive", "display": "omitted"}, {"type": "adaptive", "display": "omitted"}),
        ("claude-opus-4-7", {"type": "disabled"}, {"type": "disabled"}),
        ("claude-opus-5-5", {"type": "disabled"}, None),
        ("claude-3-5-haiku", {"type": "enabled", "budget_tokens": 2000}, None),
    ],
)
def test_a_client_s_own_thinking_is_put_into_what_the_model_knows(
    model: str, thinking: JsonObject, expected: JsonObject | None
) -> None:
    assert sent(model, thinking=thinking).get("thinking") == expected


def test_a_forced_tool_goes_before_thinking() -> None:
    """Messages refuses both together, and models that think unasked would answer in words."""
    forced: JsonObject = {"tools": [CHAT_TOOL], "tool_choice": "required", "reasoning_effort": "high"}
    assert "thinking" not in sent(**forced)
    assert sent("claude-sonnet-5", **forced)["thinking"] == {"type": "disabled"}
    assert "thinking" not in sent("claude-fable-5", **forced)


def test_a_budget_needs_thinking_before_the_last_calls() -> None:
    called = [user(), assistant(None, tool_calls=[chat_call()]), tool()]
    assert "thinking" not in sent(messages=called, tools=[CHAT_TOOL], reasoning_effort="low")
    assert sent(messages=[*called, assistant(), user()], tools=[CHAT_TOOL], reasoning_effort="low")["thinking"]
    assert sent("claude-sonnet-5", called, tools=[CHAT_TOOL], reasoning_effort="low")["thinking"]
    assert "thinking" not in sent(messages=[user(), assistant("The answer")], reasoning_effort="low")


def test_tools() -> None:
    cached = {**CHAT_TOOL, "cache_control": {"type": "ephemeral"}}
    own = {"name": "mine", "input_schema": SCHEMA}
    bare = {"type": "function", "function": {"name": "bare", "strict": True}}
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"properties": {}}}}
    assert sent(tools=[cached, own, bare, odd])["tools"] == [
        {"name": "weather", "description": "of a city", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}},
        own,
        {"name": "bare", "input_schema": {"type": "object", "properties": {}}},
        {"name": "odd", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", None, {"type": "auto"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        ({"type": "function", "function": {"name": "weather"}}, None, {"type": "tool", "name": "weather"}),
        ({"type": "any"}, None, {"type": "any"}),
        ({"type": "none"}, None, {"type": "none"}),
        ({"type": "tool", "name": "weather"}, None, {"type": "tool", "name": "weather"}),
        ({"type": "auto", "disable_parallel_tool_use": True}, None,
         {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)  # fmt: skip
def test_tool_choices(choice: Json, parallel: bool | None, expected: JsonObject | None) -> None:
    params = {"tool_choice": choice, "parallel_tool_calls": parallel}
    assert sent(tools=[CHAT_TOOL], **params).get("tool_choice") == expected
    assert "tool_choice" not in sent(**params), "without tools there is nothing to choose"


def test_allowed_tools_are_the_only_ones() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "other"}}, 5]}
    params = sent(tools=[CHAT_TOOL, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [one["name"] for one in params["tools"]] == ["other"]
    assert params["tool_choice"] == {"type": "any"}


def test_a_history_that_calls_tools_brings_them() -> None:
    params = sent(messages=[user(), assistant(None, tool_calls=[chat_call()]), tool()])
    assert params["tools"] == [{"name": "weather", "input_schema": {"type": "object"}}]
    assert params["tool_choice"] == {"type": "none"}


def test_names_of_tools_that_do_not_fit_are_changed_everywhere_and_back() -> None:
    named = {"type": "function", "function": {"name": "maps.weather"}}
    body = {
        "model": "claude-sonnet-4-5",
        "messages": [user(), assistant(None, tool_calls=[chat_call(name="maps.weather")]), tool()],
        "tools": [named],
        "tool_choice": {"type": "function", "function": {"name": "maps.weather"}},
    }
    translated = to_messages.request(body)
    name = translated.body["tools"][0]["name"]
    assert translated.body["messages"][1]["content"][0]["name"] == translated.body["tool_choice"]["name"] == name
    assert translated.tool_name(name) == "maps.weather"
    assert to_messages.reading(body).tool_name(name) == "maps.weather"


def test_a_schema_is_the_format_of_the_answer() -> None:
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 1, "description": "In years."},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 1, "uniqueItems": False},
            "kind": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/Kind"}]},
        },
        "required": ["age"],
        "additionalProperties": False,
        "$defs": {"Kind": {"type": ["object", "null"], "properties": {}}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}}
    assert sent(response_format=wanted)["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "age": {"type": "integer", "description": "In years. Must be: at least 1."},
                "tags": {
                    "type": "array",
                    "items": {"type": "string", "description": "Must be: at most 5 characters."},
                    "minItems": 1,
                },
                "kind": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Kind"}]},
            },
            "required": ["age"],
            "additionalProperties": False,
            "$defs": {"Kind": {"type": ["object", "null"], "properties": {}, "additionalProperties": False}},
        },
    }
    both = sent("claude-opus-5", response_format=wanted, reasoning_effort="low")["output_config"]
    assert both.keys() == {"format", "effort"}


@pytest.mark.parametrize("keyword", ["additionalProperties", "patternProperties"])
def test_a_schema_of_open_objects_cannot_be_held_to(keyword: str) -> None:
    schema = {"type": "object", "properties": {"map": {"type": "object", keyword: {"type": "string"}}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "map", "schema": schema}}
    assert keyword in lacking(response_format=wanted)


def test_an_endless_schema_is_refused() -> None:
    schema: JsonObject = {"type": "object"}
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    assert "deep" in lacking(response_format={"type": "json_schema", "json_schema": {"schema": schema}})


def test_stop_sequences() -> None:
    assert sent(stop="END")["stop_sequences"] == ["END"]
    assert sent(stop=["a", "", "b"])["stop_sequences"] == ["a", "b"]


@pytest.mark.parametrize(
    ("params", "user_id"),
    [
        ({"user": "u1"}, "u1"),
        ({"user": "u1", "safety_identifier": "s1"}, "s1"),
        ({"metadata": {"user_id": "m1", "other": 1}}, "m1"),
        ({"user": "ann@example.com"}, None),
        ({"user": "+49 30 1234567"}, None),
        ({"user": "ann@example.com", "metadata": {"user_id": "m1"}}, "m1"),
        ({"metadata": {"trace": "t"}}, None),
    ],
)
def test_the_user_s_id_is_metadata_unless_it_is_personal(params: JsonObject, user_id: str | None) -> None:
    assert sent(**params).get("metadata") == (None if user_id is None else {"user_id": user_id})


@pytest.mark.parametrize(
    ("tier", "expected"), [("auto", "auto"), ("default", "standard_only"), ("priority", "auto"), ("flex", None)]
)
def test_service_tiers(tier: str, expected: str | None) -> None:
    assert sent(service_tier=tier).get("service_tier") == expected


def test_anthropic_s_own_effort_goes_before_openai_s() -> None:
    both = {"output_config": {"effort": "low"}, "reasoning_effort": "high"}
    assert sent("claude-opus-5", **both)["output_config"] == {"effort": "low"}


def test_anthropic_s_own_fields_are_passed_on() -> None:
    own: JsonObject = {"cache_control": {"type": "ephemeral"}, "speed": "fast", "inference_geo": "eu"}
    assert own.items() <= sent(**own).items()
