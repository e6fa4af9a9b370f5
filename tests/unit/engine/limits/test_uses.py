"""What a request has used, by how it ended."""

from __future__ import annotations

import pytest

from gateway.adapters.events import Event
from gateway.engine.limits.estimate import Estimate
from gateway.engine.limits.uses import UNUSED, TextCount, tokens_used, was_called
from gateway.operations import CHAT
from gateway.policy.failures import Kind
from gateway.telemetry.report import Attempt, CallReport
from tests.compiling import step

EXPECTED = Estimate(100, 50)


def attempt(kind: Kind | None, **more: int) -> Attempt:
    row = Attempt("up/a", "up/a", kind, None, 1.0)
    for name, value in more.items():
        setattr(row, name, value)
    return row


def test_an_answer_is_settled_by_its_usage() -> None:
    report = CallReport(attempts=[attempt(None)], tokens={"prompt": 30, "completion": 12, "cached": 20})
    assert tokens_used(report, EXPECTED, answered=True) == (30, 12, 20)


def test_an_answer_without_usage_by_its_input_and_text() -> None:
    report = CallReport(attempts=[attempt(None)])
    assert tokens_used(report, EXPECTED, answered=True, text_bytes=41) == (100, 10, 0)


@pytest.mark.parametrize("kind", Kind)
def test_a_failure_uses_nothing_or_its_input(kind: Kind) -> None:
    report = CallReport(attempts=[attempt(Kind.SERVER_ERROR), attempt(kind)])
    used = tokens_used(report, EXPECTED, answered=False)
    assert used == ((0, 0, 0) if kind in UNUSED else (100, 0, 0))
    assert (kind in UNUSED) is (kind not in {Kind.TIMEOUT, Kind.BAD_RESPONSE, Kind.CONTENT_FILTER})


def test_a_failure_after_content_uses_what_came() -> None:
    report = CallReport(attempts=[attempt(Kind.OVERLOADED, content_bytes=80), attempt(Kind.SERVER_ERROR)])
    assert tokens_used(report, EXPECTED, answered=False) == (100, 20, 0)


def test_what_was_told_counts_where_it_is_more() -> None:
    report = CallReport(attempts=[attempt(Kind.BAD_RESPONSE)], tokens={"prompt": 130, "completion": 1})
    assert tokens_used(report, EXPECTED, answered=True, whole=False, text_bytes=40) == (130, 1, 0)
    assert tokens_used(report, EXPECTED, answered=True, whole=False, text_bytes=400) == (100, 100, 0)


def test_a_call_that_was_left_uses_its_input_and_what_came_or_was_told() -> None:
    target = step("models: {fast: mock/echo}\n").target
    report = CallReport(calling=target, closed_bytes=44)
    assert was_called(report)
    assert tokens_used(report, EXPECTED, answered=False) == (100, 11, 0)
    report.closed_tokens = {"prompt": 120}
    assert tokens_used(report, EXPECTED, answered=False) == (120, 0, 0)


def test_nobody_was_called_where_all_were_passed_over() -> None:
    assert not was_called(CallReport(attempts=[Attempt("up/a", "up/a", "cooldown", None, 0.0)]))


def test_text_is_counted_in_events_and_in_runs_of_them() -> None:
    chunk = 'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
    text = TextCount(CHAT)
    assert text.bytes == 0
    text.add(
        [Event({"choices": [{"index": 0, "delta": {"content": "äh"}, "finish_reason": None}]}), Event(None, b": c")]
    )
    assert text.bytes == 3
    text.add([Event(None, (chunk % "word " * 10).encode(), is_run=True)])
    text.add([Event(None, (chunk % "more" * 4).encode(), is_run=True)])
    assert text.bytes == 3 + 50 + 16
