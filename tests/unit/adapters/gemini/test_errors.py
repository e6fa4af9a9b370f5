"""Errors for clients of OpenAI's wire."""

from __future__ import annotations

import json

import pytest

from gateway.adapters.gemini.errors import failed_by, openai_error
from gateway.policy.failures import Kind
from gateway.wire.json import JsonObject


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": 400, "message": "x", "status": "INVALID_ARGUMENT"}, "INVALID_ARGUMENT"),
        ({"code": 400, "message": "x"}, 400),
        ({"code": "odd", "status": "INVALID_ARGUMENT"}, "odd"),
        ({"status": 7, "code": 400}, 400),
    ],
)
def test_the_code_is_gemini_s_word(error: JsonObject, code: object) -> None:
    assert openai_error(error)["code"] == code


def test_a_failure_inside_a_good_response_has_the_kind_of_its_status() -> None:
    failure = failed_by({"code": 503, "message": "try later", "status": "UNAVAILABLE"})
    assert (failure.kind, failure.status, failure.code) == (Kind.OVERLOADED, 200, "UNAVAILABLE")
    assert json.loads(failure.body or b"")["error"] == {
        "message": "try later", "type": None, "param": None, "code": "UNAVAILABLE",
    }  # fmt: skip
