"""fitting: the same answer as jsonschema, for every value."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.config.model.read import schema
from gateway.config.model.schema_check import fitting
from gateway.config.model.schema_faults import inline
from gateway.wire.json import Json
from tests.paths import CASES
from tests.schemas import offered

WHOLE: Final = schema()
FILE: Final = inline(WHOLE, WHOLE)
VALIDATOR: Final = Draft202012Validator(FILE)
FITS: Final = fitting(FILE)
EXAMPLE: Final[Any] = copy.deepcopy(offered(WHOLE)[0])
EXAMPLE["defaults"] |= {
    "retry_on": ["timeout", "auth"],
    "stream": {"hold": "full", "max_bytes": 9, "keepalive": "15s"},
    "params": {"a": [1]},
}
EXAMPLE["providers"]["drill"] = {"kind": "mock", "script": [{"status": 503, "retry_after": 0, "delay": "1s", "cut": 1}]}
EXAMPLE["models"]["fast"]["chain"][1]["timeout"] = {"connect": 1, "total": "3m"}


def read(path: Path) -> Json:
    try:
        return yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        return None


@pytest.mark.parametrize("path", sorted(CASES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_of_a_file_it_says_what_jsonschema_says(path: Path) -> None:
    value = read(path)
    assert FITS(value) == VALIDATOR.is_valid(value)


def test_the_example_fits() -> None:
    assert FITS(EXAMPLE)


def places(value: Json, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where, *(place for key, inner in inside for place in places(inner, (*where, key)))]


ODD: Final[list[Json]] = [
    None, True, False, 0, 1, 1.0, 1.5, -1, 101, 10**10, math.inf, math.nan, "", " ", "x", "x/y", "x\n", "a b", "10s",
    "0s", "1", "full", "auth", "${N}", "${N:-1}", "$", "é", [], {}, [1, 1], ["auth", "auth"], ["auth", 1, True],
    [True, 1],
    {"alias": "x"}, {"alias": "x", "retries": 1}, {"target": "x/y"}, {"": 1}, {"x-a": 1}, {"path": "a.b"}, ["x/y"],
    {"chain": []}, {"chain": ["x/y"]}, {"kind": "mock"}, {"total": "1s"}, {"total": 0}, {"failures": 0},
]  # fmt: skip


@given(st.data())
def test_of_a_value_that_was_tampered_with_it_says_what_jsonschema_says(data: st.DataObject) -> None:
    value = copy.deepcopy(EXAMPLE)
    for _ in range(data.draw(st.integers(1, 2))):
        where = data.draw(st.sampled_from(places(value)))
        odd = copy.deepcopy(data.draw(st.sampled_from(ODD)))
        if not where:
            value = odd
            continue
        inside = value
        for key in where[:-1]:
            inside = inside[key]
        if data.draw(st.booleans()) or not isinstance(inside, dict):
            inside[where[-1]] = odd
        else:
            inside[data.draw(st.sampled_from(["x", "x-y", "a b", "timeout", "params", "chain"]))] = odd
    assert FITS(value) == VALIDATOR.is_valid(value)


@pytest.mark.parametrize(
    "rule", [{"oneOf": []}, {"type": "string", "format": "uri"}, {"enum": [1]}, {"items": {"a": 1}}]
)
def test_a_keyword_that_is_not_known_is_an_error(rule: Json) -> None:
    with pytest.raises(ValueError, match="here"):
        fitting(rule)


def test_a_list_of_mappings_or_lists_is_left_to_jsonschema() -> None:
    unique = fitting({"uniqueItems": True})
    values: list[Json] = [["a", 1], ["a", "a"], [1, True], [{}], 5]
    assert [unique(value) for value in values] == [True, False, True, False, True]
    assert fitting({"uniqueItems": False})(["a", "a"])
