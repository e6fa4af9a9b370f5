"""Messages as system instruction and contents."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.adapters import gemini
from gateway.adapters.base import NotSupported
from gateway.adapters.gemini.signatures import PLACEHOLDER
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import assistant, chat_call, png, system, text, tool, user
from tests.unit.adapters.gemini.shapes import IN_ID, SIGNATURE, body

NEW = "gemini-3-pro-preview"
OLD = "gemini-2.5-flash"


def sent(*messages: Any, model: str = OLD) -> JsonObject:
    return gemini.request({**body(*messages), "model": model}).body


def contents(*messages: Any, model: str = OLD) -> list[JsonObject]:
    found: list[JsonObject] = sent(*messages, model=model)["contents"]
    return found


def roles(*messages: Any) -> list[tuple[str, int]]:
    return [(content["role"], len(content["parts"])) for content in contents(*messages)]


def test_messages_of_one_side_are_one_content() -> None:
    assert roles(user("a"), user("b"), assistant("c"), assistant("d"), user("e")) == [
        ("user", 2),
        ("model", 2),
        ("user", 1),
    ]


def test_system_messages_are_the_instruction_wherever_they_are() -> None:
    found = sent(system("a"), user("x"), {"role": "developer", "content": [text("b")]}, assistant("y"), user("z"))
    assert found["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert [content["role"] for content in found["contents"]] == ["user", "model", "user"]


def test_a_model_without_instruction_reads_it_in_the_first_turn() -> None:
    found = sent(system("a"), user("x"), model="gemma-3-27b-it")
    assert found == {"contents": [{"role": "user", "parts": [{"text": "a"}, {"text": "x"}]}]}
    found = sent(system("a"), assistant("x"), model="gemma-3-27b-it")
    assert [content["role"] for content in found["contents"]] == ["user", "model"]


def test_empty_messages_are_left_out() -> None:
    assert roles(user("a"), assistant(""), assistant(None), user([text("")]), user("b")) == [("user", 2)]


def test_media_alone_have_a_text_beside_them() -> None:
    assert contents(user([png()]))[0]["parts"][1] == {"text": " "}


@pytest.mark.parametrize("messages", [[], [user("")], [assistant(None)]])
def test_a_conversation_that_says_nothing_is_not_supported(messages: list[JsonObject]) -> None:
    with pytest.raises(NotSupported, match="a conversation without a message that says something"):
        sent(*messages)


@pytest.mark.parametrize(
    ("message", "lacks"),
    [
        (7, "messages that are no objects"),
        ({"role": "critic", "content": "x"}, "messages with the role critic"),
        (system([png()]), "media in system messages"),
        (assistant(None, tool_calls=[{"id": "a"}]), "tool calls without a function"),
        (tool("zz"), "the result of a tool that the history does not call"),
    ],
)
def test_what_is_not_supported_is_named(message: Json, lacks: str) -> None:
    with pytest.raises(NotSupported, match=lacks):
        sent(user(), message)


def test_a_result_is_named_by_its_call() -> None:
    calls = [chat_call("a"), chat_call("b", name="time")]
    _, said, results, rest = contents(
        user(), assistant(None, tool_calls=calls), tool("b", "noon"), tool("a"), user("so?")
    )
    assert [part["functionCall"]["name"] for part in said["parts"]] == ["weather", "time"]
    answers = [part["functionResponse"] for part in results["parts"]]
    assert answers == [
        {"name": "time", "response": {"content": "noon"}},
        {"name": "weather", "response": {"content": "sunny"}},
    ]
    assert rest == {"role": "user", "parts": [{"text": "so?"}]}


def test_an_id_that_comes_again_means_the_newest_call() -> None:
    again = [assistant(None, tool_calls=[chat_call("0", name="time")]), tool("0")]
    found = contents(user(), assistant(None, tool_calls=[chat_call("0")]), tool("0"), *again)
    names = [
        part["functionResponse"]["name"] for content in found for part in content["parts"] if "functionResponse" in part
    ]
    assert names == ["weather", "time"]


def test_only_newer_models_get_ids() -> None:
    messages = [user(), assistant(None, tool_calls=[chat_call("a")]), tool("a")]
    assert "id" not in str(contents(*messages))
    _, said, results = contents(*messages, model=NEW)
    assert (said["parts"][0]["functionCall"]["id"], results["parts"][0]["functionResponse"]["id"]) == ("a", "a")


@pytest.mark.parametrize(
    "call",
    [
        chat_call(f"a__thought__{IN_ID}"),
        chat_call(f"a__thought__{SIGNATURE}"),
        {**chat_call("a"), "provider_specific_fields": {"thought_signature": SIGNATURE}},
        {**chat_call("a"), "extra_content": {"google": {"thought_signature": SIGNATURE}}},
        {"id": "a", "type": "function",
         "function": {**chat_call("a")["function"], "provider_specific_fields": {"thought_signature": SIGNATURE}}},
    ],
    ids=["ours", "LiteLLM's", "LiteLLM's beside", "Google's beside", "LiteLLM's within"],
)  # fmt: skip
@pytest.mark.parametrize("model", [OLD, NEW])
def test_a_signature_is_found_wherever_a_client_keeps_it(call: JsonObject, model: str) -> None:
    _, said, results = contents(user(), assistant(None, tool_calls=[call]), tool(call["id"]), model=model)
    assert said["parts"][0]["thoughtSignature"] == SIGNATURE
    assert results["parts"][0]["functionResponse"]["name"] == "weather"
    assert "__thought__" not in str(said) + str(results)


def test_the_first_call_without_a_signature_has_the_placeholder() -> None:
    messages = [user(), assistant("x", tool_calls=[chat_call("a"), chat_call("b")]), tool("a"), tool("b")]
    assert [part.get("thoughtSignature") for part in contents(*messages, model=NEW)[1]["parts"]] == [
        None,
        PLACEHOLDER,
        None,
    ]
    assert "thoughtSignature" not in str(contents(*messages, model=OLD))


def test_a_signature_of_a_text_goes_to_the_text_unless_a_call_has_it() -> None:
    beside = {"thought_signatures": [SIGNATURE]}
    assert contents(user(), assistant("x", provider_specific_fields=beside))[1]["parts"] == [
        {"text": "x", "thoughtSignature": SIGNATURE}
    ]
    call = chat_call(f"a__thought__{IN_ID}")
    parts = contents(user(), assistant("x", provider_specific_fields=beside, tool_calls=[call]))[1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, SIGNATURE]


def test_calls_and_results_of_the_older_form() -> None:
    function = {"role": "function", "name": "f", "content": "r"}
    _, said, results = contents(user(), assistant(None, function_call={"name": "f", "arguments": "{}"}), function)
    assert said["parts"] == [{"functionCall": {"name": "f", "args": {}}}]
    assert results["parts"] == [{"functionResponse": {"name": "f", "response": {"content": "r"}}}]


def test_a_custom_call_has_its_input() -> None:
    custom = {"id": "a", "type": "custom", "custom": {"name": "c", "input": "x"}}
    assert contents(user(), assistant(None, tool_calls=[custom]))[1]["parts"] == [
        {"functionCall": {"name": "c", "args": {"input": "x"}}}
    ]


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("", {}),
        (" ", {}),
        (None, {}),
        ("null", {}),
        ("[1]", {"arguments": [1]}),
        ("{", {"arguments": "{"}),
        ('{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        ("\ud800", {"arguments": "\ud800"}),
    ],
)
def test_arguments_are_an_object(arguments: Json, args: JsonObject) -> None:
    found = contents(user(), assistant(None, tool_calls=[chat_call("a", arguments)]))
    assert found[1]["parts"][0]["functionCall"]["args"] == args


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1]", {"content": "[1]"}),
        ("7", {"content": "7"}),
        ("{", {"content": "{"}),
        ("", {"content": ""}),
        ([text("a"), text("b")], {"content": "ab"}),
        ('{"a": [{"$ref": "#/b"}]}', {"content": '{"a": [{"$ref": "#/b"}]}'}),
        ('{"a":' * 80 + "1" + "}" * 80, {"content": '{"a":' * 80 + "1" + "}" * 80}),
    ],
)
def test_a_result_is_an_object(content: Json, response: JsonObject) -> None:
    found = contents(user(), assistant(None, tool_calls=[chat_call("a")]), tool("a", content))
    assert found[2]["parts"][0]["functionResponse"]["response"] == response


def test_media_in_a_result_are_in_it_or_beside_it() -> None:
    messages = [user(), assistant(None, tool_calls=[chat_call("a")]), tool("a", [text("r"), png()])]
    inline = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert contents(*messages, model=NEW)[2]["parts"][0]["functionResponse"]["parts"] == [inline]
    assert contents(*messages, model=OLD)[2]["parts"][1] == inline
    linked = {"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}
    with pytest.raises(NotSupported, match="media by URL in results of tools"):
        contents(*messages[:2], tool("a", [linked]), model=NEW)


def test_what_the_assistant_refused_and_showed_stays() -> None:
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}
    parts = contents(user(), assistant(None, refusal="no", images=[shown], reasoning_content="hm"))[1]["parts"]
    assert parts == [{"text": "no"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]
