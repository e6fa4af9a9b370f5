"""Why an answer ended, both ways."""

from __future__ import annotations

import pytest

from gateway.adapters.anthropic.stops import finish_reason, stop_reason
from gateway.policy.failures import Kind, UpstreamError
from gateway.wire.json import Json


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "length"),
        ("model_context_window_exceeded", "length"),
        ("of_tomorrow", "stop"),
        (None, None),
        ("", None),
    ],
)
def test_each_stop_reason_has_a_finish_reason(stop: Json, finish: str | None) -> None:
    assert finish_reason(stop) == finish


@pytest.mark.parametrize(
    ("finish", "stop"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
        ("eos", "end_turn"),
    ],
)
def test_each_finish_reason_has_a_stop_reason(finish: Json, stop: str) -> None:
    assert stop_reason(finish) == stop


@pytest.mark.parametrize("reason", ["error", "abort", "network_error"])
def test_the_reason_of_a_failed_answer_is_a_failure_both_ways(reason: str) -> None:
    for read in (finish_reason, stop_reason):
        with pytest.raises(UpstreamError) as raised:
            read(reason)
        assert raised.value.kind is Kind.BAD_RESPONSE
