"""Searching a long value that is not decoded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.wire.json import RawJson, RawSource
from gateway.wire.raw_search import (
    AROUND_BYTES,
    MAX_FOUND,
    MAX_TEXT_BYTES,
    WINDOW_BYTES,
    Found,
    find_names,
    object_around,
    text_behind,
)


def raw(value: Any, *, indent: int | None = None) -> RawJson:
    """Return the value as a part of a larger body."""
    data = json.dumps(value, indent=indent).encode()
    return RawJson(b'{"id": "before", "x": ' + data + b', "id": "behind"}', 22, 22 + len(data), RawSource(0, 0))


def searched(value: RawJson, *names: str) -> tuple[list[Found], int]:
    """Return what is found, and the number of steps."""
    steps = find_names(value, names)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


@pytest.mark.parametrize("indent", [None, 4])
def test_a_field_is_found_with_its_text(indent: int | None) -> None:
    value = raw([{"id": "one"}, {"ids": ["two", "three"]}, {"id": 5}, {"id": "a\\/b\u20ac"}], indent=indent)
    found, _ = searched(value, "id", "ids")
    assert [text_behind(value, one) for one in found] == ["one", None, "a\\/b\u20ac", "two"]


def test_only_the_value_itself_is_searched() -> None:
    assert searched(raw(["nothing"]), "id") == ([], 1)


def test_a_step_searches_one_window() -> None:
    value = raw(["x" * (3 * WINDOW_BYTES), {"id": "far"}])
    found, steps = searched(value, "id")
    assert ([text_behind(value, one) for one in found], steps) == (["far"], 4)


def test_only_so_many_are_looked_at() -> None:
    assert len(searched(raw([{"id": "x"}] * 1000), "id")[0]) == MAX_FOUND


def test_a_text_without_end_in_reach_is_none() -> None:
    value = raw([{"id": "x" * MAX_TEXT_BYTES}])
    assert text_behind(value, searched(value, "id")[0][0]) is None


def test_a_small_object_is_returned_whole() -> None:
    value = raw([{"type": "other"}, {"type": "item_reference", "id": "msg_1"}])
    assert object_around(value, searched(value, "item_reference")[0][0]) == b'{"type": "item_reference", "id": "msg_1"}'
    value = raw([{"a": "x" * AROUND_BYTES, "type": "item_reference", "b": "x" * AROUND_BYTES}])
    assert object_around(value, searched(value, "item_reference")[0][0]) is None
