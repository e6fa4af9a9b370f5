"""Which requests have a line: all replicas agree on a share, and what went wrong is never left out of it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from gateway.policy.failures import Kind
from gateway.telemetry.access_log import ALL, NOTEWORTHY, OFF, SLOW_S, AccessLog, is_noteworthy
from gateway.telemetry.ids import is_in_share
from gateway.telemetry.logs import left_out_requests, log_ended
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.report import Attempt, CallReport
from tests.log_lines import logging_to


def row(
    *kinds: Any,
    request_id: str = "req_1",
    operation: str = "chat",
    status: int = 200,
    error: str | None = None,
    seconds: float = 0.01,
    first_content_s: float | None = None,
) -> EndedRow:
    report = CallReport(request_id=request_id, attempts=[Attempt("a/b", "a/b", kind, None, 1.0) for kind in kinds])
    report.first_content_s = first_content_s
    return report, operation, status, first_content_s is not None, None, error, None, seconds, 0.0


@pytest.mark.parametrize(
    ("one", "noteworthy"),
    [
        (row(None), False),
        (row(), False),
        (row("condition", None), False),
        (row("unsupported", "bound", None), False),
        (row("hedged_out", None), False),
        (row(None, seconds=60.0, first_content_s=0.5), False),
        (row(None, seconds=SLOW_S), False),
        (row(None, status=404), True),
        (row(None, status=499), True),
        (row(status=503), True),
        (row(None, error="upstream_failed", first_content_s=0.5), True),
        (row(Kind.OVERLOADED, None), True),
        (row("cooldown", None), True),
        (row(None, seconds=SLOW_S + 0.1), True),
        (row(None, seconds=60.0, first_content_s=SLOW_S + 0.1), True),
    ],
)
def test_what_failed_broke_off_fell_over_or_was_slow_is_noteworthy(one: EndedRow, *, noteworthy: bool) -> None:
    assert is_noteworthy(one) is noteworthy
    assert NOTEWORTHY.has(one) is noteworthy
    assert ALL.has(one)
    assert not OFF.has(one)


def test_a_share_is_of_request_ids_and_the_same_everywhere() -> None:
    ids = [f"req_{number}" for number in range(20_000)]
    chosen = [one for one in ids if is_in_share(one, 0.05)]
    assert abs(len(chosen) - 1000) < 4 * (20_000 * 0.05 * 0.95) ** 0.5
    assert chosen[:5] == ["req_12", "req_19", "req_33", "req_45", "req_49"], "another version decides otherwise"
    assert {*chosen} <= {one for one in ids if is_in_share(one, 0.1)}
    assert all(is_in_share(one, 1.0) for one in ids)
    assert not any(is_in_share(one, 0.0) for one in ids)


@pytest.mark.parametrize(
    ("access", "logged"),
    [(ALL, 200), (NOTEWORTHY, 1), (OFF, 0), (AccessLog(0.2, has_noteworthy=True), None)],
)
def test_those_without_a_line_are_counted(access: AccessLog, logged: int | None) -> None:
    ids = [f"req_{number}" for number in range(199)]
    rows = [row(None, request_id=one) for one in ids] + [row(Kind.TIMEOUT, status=504, request_id="failed")]
    wanted = [one for one in ids if is_in_share(one, 0.2)] + ["failed"]
    stream = io.StringIO()
    with logging_to(stream, access=access):
        log_ended(rows)
        log_ended([row(None, operation="probe")])
        left_out = left_out_requests()
    found = [json.loads(line)["request_id"] for line in stream.getvalue().splitlines()]
    assert len(found) == (len(wanted) if logged is None else logged)
    if logged is None:
        assert found == wanted
    assert left_out == 200 - len(found), "of a probe that went well nobody expects a line"


def test_a_level_above_info_leaves_nothing_out_that_could_be_counted() -> None:
    stream = io.StringIO()
    with logging_to(stream, "warning", access=OFF):
        log_ended([row(None)])
        assert left_out_requests() == 0
    assert stream.getvalue() == ""
