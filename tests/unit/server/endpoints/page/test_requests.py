"""A request's row: its attempts one below the other, each behind its bar."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.server.endpoints.page.requests import outcome, request_row

HEADS = ("Time", "Alias", "Status", "n:ms", "n:First content", "n:Tokens", "Client", "sw:Attempts")


def attempt(target: str, kind: str | None = None, *, start_ms: float = 0.0, ms: float = 10.0, **more: Any) -> Any:
    return {
        "target": target, "kind": kind, "status": None, "start_ms": start_ms, "ms": ms,
        "called": kind not in {"cooldown", "condition"}, **more,
    }  # fmt: skip


def request(*attempts: Any, number: int = 1, ms: float = 100.0, **more: Any) -> Any:
    return {
        "n": number, "at": "2026-11-30T12:00:00.000Z", "ended_at": f"{number}", "request_id": f"req-{number}",
        "operation": "chat", "alias": "fast", "status": 200, "ms": ms, "first_content_ms": None, "broken": False,
        "client": None, "error": None, "tokens": None, "attempts": list(attempts), **more,
    }  # fmt: skip


def bars(row: str) -> list[tuple[str, float, float]]:
    """Return tone, begin and width of each call's bar, of 120."""
    found = re.findall(r'<rect class="(ok|failed|closed)" x="([\d.]+)" width="([\d.]+)"', row)
    return [(tone, float(x), float(width)) for tone, x, width in found]


def test_each_call_has_its_bar_over_the_request_s_time_and_what_was_passed_over_none() -> None:
    row = request_row(
        HEADS,
        request(
            attempt("up/a", "overloaded", ms=25.0, status=503),
            attempt("up/b", "cooldown", ms=0.0),
            attempt("up/c", start_ms=50.0, ms=50.0),
            number=1,
        ),
    )
    assert bars(row) == [("failed", 0.0, 30.0), ("ok", 60.0, 60.0)]
    assert row.count("<li>") == 3
    assert re.findall(r"up/\w+ <span[^>]*>([^<]*)", row) == ["overloaded 503", "passed over: cooldown", "✓"]


def test_one_call_alone_has_no_bar() -> None:
    row = request_row(HEADS, request(attempt("up/a"), number=2))
    assert "<svg" not in row
    assert "up/a" in row


def test_a_hedge_is_named_and_the_call_that_it_closed_is_no_failure() -> None:
    row = request_row(
        HEADS,
        request(
            attempt("up/slow", "hedged_out", ms=100.0), attempt("up/b", start_ms=60.0, ms=40.0, hedge=True), number=3
        ),
    )
    assert bars(row) == [("closed", 0.0, 120.0), ("ok", 72.0, 48.0)]
    assert "as a hedge" in row


def test_of_very_many_attempts_the_first_and_the_last_are_listed() -> None:
    attempts = [attempt(f"up/m{number}", "timeout", start_ms=float(number)) for number in range(40)]
    row = request_row(HEADS, request(*attempts, number=4, status=504, error="upstream_failed"))
    assert re.findall(r"up/m(\d+)", row) == [*map(str, range(6)), *map(str, range(34, 40))]
    assert "… and 28 more …" in row


def test_a_call_that_the_client_left_is_named() -> None:
    row = request_row(HEADS, request(attempt("up/a", "timeout"), number=5, status=499, error="gone", calling="up/<b>"))
    assert 'up/&lt;b&gt; <span class="warn">left while it was called</span>' in row


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (request(attempt("a")), "ok"),
        (request(attempt("a", "condition"), attempt("b")), "ok"),
        (request(attempt("a", "cooldown"), attempt("b")), "fell"),
        (request(attempt("a", "timeout"), attempt("a")), "fell"),
        (request(attempt("a"), broken=True), "failed"),
        (request(status=404, error="model_not_found"), "failed"),
    ],
)
def test_outcomes_are_what_the_filter_offers(made: Any, expected: str) -> None:
    assert outcome(made) == expected
