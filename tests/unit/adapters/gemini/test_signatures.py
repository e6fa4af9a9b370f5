"""Ids that carry signatures, and bodies without them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.gemini.signatures import (
    PLACEHOLDER,
    may_be_signed,
    plain_id,
    signature_of,
    signed_id,
    without_signatures,
)
from gateway.wire.json import JsonObject, Spliced


@given(st.binary(min_size=1, max_size=40))
def test_a_signature_comes_back_from_its_id(signature: bytes) -> None:
    told = base64.b64encode(signature).decode()
    call_id = signed_id("call_1", told)
    assert signature_of({"id": call_id}) == told
    assert plain_id(call_id) == "call_1"
    assert set(call_id) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert without_signatures(f'{{"id":"{call_id}"}}'.encode()) == b'{"id":"call_1"}'


def test_the_placeholder_is_google_s() -> None:
    assert base64.b64decode(PLACEHOLDER) == b"skip_thought_signature_validator"


@pytest.mark.parametrize("signature", ["", None, 7])
def test_an_id_without_a_signature_stays(signature: object) -> None:
    assert signed_id("call_1", signature) == "call_1"


@pytest.mark.parametrize(
    "call", [{}, {"id": 7}, {"id": "call_1"}, {"id": "call_1__thought__"}, {"id": "a", "function": 7}]
)
def test_a_call_may_have_none(call: JsonObject) -> None:
    assert signature_of(call) is None


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id":"call_1__thought__a-b_c","x":"call_1__thought__a+b/c=="}', b'{"id":"call_1","x":"call_1"}'),
        (rb'{"id":"call_1__thought__a\/b="}', b'{"id":"call_1"}'),
        (b'{"text":"it says call_1__thought__abc"}', b'{"text":"it says call_1__thought__abc"}'),
        (b'{"text":"__thought__"}', b'{"text":"__thought__"}'),
        (b'{"text":"a__thought__b c"}', b'{"text":"a__thought__b c"}'),
    ],
)
def test_only_ids_are_shortened(body: bytes, found: bytes) -> None:
    assert may_be_signed(body)
    assert without_signatures(body) == found


def test_a_body_in_parts_is_searched() -> None:
    assert may_be_signed(Spliced([b'{"a":', b'"x__thought__y"}']))
    assert not may_be_signed(Spliced([b'{"a":', b'"x"}']))
    assert not may_be_signed(b'{"a": "x"}')
