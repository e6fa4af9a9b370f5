"""The messages of chat as turns of Messages."""

from __future__ import annotations

import base64

import pytest

from gateway.adapters.anthropic import to_messages
from gateway.adapters.anthropic.thinking import our_thinking
from gateway.adapters.base import NotSupported
from gateway.wire.json import Json, JsonObject
from tests.unit.adapters.anthropic.shapes import (
    CHAT_TOOL,
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

OLDER = "claude-sonnet-4-5"
NEWER = "claude-sonnet-5"
NOTE = text("Note from the operator of this conversation, not from the user:")
EPHEMERAL = {"type": "ephemeral"}


def translated(*messages: Json, model: str = OLDER, **params: Json) -> JsonObject:
    return to_messages.request({"model": model, "messages": list(messages), **params}).body


def turns(*messages: Json, model: str = OLDER, **params: Json) -> list[JsonObject]:
    found = translated(*messages, model=model, **params)["messages"]
    assert isinstance(found, list)
    return found


def test_the_system_prompt_stands_apart() -> None:
    body = translated(
        system("a"),
        {"role": "developer", "content": [text("b", cache_control=EPHEMERAL), text("")]},
        system(""),
        user(),
    )
    assert body["system"] == [text("a"), text("b", cache_control=EPHEMERAL)]
    assert body["messages"] == [user([text("hi")])]


@pytest.mark.parametrize(
    ("messages", "older", "newer"),
    [
        ([user("a"), system("s")],
         [user([text("a"), NOTE, text("s")])],
         [user([text("a")]), system([text("s")])]),
        ([user("a"), system("s"), system("t"), assistant("b"), user("c")],
         [user([text("a"), NOTE, text("s"), NOTE, text("t")]), assistant([text("b")]), user([text("c")])],
         [user([text("a")]), system([text("s"), text("t")]), assistant([text("b")]), user([text("c")])]),
        ([user("a"), assistant("b"), system("s"), user("c")],
         [user([text("a")]), assistant([text("b")]), user([NOTE, text("s"), text("c")])],
         [user([text("a")]), assistant([text("b")]), user([text("c")]), system([text("s")])]),
        ([user("a"), assistant("b"), system("s")],
         [user([text("a")]), assistant([text("b")]), user([NOTE, text("s")])],
         [user([text("a")]), assistant([text("b")]), user([NOTE, text("s")])]),
        ([user("a"), assistant("b"), system("s"), assistant("c"), user("d")],
         [user([text("a")]), assistant([text("b")]), user([NOTE, text("s")]), assistant([text("c")]),
          user([text("d")])],
         [user([text("a")]), assistant([text("b")]), user([NOTE, text("s")]), assistant([text("c")]),
          user([text("d")])]),
        ([user("a"), system("s"), user("b")],
         [user([text("a"), NOTE, text("s"), text("b")])],
         [user([text("a"), text("b")]), system([text("s")])]),
        ([user("a"), system("s"), assistant(None), user("b")],
         [user([text("a"), NOTE, text("s"), text("b")])],
         [user([text("a"), text("b")]), system([text("s")])]),
        ([user("a"), assistant(None, tool_calls=[chat_call("x")]), system("s"), tool("x")],
         [user([text("a")]), assistant([use("x", city="Rome")]), user([result("x"), NOTE, text("s")])],
         [user([text("a")]), assistant([use("x", city="Rome")]), user([result("x")]), system([text("s")])]),
    ],
)  # fmt: skip
def test_a_later_system_message_stays_where_it_may(
    messages: list[JsonObject], older: list[JsonObject], newer: list[JsonObject]
) -> None:
    assert turns(*messages, model=OLDER, tools=[CHAT_TOOL]) == older
    assert turns(*messages, model=NEWER, tools=[CHAT_TOOL]) == newer


def test_messages_of_one_side_are_one_turn() -> None:
    assert turns(user("a"), user([text("b"), text("")]), assistant("c"), assistant("d"), user("e")) == [
        user([text("a"), text("b")]),
        assistant([text("c"), text("d")]),
        user([text("e")]),
    ]


def test_a_message_that_says_nothing_is_no_turn() -> None:
    assert turns(user("a"), assistant("b"), user(""), assistant("c"), system(""), user("d"), system([])) == [
        user([text("a")]),
        assistant([text("b"), text("c")]),
        user([text("d")]),
    ]


def test_a_history_may_end_with_calls_that_nobody_answered() -> None:
    assert turns(user(), assistant("x ", tool_calls=[chat_call("a")]))[-1] == assistant(
        [text("x "), use("a", city="Rome")]
    )


def test_results_of_parallel_calls_come_first_in_the_next_turn() -> None:
    calls = [chat_call("a"), chat_call("b", "")]
    found = turns(user(), assistant("x", tool_calls=calls), user("and"), tool("b", ""), tool("a", [text("r"), png()]))
    assert found[1:] == [
        assistant([text("x"), use("a", city="Rome"), use("b")]),
        user(
            [
                {"type": "tool_result", "tool_use_id": "b"},
                result("a", [text("r"), png_block()]),
                text("and"),
            ]
        ),
    ]


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ('{"a":1}', {"a": 1}),
        ("", {}),
        ("  ", {}),
        (None, {}),
        ({"a": 1}, {"a": 1}),
        ("not JSON", {"arguments": "not JSON"}),
        ("[1]", {"arguments": [1]}),
    ],
)
def test_a_call_s_arguments_are_an_object(arguments: Json, given: JsonObject) -> None:
    found = turns(user(), assistant(None, tool_calls=[chat_call(arguments=arguments)]), tool())
    assert found[1]["content"][0]["input"] == given


def test_ids_that_do_not_fit_are_changed_in_calls_and_results() -> None:
    odd = "functions.weather:0"
    once = (assistant(None, tool_calls=[chat_call(odd)]), tool(odd))
    found = turns(user(), *once, *once)
    ids = [block.get("id") or block.get("tool_use_id") for turn in found[1:] for block in turn["content"]]
    assert ids == ["functions_weather_0"] * 2 + ["functions_weather_0_2"] * 2


def test_the_older_form_of_calls() -> None:
    call = {"name": "weather", "arguments": '{"city":"Rome"}'}
    found = turns(user(), assistant(None, function_call=call), {"role": "function", "name": "weather", "content": "r"})
    assert found[1]["content"] == [use("function_weather", city="Rome")]
    assert found[2]["content"] == [result("function_weather", "r")]


def test_a_custom_tool_s_call_in_the_history_keeps_its_text() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    assert turns(user(), assistant(None, tool_calls=[call]), tool("c"))[1]["content"] == [
        use("c", "patch", input="*** Begin")
    ]


def test_an_assistant_who_speaks_first_answers_a_dot() -> None:
    assert turns(assistant("Welcome!"), user())[:2] == [user([text(".")]), assistant([text("Welcome!")])]


def test_a_last_turn_of_the_assistant_is_gone_on_with_where_the_model_can() -> None:
    assert turns(user(), assistant("The answer is "))[-1] == assistant([text("The answer is")])
    with pytest.raises(NotSupported, match="ends with the assistant"):
        turns(user(), assistant("The answer is "), model=NEWER)


@pytest.mark.parametrize("messages", [[], [user("")], [system()], [user([]), assistant(None)]])
def test_a_conversation_needs_a_word(messages: list[JsonObject]) -> None:
    with pytest.raises(NotSupported, match="a message that says something"):
        turns(*messages)


def test_refusals_are_texts() -> None:
    said = assistant([{"type": "refusal", "refusal": "no"}, {"type": "refusal", "refusal": ""}], refusal="never")
    assert turns(user(), said, user())[1] == assistant([text("no"), text("never")])


SIGNED = {"type": "thinking", "thinking": "hm", "signature": "sig"}
REDACTED = {"type": "redacted_thinking", "data": "xx"}


def test_claude_s_thinking_stays_in_the_history_while_it_thinks() -> None:
    said = assistant("a", thinking_blocks=[SIGNED, REDACTED, our_thinking("x"), {"type": "thinking", "thinking": "y"}])
    inside = assistant([SIGNED, text("a")])
    assert turns(user(), said, user(), model=NEWER)[1] == assistant([SIGNED, REDACTED, text("a")])
    assert turns(user(), inside, user(), model=NEWER)[1] == assistant([SIGNED, text("a")])
    assert turns(user(), said, user())[1] == assistant([text("a")]), "thinking is off"
    assert turns(user(), inside, user())[1] == assistant([text("a")])


def test_thinking_that_is_taken_back_leaves_the_history_too() -> None:
    messages = [
        user(), assistant(None, tool_calls=[chat_call("a")], thinking_blocks=[SIGNED]), tool("a"),
        assistant(None, tool_calls=[chat_call("b")]), tool("b"),
    ]  # fmt: skip
    body = translated(*messages, tools=[CHAT_TOOL], thinking={"type": "enabled", "budget_tokens": 1024})
    assert "thinking" not in body
    assert body["messages"][1] == assistant([use("a", city="Rome")])


def test_images_and_files() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}}
    plain = base64.b64encode(b"hello").decode()
    parts = [
        png(),
        {"type": "image_url", "image_url": "https://example.com/a.png"},
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,JVBERi0x"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0x", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "JVBERi0x"}},
        {"type": "file", "file": {"file_data": f"data:text/markdown;base64,{plain}", "filename": "a.md"}},
        {"type": "file", "file": {"file_data": "data:image/png;base64,AAAA"}},
        pdf,
        "loose",
    ]
    assert turns(user(parts))[0]["content"] == [
        png_block(),
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA"}},
        pdf,
        {**pdf, "title": "a.pdf"},
        pdf,
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}, "title": "a.md"},
        png_block(),
        pdf,
        text("loose"),
    ]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "audio"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file ids"),
        ({"type": "file", "file": {}}, "a file without data"),
        ({"type": "file"}, "a file without data"),
        ({"type": "file", "file": {"file_data": "AAAA"}}, "files without a media type"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}, "not UTF-8"),
        ({"type": "file", "file": {"file_data": "data:application/zip;base64,AA"}}, "files of type application/zip"),
        ({"type": "file", "file": {"file_data": "data:audio/wav;base64,AA"}}, "audio of type audio/wav"),
        ({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA"}}, "images of type image/tiff"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,AA"}}, "data URLs without base64"),
        ({"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}, "another URL than https"),
        ({"type": "image_url", "image_url": {}}, "an image without a URL"),
        ({"type": "of_tomorrow"}, "content parts of type of_tomorrow"),
        ({"type": {"odd": 1}}, "content parts of type"),
        (5, "content parts that are no objects"),
    ],
)
def test_a_part_without_counterpart_is_named(part: Json, words: str) -> None:
    with pytest.raises(NotSupported, match=words):
        turns(user([part]))


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([5], "messages that are no objects"),
        ([{"role": "narrator", "content": "x"}], "the role narrator"),
        ([user({"odd": 1})], "dict as its content"),
        ([system([png()])], "image in system messages"),
        ([user(), assistant([png()])], "image in assistant messages"),
        ([user(), assistant(None, tool_calls=[{"id": "a"}])], "tool calls without a function"),
    ],
)
def test_odd_messages_are_named(messages: list[Json], words: str) -> None:
    with pytest.raises(NotSupported, match=words):
        turns(*messages)


def test_cache_control_is_kept_where_the_client_set_it() -> None:
    cached = {"cache_control": EPHEMERAL}
    found = turns(
        {**user("a"), **cached},
        assistant([text("b", **cached)], tool_calls=[{**chat_call("x"), **cached}]),
        {**tool("x", "r"), **cached},
    )
    assert [block.get("cache_control") for turn in found for block in turn["content"]] == [EPHEMERAL] * 4
    assert turns(user(), assistant(None, tool_calls=[chat_call("x")]), tool("x", [text("r", **cached)]))[2] == user(
        [result("x", [text("r")], **cached)]
    )


def test_openai_s_breakpoints_are_cache_control_up_to_four() -> None:
    hour = {"mode": "explicit", "ttl": "12h"}
    parts = [text(str(number), prompt_cache_breakpoint={"mode": "explicit"}) for number in range(4)]
    found = turns(user([text("x", prompt_cache_breakpoint=hour), *parts]))[0]["content"]
    assert [block.get("cache_control") for block in found] == [
        {"type": "ephemeral", "ttl": "1h"}, EPHEMERAL, EPHEMERAL, EPHEMERAL, None,
    ]  # fmt: skip
