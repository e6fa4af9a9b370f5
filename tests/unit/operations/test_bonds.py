"""What binds a request to an account, and what an answer makes that will."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.adapters.base import Bonds
from gateway.adapters.responses.compaction import encoded
from gateway.operations.bonds import (
    image_bonds,
    made_by_item,
    made_by_message,
    made_by_response,
    message_bonds,
    response_bonds,
)
from gateway.wire.json import JsonObject
from gateway.wire.top_level import read_top_level

FUNCTION = {"type": "function", "name": "f", "parameters": {"properties": {"file_id": {"const": "file_1"}}}}


def found(bonds: Bonds) -> list[tuple[str, str]]:
    while True:
        try:
            next(bonds)
        except StopIteration as end:
            return [(bond.by, bond.id) for bond in end.value]


def as_large(body: JsonObject) -> JsonObject:
    """Return the body as a large one is read: no value of it is decoded."""
    steps = read_top_level(json.dumps(body).encode(), max_parsed_bytes=0, short_bytes=0)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            large: JsonObject = end.value
            return large


RESPONSES: list[tuple[JsonObject, list[tuple[str, str]]]] = [
    ({"input": "hi"}, []),
    ({"previous_response_id": None, "conversation": None, "prompt": None, "input": None, "tools": None}, []),
    ({"previous_response_id": "resp_1"}, [("previous_response_id", "resp_1")]),
    ({"conversation": "conv_1"}, [("conversation", "conv_1")]),
    ({"conversation": {"id": "conv_1"}}, [("conversation", "conv_1")]),
    ({"prompt": {"id": "pmpt_1", "variables": {}}}, [("prompt.id", "pmpt_1")]),
    ({"input": [{"role": "user", "content": "hi", "id": "msg_1"}]}, []),
    ({"input": [{"type": "function_call_output", "id": "fco_1", "call_id": "c", "output": "x"}]}, []),
    ({"input": ["odd", None, {"role": "user", "content": ["odd", {"text": "hi"}]}], "tools": ["odd"]}, []),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, [("item_reference", "msg_1")]),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}, [("file_id", "file_1")]),
    (
        {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "file_id": "file_1"}}]},
        [("file_id", "file_1")],
    ),
    (
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "file_id": "file_1"}]}]},
        [("file_id", "file_1")],
    ),
    ({"input": [{"type": "code_interpreter_call", "container_id": "cntr_1"}]}, [("container_id", "cntr_1")]),
    ({"input": [{"type": "reasoning", "encrypted_content": None}, {"encrypted_content": ""}]}, []),
    ({"tools": [FUNCTION]}, []),
    ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}]}, [("vector_store_ids", "vs_1")]),
    ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, [("container", "cntr_1")]),
    ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, []),
    (
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file_1"]}}]},
        [("file_ids", "file_1")],
    ),
    (
        {"tools": [{"type": "image_generation", "input_image_mask": {"file_id": "file_1"}}]},
        [("file_id", "file_1")],
    ),
]


@pytest.mark.parametrize(("body", "bonds"), RESPONSES)
def test_what_binds_a_request_for_a_response(body: JsonObject, bonds: list[tuple[str, str]]) -> None:
    assert found(response_bonds(body))[:1] == bonds


@pytest.mark.parametrize(("body", "bonds"), RESPONSES)
def test_long_values_are_searched_for_the_same(body: JsonObject, bonds: list[tuple[str, str]]) -> None:
    large = as_large({name: value for name, value in body.items() if name in {"input", "prompt", "tools"} and value})
    short = {name: value for name, value in body.items() if name not in large}
    assert found(response_bonds({**short, **large}))[:1] == bonds


@pytest.mark.parametrize("large", [False, True])
def test_encrypted_content_binds_by_its_hash_the_newest_first_and_behind_all_else(large: bool) -> None:
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "older" * 100_000},
        {"type": "message", "content": [{"type": "input_file", "file_id": "file_1"}]},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "a/b+c="},
    ]
    [made] = made_by_response({"store": False, "id": "resp_1", "output": [items[2]]})
    bonds = found(response_bonds(as_large({"input": items}) if large else {"input": items}))
    assert bonds[:2] == [("file_id", "file_1"), ("encrypted_content", made)]
    assert len(bonds[2][1]) == len(made) < 64


@pytest.mark.parametrize("large", [False, True])
def test_what_a_chat_target_made_in_place_of_encrypted_content_binds_nothing(large: bool) -> None:
    items: list[JsonObject] = [
        {"type": "compaction", "id": "cmp_1", "encrypted_content": encoded("what was said")},
        {"type": "agent_message", "content": [{"type": "text", "encrypted_content": "look into this"}]},
    ]
    assert found(response_bonds(as_large({"input": items}) if large else {"input": items})) == []
    items[1]["content"] = [{"type": "text", "encrypted_content": "gAAAA_sealed"}]
    [bond] = found(response_bonds(as_large({"input": items}) if large else {"input": items}))
    assert bond[0] == "encrypted_content"


def test_text_that_only_looks_like_a_field_binds_nothing() -> None:
    text = json.dumps({"file_id": "file_1", "type": "item_reference", "encrypted_content": "x"})
    body = {"input": [{"role": "user", "content": text}]}
    assert found(response_bonds(body)) == found(response_bonds(as_large(body))) == []


@pytest.mark.parametrize("name", ["file_id", "item_reference", "encrypted_content"])
def test_a_long_value_full_of_names_ends_soon(name: str) -> None:
    body = as_large({"input": [name] * 50_000})
    assert found(response_bonds(body)) == []


def test_names_are_found_across_windows() -> None:
    for padding in range(65_400, 65_560):
        body = as_large({"input": ["x" * padding, {"content": [{"file_id": "file_1"}]}]})
        assert found(response_bonds(body)) == [("file_id", "file_1")]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("messages", "bonds"),
    [
        ([{"role": "user", "content": "hi"}], []),
        (["odd", {"content": ["odd", {"type": "text", "text": "hi"}]}], []),
        ([{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}], ["f"]),
        ([{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}], ["f"]),
        (
            [{"content": [{"type": "tool_result", "content": [{"source": {"type": "file", "file_id": "f"}}]}]}],
            ["f"],
        ),
        ([{"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "s"}]}], []),
    ],
)
def test_files_bind_a_message(messages: list[Any], bonds: list[str], large: bool) -> None:
    body = {"messages": messages}
    assert found(message_bonds(as_large(body) if large else body)) == [("file_id", each) for each in bonds]


def test_a_container_binds_a_message() -> None:
    assert found(message_bonds({"container": "c_1"})) == [("container", "c_1")]
    assert found(message_bonds({"container": {"id": "c_1", "skills": []}})) == [("container", "c_1")]
    assert found(message_bonds({"container": {"skills": []}})) == []


@pytest.mark.parametrize("large", [False, True])
def test_files_bind_a_request_for_images(large: bool) -> None:
    body = {"prompt": "x", "images": [{"image_url": "data:"}, {"file_id": "f"}], "mask": {"file_id": "g"}}
    bonds = found(image_bonds(as_large(body) if large else body))
    assert bonds == [("file_id", "f"), ("file_id", "g")]
    assert found(image_bonds({"prompt": "x", "images": None, "mask": "data:"})) == []


def test_what_a_response_makes() -> None:
    item = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"}
    kept = {"id": "resp_1", "conversation": {"id": "conv_1"}, "output": [item, None]}
    assert list(made_by_response(kept)) == ["resp_1", "conv_1", "ci_1", "cntr_1"]
    assert list(made_by_response({**kept, "store": False})) == ["conv_1", "cntr_1"]
    assert list(made_by_response({"id": 1, "output": None, "conversation": 5})) == []
    assert list(made_by_item("x")) == []


def test_what_a_message_makes() -> None:
    container = {"container": {"id": "c_1"}}
    for data in (container, {"message": container}, {"delta": container}):
        assert list(made_by_message(data)) == ["c_1"]
    assert list(made_by_message({"container": None, "delta": None})) == []
