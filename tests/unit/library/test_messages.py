"""What becomes of message content that is not text."""

from __future__ import annotations

import json

import pytest

from gateway.errors import BadRequest
from gateway.library.messages import normalise
from gateway.wire.json import Json, JsonObject

PARTS = [
    {"type": "text", "text": "what is this?", "cache_control": {"type": "ephemeral"}},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "file", "file": {"file_id": "f"}},
]


def content(value: Json, **fields: Json) -> Json:
    return normalise([{"role": "user", "content": value, **fields}])[0]["content"]


@pytest.mark.parametrize("value", ["", "plain", '{"already": "json"}', PARTS, PARTS[:1]])
def test_text_and_lists_of_content_parts_go_as_they_are(value: Json) -> None:
    assert content(value) == value


@pytest.mark.parametrize(
    "value",
    [
        {"nested": {"deep": [1, {"er": None}]}},
        {"type": "text", "text": "one part, but not in a list"},
        [1, 2, 3],
        [],
        [{"type": "dog", "name": "Rex"}],
        [*PARTS, "a bare string"],
        42,
        1.5,
        True,
        False,
        None,
        {"ünï": "cödé"},
    ],
)
def test_any_other_json_value_becomes_a_json_string(value: Json) -> None:
    sent = content(value)
    assert isinstance(sent, str)
    assert json.loads(sent) == value


def test_text_that_is_not_ascii_stays_readable() -> None:
    assert content({"city": "Zürich"}) == '{"city": "Zürich"}'


@pytest.mark.parametrize("key", ["tool_calls", "function_call"])
def test_null_stays_null_where_the_message_speaks_through_a_tool_call(key: str) -> None:
    call = {"name": "f", "arguments": "{}"}
    message = {"role": "assistant", "content": None, key: [call] if key == "tool_calls" else call}
    assert normalise([message]) == [message]


def test_every_other_field_is_kept() -> None:
    messages: list[JsonObject] = [
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": "1", "name": "f", "content": {"answer": 42}},
    ]
    assert normalise(messages) == [messages[0], {**messages[1], "content": '{"answer": 42}'}]


def test_what_the_caller_passed_in_never_changes() -> None:
    messages = [{"role": "user", "content": {"a": 1}}]
    normalise(messages)
    assert messages == [{"role": "user", "content": {"a": 1}}]


@pytest.mark.parametrize("value", [object(), {1, 2}, {"a": b"bytes"}])
def test_content_that_json_cannot_hold_is_refused_with_its_place(value: Json) -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\].content") as refused:
        content(value)
    assert refused.value.param == "messages[0].content"


def test_a_message_that_is_no_dict_is_refused() -> None:
    with pytest.raises(BadRequest, match="message 0 is a str, not a dict"):
        normalise(["hello"])  # type: ignore[list-item]  # what a program may get wrong
