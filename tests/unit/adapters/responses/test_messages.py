from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.base import NotSupported
from gateway.adapters.responses.messages import messages
from gateway.adapters.responses.tools import Tools

_BY_ID: Final = "item references (with `store: false`, clients send the items themselves)"
PNG: Final = "data:image/png;base64,iVBORw0KGgo="


def made(*items: object, instructions: str | None = None) -> list[dict[str, Any]]:
    return messages(instructions, list(items), Tools())


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def called(call_id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id: str, value: object = "ok") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def chat_call(call_id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(call_id: str, text: str = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def assistant(text: str | None, *calls: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    return {**message, "tool_calls": list(calls)} if calls else message


def test_messages_in_their_short_form() -> None:
    assert made({"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes"},
    ]


def test_all_that_leads_is_one_message_of_the_system() -> None:
    developer = {"role": "developer", "content": [{"type": "input_text", "text": "b"}, {"type": "text", "text": "c"}]}
    found = made(developer, {"role": "system", "content": "d"}, user("hi"), {"role": "developer", "content": "e"},
                 instructions="a")  # fmt: skip
    assert found == [
        {"role": "system", "content": "a\n\nb\n\nc\n\nd"},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "e"},
    ]


def test_what_says_nothing_is_left_out() -> None:
    empty = {"role": "developer", "content": []}
    assert made(empty, user("hi"), said(""), said("a"), {"role": "assistant", "content": []}) == [
        {"role": "user", "content": "hi"},
        assistant("a"),
    ]


def test_parts_of_every_kind() -> None:
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": PNG, "detail": "low"},
        {"type": "input_image", "image_url": PNG},
        {"type": "input_image", "image_url": PNG, "detail": "original"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"},
        {"type": "input_file", "file_data": "JVBERg=="},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    assert made({"role": "user", "content": parts})[0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "JVBERg=="}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]


def test_several_texts_stay_apart() -> None:
    texts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert made({"role": "user", "content": texts})[0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]


def test_a_refusal_in_the_history_is_what_the_assistant_said() -> None:
    parts = [{"type": "output_text", "text": "Well. "}, {"type": "refusal", "refusal": "No."}]
    assert made({"role": "assistant", "content": parts}) == [assistant("Well. No.")]


def test_calls_belong_to_what_was_said_before_them() -> None:
    assert made(user("hi"), said("now"), called("1"), called("2"), output("1"), output("2"), said("done")) == [
        {"role": "user", "content": "hi"},
        assistant("now", chat_call("1"), chat_call("2")),
        tool("1"),
        tool("2"),
        assistant("done"),
    ]


def test_reasoning_in_the_history_is_left_out() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
    assert made(reasoning, said("now"), reasoning, search, called("1"), output("1")) == [
        assistant("now", chat_call("1")),
        tool("1"),
    ]


def thought(*texts: str, field: str = "summary") -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], field: [{"type": "any", "text": text} for text in texts]}


def test_reasoning_can_be_kept_where_it_is_text() -> None:
    items = [
        thought("a", "b"), thought("c", field="content"), said("now"), called("1"), thought("d"), called("2"),
        output("1"), output("2"), {"type": "reasoning", "summary": [], "encrypted_content": "x"}, called("3"),
        output("3"), thought("e"), user("and"), said("done"),
    ]  # fmt: skip
    found = messages(None, items, Tools(), keep_reasoning=True)
    assert [message.get("reasoning_content") for message in found if message["role"] == "assistant"] == [
        "a\n\nb\n\nc\n\nd", None, None,
    ]  # fmt: skip


def test_references_are_looked_up() -> None:
    known = {"msg_1": said("now"), "rs_1": thought("a")}
    items = [{"type": "item_reference", "id": "rs_1"}, {"id": "msg_1"}, called("1"), output("1")]
    found = messages(None, items, Tools(), keep_reasoning=True, recall=known.get)
    assert found == [{**assistant("now", chat_call("1")), "reasoning_content": "a"}, tool("1")]
    with pytest.raises(NotSupported, match="item references"):
        messages(None, [{"id": "msg_2"}], Tools(), recall=known.get)


def test_a_reference_to_reasoning_is_left_out() -> None:
    assert made({"type": "item_reference", "id": "rs_1"}, said("now")) == [assistant("now")]


def test_calls_one_after_the_other_are_messages_of_their_own() -> None:
    assert made(called("1"), output("1"), called("2"), output("2")) == [
        assistant(None, chat_call("1")),
        tool("1"),
        assistant(None, chat_call("2")),
        tool("2"),
    ]


def test_outputs_follow_their_calls_whatever_came_between() -> None:
    found = made(called("1"), said("a"), user("and"), called("2"), output("2"), said("b"), output("1"), said("c"))
    assert found == [
        assistant("a\n\nb", chat_call("1"), chat_call("2")),
        tool("2"),
        tool("1"),
        {"role": "user", "content": "and"},
        assistant("c"),
    ]


def test_a_call_without_output_hides_nothing() -> None:
    assert made(called("1"), user("never mind")) == [
        assistant(None, chat_call("1")),
        {"role": "user", "content": "never mind"},
    ]


def test_a_call_without_output_holds_nothing_back() -> None:
    assert made(called("1"), user("never mind"), said("good"), called("2"), output("2")) == [
        assistant(None, chat_call("1")),
        {"role": "user", "content": "never mind"},
        assistant("good", chat_call("2")),
        tool("2"),
    ]


def test_values_too_deep_for_json_are_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotSupported, match="nested that deep"):
        made(output("1", {"a": deep}))


def test_an_output_without_a_call_is_left_to_the_upstream() -> None:
    assert made(output("1")) == [tool("1")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}], "a\nb"),
        ([], ""),
        (None, "null"),
        ({"a": 1}, '{"a":1}'),
    ],
)
def test_an_output_is_text(value: object, text: str) -> None:
    assert made(called("1"), output("1", value))[1] == tool("1", text)


def test_pictures_that_tools_give_follow_all_outputs() -> None:
    shown = {"type": "input_image", "image_url": PNG}
    found = made(called("1"), called("2"), output("1", [shown]), output("2", [{"type": "text", "text": "b"}, shown]))
    assert found[1:] == [
        tool("1", "The output is in the next message."),
        tool("2", "b"),
        *(
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": f"Output of the tool call {call_id}:"},
                    {"type": "image_url", "image_url": {"url": PNG}},
                ],
            }
            for call_id in ("1", "2")
        ),
    ]


def test_free_text_is_the_one_argument() -> None:
    call = {"type": "custom_tool_call", "call_id": "1", "name": "apply_patch", "input": 'a "b"\n'}
    assert made(call, {"type": "custom_tool_call_output", "call_id": "1", "output": "ok"}) == [
        assistant(None, chat_call("1", "apply_patch", '{"input":"a \\"b\\"\\n"}')),
        tool("1"),
    ]


def test_a_call_of_a_namespace_has_its_functions_name_even_without_the_tool() -> None:
    assert made({**called("1"), "namespace": "crm"}) == [assistant(None, chat_call("1", "crm__f"))]


def test_what_an_agent_of_codex_says_is_the_users() -> None:
    parts = [{"type": "input_text", "text": "Payload:\n"}, {"type": "encrypted_content", "encrypted_content": "Count."}]
    item = {"type": "agent_message", "author": "/root", "recipient": "/root/helper", "content": parts}
    assert made(called("1"), item, output("1")) == [
        assistant(None, chat_call("1")),
        tool("1"),
        {"role": "user", "content": "Payload:\nCount."},
    ]


def test_a_search_for_tools_is_a_call() -> None:
    search = {"type": "tool_search_call", "call_id": "1", "execution": "client", "arguments": {"query": "x"}}
    found = {"type": "tool_search_output", "call_id": "1", "tools": [{"type": "function", "name": "f"}]}
    assert made(search, found) == [
        assistant(None, chat_call("1", "tool_search", '{"query":"x"}')),
        tool("1", '["f"]'),
    ]


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ({"type": "item_reference", "id": "msg_1"}, _BY_ID),
        ({"id": "msg_1"}, _BY_ID),
        ({"type": "item_reference"}, _BY_ID),
        ({"type": "compaction", "encrypted_content": "x"}, "input items of type compaction that another server made"),
        ({"type": "computer_call_output"}, "input items of type computer_call_output"),
        ({"type": "mcp_call"}, "input items of type mcp_call"),
        ({"type": "image_generation_call"}, "input items of type image_generation_call"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}, "file ids"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}, "file ids"),
        ({"role": "user", "content": [{"type": "input_file", "file_url": "https://x"}]}, "files by URL"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "an image without image_url"),
        ({"role": "user", "content": [{"type": "input_video"}]}, "content of type input_video"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "content of type input_text without text"),
        ({"role": "user", "content": [5]}, "content of type unknown"),
        ({"role": "user", "content": None}, "content that is neither a text nor a list"),
        ({"type": "agent_message", "content": [{"type": "encrypted_content", "encrypted_content": "gAAAAABo"}]},
         "encrypted messages of agents"),
        ({"role": "critic", "content": "x"},
         "a message whose role is none of user, assistant, system and developer"),
        ({"type": "function_call", "name": "f", "arguments": "{}"},
         "a function_call without call_id, name or arguments"),
        ({"type": "function_call_output", "output": "x"}, "the output of a call without call_id"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_by_name(item: dict[str, object], named: str) -> None:
    with pytest.raises(NotSupported) as caught:
        made(item)
    assert str(caught.value) == f"does not support {named}"


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return items in which each call has its output, anywhere after it."""
    items: list[dict[str, Any]] = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from(["user", "said", "thought", "call"]), max_size=12))):
        text = f"{kind} {number}"
        if kind == "call":
            items.append(called(text))
        else:
            items.append(user(text) if kind == "user" else said(text) if kind == "said" else thought(text))
    for item in [item for item in items if item["type"] == "function_call"]:
        place = draw(st.integers(items.index(item) + 1, len(items)))
        items.insert(place, output(item["call_id"], f"output of {item['call_id']}"))
    return items


@given(histories(), st.booleans())
def test_all_calls_are_followed_by_their_outputs_and_nothing_is_lost(
    items: list[dict[str, Any]], keep_reasoning: bool
) -> None:
    made_ = messages(None, items, Tools(), keep_reasoning=keep_reasoning)
    waiting: set[str] = set()
    for message in made_:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            assert not waiting
        calls = message.get("tool_calls", ())
        waiting = waiting or {one["id"] for one in calls}
        assert len({one["id"] for one in calls}) == len(calls)
    assert not waiting
    texts = [text for message in made_ for text in (message["content"] or "").split("\n\n") if text]
    given_ = [item for item in items if item["type"] != "reasoning" and item["type"] != "function_call"]
    assert sorted(texts) == sorted(item.get("output") or item["content"][0]["text"] for item in given_)
    for kind in ("user", "said"):
        of_kind = [text for text in texts if text.startswith(kind)]
        assert of_kind == sorted(of_kind, key=lambda text: int(text.split()[1]))


@pytest.mark.parametrize("odd", [7, True, 1.5, [[]], {"a": []}, "x", ["x"]])
def test_odd_details_are_left_to_the_upstream(odd: object) -> None:
    """A client's mistake is no fault of the gateway's: a 500 would be, with an error in the log."""
    image = {"type": "input_image", "image_url": PNG, "detail": odd}
    (message,) = made({"role": "user", "content": [image]})
    assert message["content"][0]["image_url"]["detail"] == "high"
    thought = [{"type": "reasoning", "id": "rs_1", "summary": odd, "content": odd}, said("hi")]
    assert messages(None, thought, Tools(), keep_reasoning=True) == [assistant("hi")]
