from __future__ import annotations

from typing import Any, Final

import pytest

from gateway.adapters.base import NotSupported
from gateway.adapters.responses import request
from tests.unit.adapters.responses.checked import codex

WEATHER: Final = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}


def body_of(**params: object) -> dict[str, Any]:
    return request({"input": "hi", **params})[0]


def test_a_text_is_the_users_message_and_instructions_are_the_systems() -> None:
    assert request({"input": "hi", "instructions": "be brief"})[0] == {
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    }


@pytest.mark.parametrize(
    ("field", "value", "sent"),
    [
        ("temperature", 0, {"temperature": 0}),
        ("top_p", 0.5, {"top_p": 0.5}),
        ("max_output_tokens", 9, {"max_completion_tokens": 9}),
        ("reasoning", {"effort": "high", "summary": "auto"}, {"reasoning_effort": "high"}),
        ("reasoning", {"summary": "auto"}, {}),
        ("top_logprobs", 2, {"logprobs": True, "top_logprobs": 2}),
        ("top_logprobs", 0, {}),
        ("include", ["message.output_text.logprobs"], {"logprobs": True}),
        ("include", ["reasoning.encrypted_content", "file_search_call.results"], {}),
        ("text", {"format": {"type": "text"}, "verbosity": "low"}, {"verbosity": "low"}),
        ("text", {"format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        (
            "text",
            {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True, "description": None}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
        ),
        ("service_tier", "flex", {"service_tier": "flex"}),
        ("user", "u", {"user": "u"}),
        ("safety_identifier", "s", {"safety_identifier": "s"}),
        ("prompt_cache_key", "k", {"prompt_cache_key": "k"}),
        ("prompt_cache_retention", "24h", {"prompt_cache_retention": "24h"}),
        # what only asks for more detail, saves work, or is about what is kept
        ("metadata", {"a": "b"}, {}),
        ("truncation", "auto", {}),
        ("store", False, {}),
        ("background", False, {}),
        ("max_tool_calls", 3, {}),
        ("context_management", [{"type": "compaction"}], {}),
        ("prompt_cache_options", {"mode": "explicit"}, {}),
        ("stream_options", {"include_obfuscation": False}, {}),
        ("client_metadata", {"a": "b"}, {}),
        ("parallel_tool_calls", False, {}),  # there are no tools
        ("tool_choice", "auto", {}),
        ("temperature", None, {}),
        ("reasoning", None, {}),
        ("text", None, {}),
        ("tools", None, {}),
        ("store", None, {}),
        ("model", "m", {}),
        ("stream", True, {}),
    ],
)
def test_a_field_becomes_chats_or_is_left_out(field: str, value: object, sent: dict[str, object]) -> None:
    assert body_of(**{field: value}) == {"messages": [{"role": "user", "content": "hi"}], **sent}


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"store": True}, "store: true"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt templates"),
        ({"background": True}, "background: true"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format of type grammar"),
        ({"tools": {"type": "function"}}, "tools that are not a list"),
        ({"tools": ["web_search"]}, "a tool that is not an object"),
        ({"input": 5}, "an input that is neither a text nor a list of objects"),
        ({"input": ["hi"]}, "an input that is neither a text nor a list of objects"),
        ({"instructions": ["be brief"]}, "instructions that are not text"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(params: dict[str, object], named: str) -> None:
    with pytest.raises(NotSupported) as caught:
        body_of(**params)
    assert str(caught.value) == f"does not support {named}"


def test_a_stream_asks_for_token_counts() -> None:
    body, _ = request({"input": "hi"}, stream=True)
    assert body["stream_options"] == {"include_usage": True}


def test_parallel_calls_are_forbidden_where_there_are_tools() -> None:
    assert body_of(tools=[WEATHER], parallel_tool_calls=False)["parallel_tool_calls"] is False


def test_an_update_within_the_input_is_heeded_and_repeated() -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "configuration_update", "reasoning": {"effort": "low"}},
        {"type": "configuration_update", "text": {"format": {"type": "json_object"}}},
        {"type": "configuration_update", "reasoning": {"effort": "high"}},
    ]
    body, asked = request({"input": items, "reasoning": {"effort": "none", "summary": "auto"}, "text": None})
    assert (body["reasoning_effort"], body["response_format"]) == ("high", {"type": "json_object"})
    assert asked.fields["reasoning"] == {"effort": "high", "summary": "auto"}
    assert asked.summarizes


def test_the_answer_says_that_nothing_is_stored() -> None:
    _, asked = request({"input": "hi", "truncation": "auto", "metadata": {"a": "b"}, "background": None})
    repeated = {name: asked.fields[name] for name in ("store", "truncation", "background", "metadata", "temperature")}
    assert repeated == {
        "store": False, "truncation": "disabled", "background": False, "metadata": {"a": "b"}, "temperature": 1.0,
    }  # fmt: skip


def test_a_request_is_not_changed() -> None:
    for name in ("own-model", "apply-patch", "exec"):
        body = codex(name)
        request(body, stream=True)
        assert body == codex(name)


def test_codex_with_a_model_that_it_does_not_know() -> None:
    body, _ = request(codex("own-model"), stream=True)
    assert [message["role"] for message in body["messages"]] == [
        "system", "user", "user", "assistant", "tool", "tool", "assistant", "tool", "user",
    ]  # fmt: skip
    assert body["messages"][3] == {
        "role": "assistant",
        "content": "Listing files.",
        "tool_calls": [
            {
                "id": "call_39189ee8b422",
                "type": "function",
                "function": {"name": "exec_command", "arguments": '{"cmd": "echo one > a.txt; ls"}'},
            },
            {
                "id": "call_73e6322c54a3",
                "type": "function",
                "function": {"name": "exec_command", "arguments": '{"cmd": "echo two"}'},
            },
        ],
    }
    assert body["messages"][-1]["content"][1]["type"] == "image_url"  # the picture that view_image showed
    names = [tool["function"]["name"] for tool in body["tools"]]
    assert names[:4] == ["exec_command", "write_stdin", "request_user_input", "view_image"]
    assert "multi_agent_v1__spawn_agent" in names
    assert "web_search" not in names
    assert {name: value for name, value in body.items() if name not in ("messages", "tools")} == {
        "prompt_cache_key": "00000000-0000-4000-8000-000000000009",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "stream_options": {"include_usage": True},
    }


def test_codex_with_its_tool_for_patches() -> None:
    body, asked = request(codex("apply-patch"), stream=True)
    patch = next(tool["function"] for tool in body["tools"] if tool["function"]["name"] == "apply_patch")
    assert patch["parameters"]["required"] == ["input"]
    assert "*** Begin Patch" in patch["description"]
    assert asked.called("apply_patch").kind == "custom"
    assert asked.called("tool_search").kind == "search"
    patched, found = body["messages"][3], body["messages"][6]
    assert patched["tool_calls"][0]["function"] == {
        "name": "apply_patch",
        "arguments": '{"input":"*** Begin Patch\\n*** Add File: hello.txt\\n+hello é😀 \\"q\\"\\n*** End Patch\\n"}',
    }
    assert found["role"] == "tool"
    assert '"multi_agent_v1__spawn_agent"' in found["content"]
    assert "multi_agent_v1__spawn_agent" in asked.tools  # found by the search, so it can be called from now on


def test_codex_whose_tools_come_in_the_input() -> None:
    body, asked = request(codex("exec"), stream=True)
    assert asked.called("exec") == ("custom", "exec", "functions")
    assert asked.called("collaboration__list_agents") == ("function", "list_agents", "collaboration")
    assert [message["role"] for message in body["messages"]] == [
        "system", "user", "user", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip
    assert [body["messages"][place]["tool_calls"][0]["function"]["name"] for place in (3, 5)] == [
        "exec",
        "collaboration__list_agents",
    ]
