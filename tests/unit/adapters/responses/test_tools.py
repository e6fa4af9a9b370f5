from __future__ import annotations

from typing import Any, Final

import pytest

from gateway.adapters.base import NotSupported
from gateway.adapters.responses import request
from gateway.adapters.responses.tools import MAX_NAME_CHARS

HOSTED: Final = (
    "web_search", "web_search_preview", "file_search", "code_interpreter", "computer", "computer_use_preview", "mcp",
    "image_generation", "local_shell", "shell", "apply_patch", "programmatic_tool_calling",
)  # fmt: skip


def function(name: str, **more: object) -> dict[str, object]:
    return {"type": "function", "name": name, **more}


def body_of(*tools: object, choice: object = None) -> dict[str, Any]:
    return request({"input": "hi", "tools": list(tools), "tool_choice": choice})[0]


def test_a_function_keeps_all_that_chat_knows() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert body_of(function("f", description="d", parameters=schema, strict=False, defer_loading=True))["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": False}}
    ]


def test_a_function_without_parameters_takes_an_object() -> None:
    assert body_of(function("f", parameters=None, strict=None))["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    ]


def test_a_tool_with_free_text_is_a_function_with_one_text() -> None:
    format_ = {"type": "grammar", "syntax": "lark", "definition": "start: /x+/"}
    (tool,) = body_of({"type": "custom", "name": "c", "description": "Says x.", "format": format_})["tools"]
    assert tool["function"]["description"] == "Says x.\n\nThe input must match this lark grammar:\nstart: /x+/"
    assert tool["function"]["parameters"]["properties"].keys() == {"input"}


def test_a_tool_with_free_text_of_any_form_needs_no_description() -> None:
    (tool,) = body_of({"type": "custom", "name": "c", "format": {"type": "text"}})["tools"]
    assert "description" not in tool["function"]


@pytest.mark.parametrize("kind", HOSTED)
def test_a_hosted_tool_is_refused_by_name(kind: str) -> None:
    with pytest.raises(NotSupported, match=rf"^does not support hosted tools \({kind}\)$"):
        body_of(function("f"), {"type": kind})


@pytest.mark.parametrize("access", [True, False])
def test_a_search_that_codex_offers_beside_its_own_tools_is_left_out(access: bool) -> None:
    search = {"type": "web_search", "external_web_access": access}
    body, asked = request({"input": "hi", "tools": [function("f"), search]})
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]
    assert asked.fields["tools"] == [function("f")]  # the answer does not say that there was a search


def test_a_search_alone_is_refused() -> None:
    with pytest.raises(NotSupported, match="web_search"):
        body_of({"type": "web_search", "external_web_access": False})


def test_a_search_that_must_be_called_is_refused() -> None:
    with pytest.raises(NotSupported, match="web_search"):
        body_of(function("f"), {"type": "web_search", "external_web_access": False}, choice={"type": "web_search"})


def test_without_openais_search_for_tools_all_are_offered() -> None:
    body = body_of({"type": "tool_search"}, function("f", defer_loading=True))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]


def test_tools_of_a_namespace_carry_its_name() -> None:
    members = [function("list", strict=True), {"type": "custom", "name": "run"}]
    body, asked = request({"input": "hi", "tools": [{"type": "namespace", "name": "crm", "tools": members}]})
    assert [tool["function"]["name"] for tool in body["tools"]] == ["crm__list", "crm__run"]
    assert asked.called("crm__list") == ("function", "list", "crm")
    assert asked.called("crm__run") == ("custom", "run", "crm")
    assert asked.called("never_offered") == ("function", "never_offered", None)


def test_what_is_said_of_a_namespace_stands_with_its_first_tool() -> None:
    members = [function("a", description="A."), function("b", description="B.")]
    body = body_of({"type": "namespace", "name": "crm", "description": "Customers.", "tools": members})
    about = "Customers.\n(This is about all functions whose names begin with crm__.)"
    assert [tool["function"]["description"] for tool in body["tools"]] == [f"{about}\n\nA.", "B."]


def test_names_that_chat_cannot_take_are_shortened_alike_in_each_request() -> None:
    long = "a" * MAX_NAME_CHARS
    tools = [{"type": "namespace", "name": "mcp.server", "tools": [function(long), function(long + "b")]}]
    first, second = (request({"input": "hi", "tools": tools}) for _ in range(2))
    names = list(first[1].tools)
    assert names == list(second[1].tools)
    assert len(set(names)) == 2
    assert all(len(name) == MAX_NAME_CHARS and name.startswith("mcp_server__aaa") for name in names)
    assert first[1].called(names[1]) == ("function", long + "b", "mcp.server")


def test_two_tools_that_would_have_one_name_have_two() -> None:
    tools = [function("f"), {"type": "namespace", "name": "functions", "tools": [function("f")]}]
    _, asked = request({"input": "hi", "tools": tools})
    first, second = asked.tools
    assert first == "f"
    assert second.startswith("f_")
    assert asked.called(second) == ("function", "f", "functions")


def test_a_tool_that_is_told_twice_is_offered_once() -> None:
    items = [{"type": "additional_tools", "tools": [function("f", description="new")]}, {"role": "user", "content": ""}]
    body, _ = request({"input": items, "tools": [function("f")]})
    assert [tool["function"].get("description") for tool in body["tools"]] == ["new"]


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_a_choice_by_word_is_the_same(choice: str) -> None:
    assert body_of(function("f"), choice=choice)["tool_choice"] == choice


@pytest.mark.parametrize("kind", ["function", "custom"])
def test_a_chosen_tool_is_a_chosen_function(kind: str) -> None:
    body = body_of({"type": kind, "name": "f"}, choice={"type": kind, "name": "f"})
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize("choice", [{"name": "f"}, {"name": "f", "namespace": "crm"}])
def test_a_tool_of_a_namespace_can_be_chosen(choice: dict[str, str]) -> None:
    tools = [{"type": "namespace", "name": "crm", "tools": [function("f")]}]
    body = body_of(*tools, choice={"type": "function", **choice})
    assert body["tool_choice"] == {"type": "function", "function": {"name": "crm__f"}}


@pytest.mark.parametrize(
    ("mode", "allowed", "names"),
    [
        ("auto", [{"type": "function", "name": "b"}], ["b"]),
        ("required", [{"type": "custom", "name": "c"}, {"type": "function", "name": "a"}], ["a", "c"]),
        ("auto", [{"type": "namespace", "name": "crm"}, {"type": "image_generation"}], ["crm__f"]),
    ],
)
def test_only_allowed_tools_are_offered(mode: str, allowed: list[object], names: list[str]) -> None:
    tools = [function("a"), function("b"), {"type": "custom", "name": "c"}]
    tools.append({"type": "namespace", "name": "crm", "tools": [function("f")]})
    body = body_of(*tools, choice={"type": "allowed_tools", "mode": mode, "tools": allowed})
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body["tool_choice"] == mode


def test_with_no_tool_allowed_none_is_offered() -> None:
    choice: dict[str, object] = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}
    assert body_of(function("a"), choice=choice).keys() == {"messages"}
    with pytest.raises(NotSupported, match="the allowed tools"):
        body_of(function("a"), choice={**choice, "mode": "required"})


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "other"},
        {"type": "function"},
        {"type": "function", "name": "f", "namespace": "other"},
        {"type": "function", "name": "twice"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "other"}]},
    ],
)
def test_a_choice_that_names_no_tool_is_refused(choice: object) -> None:
    spaces = [{"type": "namespace", "name": name, "tools": [function("twice")]} for name in ("one", "two")]
    with pytest.raises(NotSupported, match="names none of the tools"):
        body_of(function("f"), *spaces, choice=choice)


@pytest.mark.parametrize(
    ("tool", "named"),
    [
        ({}, "a tool without a type"),
        ({"type": 5}, r"hosted tools \(unknown\)"),
        ({"type": "function"}, "a tool without a name"),
        ({"type": "custom", "name": ""}, "a tool without a name"),
        ({"type": "namespace", "tools": []}, "a namespace without a name or tools"),
        ({"type": "namespace", "name": "n"}, "a namespace without a name or tools"),
        ({"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}, "a tool of type mcp in a namespace"),
        ({"type": "namespace", "name": "n", "tools": ["f"]}, "a tool of type unknown in a namespace"),
        ({"type": "x" * 1000}, rf"hosted tools \({'x' * 64}\)"),
    ],
)
def test_a_malformed_tool_is_refused(tool: object, named: str) -> None:
    with pytest.raises(NotSupported, match=f"^does not support {named}$"):
        body_of(tool)
