"""Token counts of upstreams: what is valid, and what only their total tells."""

from __future__ import annotations

import pytest

from gateway.adapters.counts import token_counts, with_total
from gateway.wire.json import Json, JsonObject


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 0}, {"prompt": 1, "completion": 0}),
        ({}, {}),
        ({"prompt_tokens": -1, "completion_tokens": True}, {}),
        ({"prompt_tokens": "9", "completion_tokens": 2**60}, {}),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}},
            {"prompt": 9, "completion": 2, "cached": 8},
        ),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0}}, {"prompt": 9}),
        ({"prompt_tokens": 9, "prompt_tokens_details": "x"}, {"prompt": 9}),
    ],
)
def test_token_counts_of_an_upstream_are_checked(usage: JsonObject, counts: JsonObject) -> None:
    assert token_counts(usage) == counts


XAI = {
    "prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428,
    "completion_tokens_details": {"reasoning_tokens": 2809},
}  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (XAI, {"prompt": 10120, "completion": 4308}),
        ({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}, {"prompt": 7, "completion": 5}),
        ({"prompt_tokens": 7, "total_tokens": 12}, {"prompt": 7, "completion": 5}),
        ({"prompt_tokens": 7, "completion_tokens": None, "total_tokens": 12}, {"prompt": 7, "completion": 5}),
        ({"completion_tokens": 5, "total_tokens": 12}, {"prompt": 7, "completion": 5}),
        ({"prompt_tokens": 0, "completion_tokens": 5, "total_tokens": 12}, {"prompt": 7, "completion": 5}),
        ({"total_tokens": 50}, {"total": 50}),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 50}, {"prompt": 0, "completion": 0, "total": 50}),
    ],
)
def test_what_only_the_total_tells_is_the_output_or_else_the_input(usage: JsonObject, counts: JsonObject) -> None:
    assert token_counts(usage) == counts


@pytest.mark.parametrize("total", [None, -1, 0, 11, "50", 50.0, True, [50], {"a": 1}, 2**53, 10**400])
def test_a_total_that_cannot_be_is_left_out(total: Json) -> None:
    both = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": total}
    assert token_counts(both) == {"prompt": 7, "completion": 5}
    assert with_total({"prompt": 7}, total) == ({"prompt": 7, "completion": 4} if total == 11 else {"prompt": 7})


def test_where_no_model_writes_text_the_total_tells_nothing() -> None:
    assert token_counts({"prompt_tokens": 7, "total_tokens": 12}, is_text=False) == {"prompt": 7}
