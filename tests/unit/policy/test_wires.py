"""The names of wires and operations: one closed set, in which a wire's name stands for all of its operations."""

from __future__ import annotations

import pytest

from gateway.concurrency.steps import at_once
from gateway.operations import OPERATIONS
from gateway.operations.base import OpenAIOperation
from gateway.policy.wires import FEATURES_OF, OPERATION_NAMES, OPERATIONS_OF, as_list, operations_named
from gateway.wire.json import JsonObject


def test_no_two_operations_share_a_name_and_each_wire_begins_with_its_own() -> None:
    assert len({*OPERATION_NAMES}) == len(OPERATION_NAMES)
    assert [own[0] for own in OPERATIONS_OF.values()] == [*OPERATIONS_OF]


def test_every_operation_of_the_registry_has_a_name_of_the_set() -> None:
    assert OPERATIONS.keys() <= {*OPERATION_NAMES}


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_the_features_of_an_operation_are_those_that_it_finds(name: str) -> None:
    operation = OPERATIONS[name]
    assert isinstance(operation, OpenAIOperation)
    assert operation.wants_stream({"stream": True, "stream_format": "sse"}) is ("stream" in FEATURES_OF[name])
    found = {*operation.part_kinds.values(), *operation.form_media}
    bodies: list[JsonObject] = [{"audio": {"voice": "a"}, "modalities": ["audio"]}, {"image": "x", "images": ["x"]}]
    for body in bodies:
        found |= at_once(operation.media(body, None))
    assert found == FEATURES_OF[name] - {"stream"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["chat"], {"chat"}),
        (["messages"], {"messages", "count_tokens"}),
        (["count_tokens", "chat"], {"chat", "count_tokens"}),
        (["images", "image_edits"], {"images", "image_edits", "image_variations"}),
        ([*OPERATIONS_OF], {*OPERATION_NAMES}),
        ([], set()),
    ],
)
def test_a_wire_s_name_means_all_of_its_operations(written: list[str], meant: set[str]) -> None:
    assert operations_named(written) == meant


@pytest.mark.parametrize(
    ("operations", "written"),
    [
        ({"embeddings", "chat"}, ["chat", "embeddings"]),
        ({"compact", "responses", "input_tokens"}, ["responses"]),
        ({"translations", "chat"}, ["chat", "translations"]),
        ({"messages"}, ["messages"]),
        (frozenset(OPERATION_NAMES), [*OPERATIONS_OF]),
        (frozenset(), []),
    ],
)
def test_operations_are_written_as_shortly_as_they_can_be(operations: set[str], written: list[str]) -> None:
    assert as_list(operations) == written
    assert operations <= operations_named(written)
