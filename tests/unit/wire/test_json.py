"""JSON that orjson refuses and people send all the same."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.json import canonical_json, decode_json, encode_json

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert decode_json(encode_json(value)) == value
    assert json.loads(encode_json(value)) == value


def test_half_a_surrogate_pair_goes_in_and_out() -> None:
    assert decode_json(b'{"a":"x\\ud83d"}') == {"a": "x\ud83d"}
    assert encode_json({"a": "x\ud83d"}) == b'{"a":"x\\ud83d"}'


def test_nan_is_read_and_written_as_null() -> None:
    assert decode_json(b'{"a":NaN}')["a"] != decode_json(b'{"a":NaN}')["a"]
    assert encode_json({"a": float("nan")}) == b'{"a":null}'


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999"])
def test_numbers_that_would_go_out_as_null_are_refused_on_demand(number: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_json(number, finite=True)


GREAT = (2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30, -(10**300), 10**400)
AROUND = {
    "alone": "{}",
    "in an object": '{{"seed":{},"a":"b"}}',
    "in a list": "[1.5,{}]",
    "deep within": '{{"a":[{{"b":[0, {} ]}}]}}',
    "among other digits": '{{"a":"12345678901234567890","b":0.12345678901234567890,"c":{}}}',
    "after a long text": '{{"t":"' + "x" * 70_000 + '","n":{}}}',
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("number", GREAT)
def test_an_integer_of_any_size_goes_in_and_out_where_that_is_wanted(number: int, around: str) -> None:
    data = around.format(number).encode()
    value = decode_json(data, finite=True, exact=True)
    assert value == json.loads(data)
    assert str(number) in encode_json(value).decode()


@given(st.integers(-(2**80), 2**80), st.integers(0, 40), st.text(alphabet="0123456789 .,x"))
def test_where_an_integer_stands_makes_no_difference(number: int, before: int, text: str) -> None:
    data = json.dumps({"t": text, "p" * before: [text, number]}).encode()
    assert decode_json(data, exact=True) == json.loads(data)


@pytest.mark.parametrize("data", [b"1e30", b'{"a":"12345678901234567890"}', b"[0.12345678901234567890, 1e300]"])
def test_what_looks_like_a_great_integer_is_what_it_was(data: bytes) -> None:
    assert decode_json(data, exact=True) == orjson.loads(data)


def test_great_integers_below_more_nesting_than_python_takes_are_doubles() -> None:
    data = b"[" * 1000 + b"18446744073709551616" + b"]" * 1000
    value = decode_json(data, exact=True)
    while isinstance(value, list):
        (value,) = value
    assert value == 2.0**64


def test_deep_nesting_within_reason_goes_out() -> None:
    value: Any = []
    for _ in range(400):
        value = [value]
    assert decode_json(encode_json(value)) == value


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"nope"])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_json(data)


def test_what_json_cannot_hold_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        encode_json({"a": {1, 2}})


def test_frozen_mappings_are_objects() -> None:
    assert encode_json(MappingProxyType({"a": 1})) == b'{"a":1}'


def test_the_canonical_form_does_not_depend_on_the_order_of_fields() -> None:
    assert canonical_json({"b": [1, {"d": 2, "c": "\u00e4"}], "a": None}) == canonical_json(
        {"a": None, "b": [1, {"c": "\u00e4", "d": 2}]}
    )
    great, half = {"b": 10**30, "a": 1}, {"b": "\ud83d", "a": 1}
    assert canonical_json(great) == b'{"a":1,"b":1000000000000000000000000000000}'
    assert canonical_json(half) == canonical_json(dict(reversed(half.items())))
    assert len({canonical_json(value) for value in (1, 1.0, True, "1", None, [1])}) == 6
    assert canonical_json(MappingProxyType({"a": MappingProxyType({})})) == b'{"a":{}}'


def test_what_json_cannot_hold_has_no_canonical_form() -> None:
    for value in ({"a": object()}, {1: 2, "a": 3}, {"a": {1, 2}}):
        with pytest.raises(TypeError):
            canonical_json(value)
