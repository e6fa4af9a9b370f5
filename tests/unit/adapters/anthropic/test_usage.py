"""Token counts both ways."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapters.anthropic.usage import chat_usage, messages_usage
from gateway.wire.json import Json, JsonObject


def test_chat_s_prompt_includes_what_was_cached() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    assert chat_usage(usage) == {
        "prompt_tokens": 130,
        "completion_tokens": 7,
        "total_tokens": 137,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


@pytest.mark.parametrize("usage", [{}, {"input_tokens": None}, {"input_tokens": "9"}, {"output_tokens": -1}])
def test_no_counts_are_none(usage: JsonObject) -> None:
    assert chat_usage(usage) is None


def test_messages_input_leaves_out_what_was_cached() -> None:
    usage = {
        "prompt_tokens": 130,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert messages_usage(usage) == {
        "input_tokens": 10,
        "output_tokens": 7,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 3},
    }


def test_reasoning_that_is_told_beside_the_completion_is_output() -> None:
    """It is in the output of Messages, and xAI's total has it."""
    usage = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 30}
    assert messages_usage(usage) == {"input_tokens": 10, "output_tokens": 20}


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (0, 0)),
        ({"prompt_tokens": 5}, (5, 0)),
        ({"prompt_tokens": True, "completion_tokens": 2**60}, (0, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, (0, 0)),
        ({"prompt_tokens": 5, "prompt_cache_hit_tokens": 4}, (1, 0)),
    ],
)
def test_odd_counts_are_ignored(usage: Json, counts: tuple[int, int]) -> None:
    found = messages_usage(usage)
    assert (found["input_tokens"], found["output_tokens"]) == counts


_COUNT = st.integers(min_value=0, max_value=10**9)


@settings(deadline=None)
@given(_COUNT, _COUNT, _COUNT, _COUNT)
def test_counts_come_back_as_they_were(given_: int, read: int, written: int, output: int) -> None:
    usage = {"input_tokens": given_, "output_tokens": output}
    usage |= {"cache_read_input_tokens": read} if read else {}
    usage |= {"cache_creation_input_tokens": written} if written else {}
    assert messages_usage(chat_usage(usage)) == usage
