"""Fields of a chat request in Gemini's words."""

from __future__ import annotations

import copy

import pytest

from gateway.adapters import gemini
from gateway.adapters.base import MAX_TOOLS, NotSupported
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import CHAT_TOOL, SCHEMA, user
from tests.unit.adapters.gemini.shapes import body


def sent(model: str = "gemini-2.5-flash", **params: Json) -> JsonObject:
    return gemini.request({**body(user(), **params), "model": model}).body


def config(model: str = "gemini-2.5-flash", **params: Json) -> JsonObject:
    found: JsonObject = sent(model, **params).get("generationConfig", {})
    return found


def test_neither_model_nor_stream_is_in_the_body() -> None:
    assert sent(stream=True) == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"temperature": 0, "top_p": 0.5, "top_k": 3}, {"temperature": 0, "topP": 0.5, "topK": 3}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"maxOutputTokens": 7}),
        ({"max_tokens": 5.6}, {"maxOutputTokens": 6}),
        ({"max_tokens": None, "temperature": None, "n": None, "stop": None, "seed": None}, {}),
        ({"seed": 7}, {"seed": 7}),
        ({"n": 1}, {}),
        ({"n": 3}, {"candidateCount": 3}),
        ({"stop": "a"}, {"stopSequences": ["a"]}),
        ({"stop": ["a", "", "b"]}, {"stopSequences": ["a", "b"]}),
        ({"presence_penalty": 0.1, "frequency_penalty": 0.2}, {"presencePenalty": 0.1, "frequencyPenalty": 0.2}),
        ({"logprobs": True, "top_logprobs": 2}, {"responseLogprobs": True, "logprobs": 2}),
        ({"logprobs": False, "top_logprobs": 2}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
         {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}),
        ({"response_format": {"type": "json_object", "response_schema": SCHEMA}},
         {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}),
        ({"modalities": ["text"]}, {}),
        ({"modalities": ["image", "text"]}, {"responseModalities": ["IMAGE", "TEXT"]}),
        ({"thinking_config": {"thinkingBudget": 5}}, {"thinkingConfig": {"thinkingBudget": 5}}),
        ({"mediaResolution": "MEDIA_RESOLUTION_LOW"}, {"mediaResolution": "MEDIA_RESOLUTION_LOW"}),
        ({"response_mime_type": "text/x.enum", "thinking_config": None}, {"responseMimeType": "text/x.enum"}),
    ],
)  # fmt: skip
def test_the_configuration(params: JsonObject, found: JsonObject) -> None:
    assert config(**params) == found


@pytest.mark.parametrize("model", ["gemini-3.6-flash", "gemini-3.5-flash-lite"])
def test_sampling_that_a_model_ignores_is_left_out(model: str) -> None:
    assert config(model, temperature=0.5, top_p=0.5, top_k=3, presence_penalty=1, seed=7) == {"seed": 7}


@pytest.mark.parametrize(
    ("model", "params", "found"),
    [
        ("gemini-2.5-flash", {"reasoning_effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "max"}, {"thinkingBudget": 16_384, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 128, "includeThoughts": False}),
        ("gemini-2.5-flash-lite", {"reasoning_effort": "minimal"}, {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-3-pro-preview", {"reasoning_effort": "low"}, {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3-pro-preview", {"reasoning_effort": {"effort": "high"}},
         {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3-pro-preview", {"reasoning_effort": "none"}, {"thinkingLevel": "low", "includeThoughts": False}),
        ("gemini-3-flash-preview", {"reasoning_effort": "disable"},
         {"thinkingLevel": "minimal", "includeThoughts": False}),
        ("gemini-3-pro-preview", {"thinking": {"type": "enabled", "budget_tokens": 9}}, {"includeThoughts": True}),
        ("gemini-3-pro-preview", {"thinking": {"type": "adaptive"}, "reasoning_effort": "low"},
         {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-2.5-pro", {"thinking": {"type": "enabled", "budget_tokens": 9}},
         {"thinkingBudget": 9, "includeThoughts": True}),
        ("gemini-2.5-flash", {"thinking": {"type": "disabled"}}, {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-flash", {"reasoning_effort": "somewhat"}, None),
        ("gemini-3-pro-preview", {"reasoning_effort": "somewhat"}, None),
        ("gemini-2.0-flash", {"reasoning_effort": "high"}, None),
        ("gemini-2.5-flash", {}, None),
    ],
)  # fmt: skip
def test_thinking(model: str, params: JsonObject, found: JsonObject | None) -> None:
    assert config(model, **params).get("thinkingConfig") == found


@pytest.mark.parametrize(
    ("params", "lacks"),
    [
        ({"web_search_options": {}}, "web_search_options"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"audio": {"voice": "x"}, "modalities": ["audio"]}, "audio and modalities"),
        ({"store": True}, "store: true"),
        ({"stop": list("abcdef")}, "more than 5 stop sequences"),
        ({"response_format": {"type": "grammar"}}, "response_format grammar"),
        ({"tools": [{"type": "web_search"}]}, "tools of type web_search"),
        ({"tools": [{"googleSearch": {}}]}, "tools of type googleSearch"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "custom tools"),
        ({"tools": ["x"]}, "tools that are no objects"),
        ({"tools": [{}] * (MAX_TOOLS + 1)}, "more than 10,000 tools"),
        ({"tools": [CHAT_TOOL], "tool_choice": "sometimes"}, "tool_choice sometimes"),
        ({"tools": [CHAT_TOOL], "tool_choice": {"type": "custom"}}, "tool_choice custom"),
    ],
)
def test_what_is_not_supported_is_named(params: JsonObject, lacks: str) -> None:
    with pytest.raises(NotSupported, match=f"^does not support {lacks}"):
        sent(**params)


def test_a_model_without_json_schema_does_not_get_one() -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    with pytest.raises(NotSupported, match="response_format json_schema"):
        sent("gemma-3-27b-it", response_format=wanted)
    assert config("gemma-3-27b-it", response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("tier", "found"), [("auto", None), ("default", "standard"), ("flex", "flex"), ("priority", "priority"), (7, None)]
)
def test_the_tier(tier: Json, found: str | None) -> None:
    assert sent(service_tier=tier).get("serviceTier") == found


@pytest.mark.parametrize("name", ["safety_settings", "safetySettings"])
def test_gemini_s_own_fields_are_sent_in_both_spellings(name: str) -> None:
    own: JsonObject = {name: [{"category": "c"}], "cached_content": "cachedContents/x"}
    assert sent(**own) == {
        **sent(),
        "safetySettings": [{"category": "c"}],
        "cachedContent": "cachedContents/x",
    }


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "auto"}, {"mode": "AUTO"}),
        ({"type": "function", "function": {"name": "weather"}}, {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_the_choice_of_tools(choice: Json, found: JsonObject) -> None:
    assert sent(tools=[CHAT_TOOL], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": found}


@pytest.mark.parametrize(
    ("mode", "found"), [("auto", {"mode": "AUTO"}), ("required", {"mode": "ANY", "allowedFunctionNames": ["weather"]})]
)
def test_only_allowed_tools_are_declared(mode: str, found: JsonObject) -> None:
    other = {"type": "function", "function": {"name": "time"}}
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "weather"}}, 7]}
    made = sent(tools=[CHAT_TOOL, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [one["name"] for one in made["tools"][0]["functionDeclarations"]] == ["weather"]
    assert made["toolConfig"] == {"functionCallingConfig": found}


def test_a_choice_without_tools_is_left_out() -> None:
    assert sent(tool_choice="required", tools=[]) == sent()


def declared(parameters: Json, **more: Json) -> JsonObject:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters, **more}}
    found: JsonObject = sent(tools=[tool])["tools"][0]["functionDeclarations"][0]
    return found


def test_parameters_are_sent_as_they_are() -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a": {"enum": [1], "exclusiveMinimum": 0}},
    }
    assert declared(schema, description="d", strict=True) == {
        "name": "f", "description": "d", "parametersJsonSchema": schema,
    }  # fmt: skip
    assert declared({"properties": {}})["parametersJsonSchema"] == {"properties": {}, "type": "object"}
    nothing: list[Json] = [None, {}, "x"]
    for parameters in nothing:
        assert declared(parameters) == {"name": "f"}


def test_beside_a_reference_is_only_what_google_takes() -> None:
    node = {"$ref": "#/$defs/c", "description": "d", "default": 1, "$comment": "x", "title": "t", "minimum": 0}
    given = {"type": "object", "properties": {"$ref": node, "b": [node]}, "$defs": {"c": {"type": "integer"}}}
    before = copy.deepcopy(given)
    left = {name: node[name] for name in ("$ref", "description", "default", "$comment")}
    assert declared(given)["parametersJsonSchema"]["properties"] == {"$ref": left, "b": [left]}
    assert given == before


def test_a_schema_with_references_may_be_so_deep() -> None:
    schema: JsonObject = {"$ref": "#"}
    for _ in range(80):
        schema = {"properties": {"a": schema}}
    with pytest.raises(NotSupported, match="a schema so deep"):
        declared(schema)


def test_a_name_that_is_too_long_is_the_client_s_again_in_the_answer() -> None:
    name = "a" * 80
    made = gemini.request(body(user(), tools=[{"type": "function", "function": {"name": name}}]))
    [sent_name] = [one["name"] for one in made.body["tools"][0]["functionDeclarations"]]
    assert len(sent_name) == 64
    assert made.tool_name(sent_name) == name
