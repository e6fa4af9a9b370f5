"""Messages requests as chat requests."""

from __future__ import annotations

import copy
import re

import pytest

from gateway.adapters.anthropic import to_chat
from gateway.adapters.anthropic.thinking import our_thinking
from gateway.adapters.base import NotSupported
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import (
    CHAT_TOOL,
    MESSAGES_TOOL,
    SCHEMA,
    assistant,
    chat_call,
    png,
    png_block,
    result,
    system,
    text,
    tool,
    use,
    user,
)


def sent(
    *messages: Json,
    model: str = "gpt-4o",
    is_openai: bool = True,
    max_output_tokens: int | None = None,
    **params: Json,
) -> JsonObject:
    body = {"model": model, "max_tokens": 100, **params, "messages": list(messages) or [user()]}
    before = copy.deepcopy(body)
    translated = to_chat.request(body, is_openai=is_openai, max_output_tokens=max_output_tokens).body
    assert body == before, "the client's body is shared with other targets"
    return translated


def said(*messages: Json, model: str = "gpt-4o", is_openai: bool = True, **params: Json) -> list[JsonObject]:
    found = sent(*messages, model=model, is_openai=is_openai, **params)["messages"]
    assert isinstance(found, list)
    return found


def test_a_plain_request() -> None:
    assert sent(system="be brief", stream=True, temperature=0.5, stop_sequences=["END"]) == {
        "model": "gpt-4o",
        "messages": [system(), user()],
        "max_completion_tokens": 100,
        "stop": ["END"],
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_other_servers_know_the_older_names_only() -> None:
    params = sent(is_openai=False, metadata={"user_id": "u"}, service_tier="auto")
    assert params == {"model": "gpt-4o", "messages": [user()], "max_tokens": 100, "user": "u"}
    params = sent(metadata={"user_id": "u"}, service_tier="standard_only")
    assert (params["safety_identifier"], params["service_tier"]) == ("u", "default")


def test_mistral_gets_only_the_fields_and_ids_that_it_knows() -> None:
    turns = [user(), assistant([use("toolu_1"), use("AbCdEf123")]), user([result("AbCdEf123"), result("toolu_1")])]
    body = {"model": "mistral-large", "max_tokens": 9, "messages": turns, "stream": True, "metadata": {"user_id": "u"}}
    params = to_chat.request(body, is_mistral=True).body
    assert params.keys() == {"model", "messages", "max_tokens", "stream"}
    called = [call["id"] for call in params["messages"][1]["tool_calls"]]
    assert [message["tool_call_id"] for message in params["messages"][2:]] == [called[1], called[0]]
    assert called[1] == "AbCdEf123"
    assert re.fullmatch("[a-z0-9]{9}", called[0])


def test_a_limit_above_the_model_s_is_cut_to_it() -> None:
    assert sent(max_output_tokens=16)["max_completion_tokens"] == 16
    assert sent(max_output_tokens=1000)["max_completion_tokens"] == 100


def test_a_long_user_id_is_sent_as_its_digest() -> None:
    long = "user_" + "a" * 64 + "_session_" + "b" * 36
    found = [sent(metadata={"user_id": long})["safety_identifier"] for _ in range(2)]
    assert found[0] == found[1]
    assert len(found[0]) == 64


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"container": "c"}, "containers"),
        ({"mcp_servers": [{"name": "m"}]}, "mcp_servers"),
        ({"thread": "t"}, "threads"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools of type web_search_20250305"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools of type bash_20250124"),
        ({"tools": [MESSAGES_TOOL], "tool_choice": {"type": "of_tomorrow"}}, "tool_choice of_tomorrow"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format grammar"),
        ({"stop_sequences": ["a", "b", "c", "d", "e"]}, "more than 4 stop_sequences"),
        ({"model": "gpt-5.1", "stop_sequences": ["a"]}, "stop_sequences"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "the role narrator"),
    ],
)
def test_what_has_no_counterpart_is_named(params: JsonObject, words: str) -> None:
    body = {"model": "gpt-4o", "max_tokens": 100, "messages": [user()], **params}
    with pytest.raises(NotSupported, match=words):
        to_chat.request(body, is_openai=True)


def test_what_only_hints_is_left_out() -> None:
    hints: JsonObject = {
        "cache_control": {"type": "ephemeral"}, "context_management": {"edits": []}, "speed": "fast", "top_k": 5,
        "fallbacks": "default", "diagnostics": {}, "temperature": 1, "top_p": 1.0, "betas": ["x"], "stop_sequences": [],
        "metadata": {}, "tools": [], "container": None, "tool_choice": {"type": "auto"},
    }  # fmt: skip
    assert sent(**hints) == sent()


def test_the_system_prompt_is_one_text_without_the_bill() -> None:
    prompt = [
        text("x-anthropic-billing-header: cc_version=2.1; cch=a1"),
        text("You are Claude Code.", cache_control={"type": "ephemeral"}),
        text("Be brief."),
    ]
    assert said(system=prompt)[0] == system("You are Claude Code.\n\nBe brief.")
    assert said(system=[]) == [user()]


def test_a_later_system_message_is_the_operator_s_note_where_templates_want_the_system_first() -> None:
    turns = (user("a"), {"role": "system", "content": [text("s")]})
    assert said(*turns)[1] == system("s")
    assert said(*turns, is_openai=False)[1]["role"] == "user"
    assert said(turns[1], user(), is_openai=False)[0] == system("s")
    assert said({"role": "system", "content": []}, user()) == [user()]


def test_tools() -> None:
    params = sent(
        tools=[
            {**MESSAGES_TOOL, "type": "custom", "strict": True, "cache_control": {}, "defer_loading": True},
            {"name": "bare"},
            {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
        ]
    )
    bare = {"type": "function", "function": {"name": "bare", "parameters": {"type": "object", "properties": {}}}}
    assert params["tools"] == [CHAT_TOOL, bare]


def test_schemas_are_what_openai_takes() -> None:
    def sent_schema(schema: Json) -> Json:
        return sent(tools=[{"name": "x", "input_schema": schema}])["tools"][0]["function"]["parameters"]

    assert sent_schema({"type": "object"}) == {"type": "object", "properties": {}}
    assert sent_schema({}) == {"type": "object", "properties": {}}
    odd = r"^[^\p{Cc}]{1,200}$"
    plain = {"type": "string", "pattern": "^[a-z]+$"}
    properties = {
        "pattern": plain,
        "description": {"type": "string", "pattern": odd},
        "name": {"type": "string", "pattern": odd, "description": "A name."},
        "any": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": odd}]},
    }
    assert sent_schema({"type": "object", "properties": properties})["properties"] == {
        "pattern": plain,
        "description": {"type": "string", "description": f"Must match {odd}"},
        "name": {"type": "string", "description": f"A name. Must match {odd}"},
        "any": {"anyOf": [{"type": "null"}, {"type": "string", "description": f"Must match {odd}"}]},
    }
    deep: JsonObject = {"type": "string", "pattern": odd}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    assert sent_schema(deep) is deep, "nobody writes that"


def test_a_reasoning_model_has_tokens_to_think_with() -> None:
    assert sent(model="gpt-5.2", max_tokens=1)["max_completion_tokens"] == 1024
    assert sent(model="gpt-5.2", max_tokens=1, thinking={"type": "disabled"})["max_completion_tokens"] == 1
    assert sent(model="gpt-4o", max_tokens=1)["max_completion_tokens"] == 1
    assert sent(model="openai/gpt-5.2", max_tokens=1, is_openai=False)["max_completion_tokens"] == 1, "its only name"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {}),
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "weather"}, {"tool_choice": {"type": "function", "function": {"name": "weather"}}}),
    ],
)
def test_tool_choices(choice: Json, expected: JsonObject) -> None:
    params = sent(tools=[MESSAGES_TOOL], tool_choice=choice)
    assert {name: params[name] for name in ("tool_choice", "parallel_tool_calls") if name in params} == expected


def test_a_long_name_is_cut_everywhere_and_comes_back() -> None:
    long = "mcp__" + "a" * 80
    body = {
        "model": "gpt-4o", "max_tokens": 1, "messages": [user(), assistant([use("t", long)]), user([result("t")])],
        "tools": [{**MESSAGES_TOOL, "name": long}], "tool_choice": {"type": "tool", "name": long},
    }  # fmt: skip
    translated = to_chat.request(body)
    name = translated.body["tools"][0]["function"]["name"]
    assert len(name) <= 64
    assert translated.body["messages"][1]["tool_calls"][0]["function"]["name"] == name
    assert translated.body["tool_choice"]["function"]["name"] == name
    assert translated.tool_name(name) == long
    assert to_chat.reading(body).tool_name(name) == long


def test_results_are_messages_before_the_rest_and_images_follow() -> None:
    turn = user(
        [
            result("a", "sunny"),
            result("b", [text("bad"), png_block(), text("worse")], is_error=True),
            result("c", "Error: no", is_error=True),
            result("d", [png_block()]),
            result("e", None),
            text("and?", cache_control={"type": "ephemeral"}),
        ]
    )
    assert said(turn) == [
        tool("a", "sunny"),
        tool("b", "Error: bad\nworse"),
        tool("c", "Error: no"),
        tool("d", "(attached to the next message)"),
        tool("e", ""),
        user(
            [
                text("Attached to the result of tool call b:"),
                png(),
                text("Attached to the result of tool call d:"),
                png(),
                text("and?"),
            ]
        ),
    ]


def test_images_and_documents() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}
    blocks = [
        text("look"),
        text(""),
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": pdf, "title": "a.pdf", "context": "the bill"},
        {"type": "document", "source": pdf},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}, "title": "a.txt"},
        {"type": "document", "source": {"type": "content", "content": [text("inner"), png_block()]}},
        {"type": "search_result", "title": "T", "source": "https://example.com", "content": [text("found")]},
        {"type": "tool_reference", "tool_name": "weather"},
        {"type": "of_tomorrow"},
        {"type": {"odd": 1}},
        5,
    ]
    file = {"file_data": "data:application/pdf;base64,JVBERi0x"}
    assert said(user(blocks))[0]["content"] == [
        text("look"),
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        text("a.pdf\nthe bill"),
        {"type": "file", "file": {"filename": "a.pdf", **file}},
        {"type": "file", "file": {"filename": "document.pdf", **file}},
        text("a.txt"),
        text("hello"),
        text("inner"),
        png(),
        text("T\nhttps://example.com"),
        text("found"),
        text("Tool: weather"),
    ]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "file ids"),
        ({"type": "image"}, "images of this source"),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "file ids"),
        ({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}, "documents by URL"),
        ({"type": "document"}, "such documents"),
        ({"type": "container_upload", "file_id": "f"}, "containers"),
    ],
)
def test_a_block_without_counterpart_is_named(block: JsonObject, words: str) -> None:
    with pytest.raises(NotSupported, match=words):
        said(user([block]))


def test_a_session_of_claude_code_goes_on_with_another_vendor_s_model() -> None:
    """Thinking, hosted tools, parallel calls, a failed tool, a compaction: all that Claude leaves in a history."""
    signed = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    turns = [
        user([text("<system-reminder>x</system-reminder>"), text("fix it", cache_control={"type": "ephemeral"})]),
        assistant([signed, {"type": "redacted_thinking", "data": "x"}, text("I look."), use("a"), use("b", "read")]),
        user([result("a", [text("1"), text("2")]), result("b", "no such file", is_error=True)]),
        assistant(
            [
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                text("Found it.", citations=[{"type": "web_search_result_location"}]),
            ]
        ),
        user("go on"),
        assistant([signed]),
        assistant([{"type": "compaction", "content": "So far: nothing."}]),
        assistant("Done?"),
        user([]),
        user(""),
        assistant(None),
        user("yes"),
    ]
    assert said(*turns, tools=[MESSAGES_TOOL], thinking={"type": "adaptive"}) == [
        user([text("<system-reminder>x</system-reminder>"), text("fix it")]),
        assistant("I look.", tool_calls=[chat_call("a", "{}"), chat_call("b", "{}", "read")]),
        tool("a", "1\n2"),
        tool("b", "Error: no such file"),
        assistant("Found it."),
        user("go on"),
        assistant("So far: nothing."),
        assistant("Done?"),
        user("yes"),
    ]


def test_models_that_want_their_reasoning_back_get_it() -> None:
    """Source: https://api-docs.deepseek.com/guides/thinking_mode#tool-calls."""
    turns = (user(), assistant([our_thinking("hm"), use("a")]), user([result("a")]), assistant([use("b")]))
    found = said(*turns, model="deepseek-v4-pro", is_openai=False)
    assert [message.get("reasoning_content") for message in found] == [None, "hm", None, ""]
    assert all("reasoning_content" not in message for message in said(*turns))


@pytest.mark.parametrize(
    ("model", "params", "effort"),
    [
        ("gpt-4o", {"thinking": {"type": "enabled", "budget_tokens": 9000}}, None),
        ("gpt-5.1", {"thinking": {"type": "enabled", "budget_tokens": 9000}}, "high"),
        ("gpt-5.1", {"thinking": {"type": "enabled", "budget_tokens": 2048}}, "medium"),
        ("gpt-5.1", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ("gpt-5.1", {"thinking": {"type": "enabled"}}, "low"),
        ("gpt-5", {"thinking": {"type": "enabled"}}, "minimal"),
        ("gpt-5.1", {"thinking": {"type": "disabled"}}, "none"),
        ("gpt-5.1", {"thinking": {"type": "adaptive"}}, None),
        ("gpt-5.1", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "high"),
        ("gpt-5.2", {"output_config": {"effort": "max"}}, "xhigh"),
        ("gpt-5.1", {}, None),
        ("gpt-5.4", {"output_config": {"effort": "high"}}, "high"),
        ("gpt-5.4", {"output_config": {"effort": "high"}, "tools": [MESSAGES_TOOL]}, "none"),
        ("gpt-5.6", {"tools": [MESSAGES_TOOL]}, "none"),
    ],
)
def test_thinking_is_reasoning_effort(model: str, params: JsonObject, effort: str | None) -> None:
    assert sent(model=model, **params).get("reasoning_effort") == effort


def test_a_proxy_of_openai_s_models_gets_the_effort_beside_tools() -> None:
    params = sent(model="openai/gpt-5.4", is_openai=False, tools=[MESSAGES_TOOL], output_config={"effort": "high"})
    assert params["reasoning_effort"] == "high"


def test_reasoning_models_take_no_sampling() -> None:
    assert "temperature" not in sent(model="gpt-5.1", temperature=0.5)
    assert sent(model="gpt-5.1", temperature=0.5, thinking={"type": "disabled"})["temperature"] == 0.5
    assert sent(top_p=0.5)["top_p"] == 0.5


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({**SCHEMA, "additionalProperties": False}, True),
        (SCHEMA, False),
        ({**SCHEMA, "required": [], "additionalProperties": False}, False),
        ({"type": "array", "items": {"type": "object"}}, False),
        ({"anyOf": [{"type": "string"}, {**SCHEMA, "additionalProperties": False}]}, True),
    ],
)
def test_a_format_is_strict_only_if_its_schema_fits(schema: JsonObject, strict: bool) -> None:
    expected = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}
    wanted = {"type": "json_schema", "schema": schema}
    assert sent(output_config={"format": wanted})["response_format"] == expected
    assert sent(output_format=wanted)["response_format"] == expected


def test_an_endless_schema_is_not_strict() -> None:
    schema: JsonObject = {"type": "string"}
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    found = sent(output_config={"format": {"type": "json_schema", "schema": schema}})
    assert found["response_format"]["json_schema"]["strict"] is False


def test_documents_in_documents_end() -> None:
    block = text("deep")
    for _ in range(20):
        block = {"type": "document", "source": {"type": "content", "content": [block]}}
    assert said(user([block, text("x")])) == [user("x")]
