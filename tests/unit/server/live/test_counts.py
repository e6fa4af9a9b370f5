"""Counters in slots of ten seconds."""

from __future__ import annotations

import pytest

from gateway.policy.failures import Kind
from gateway.policy.target import Target
from gateway.server.live import counts
from gateway.server.live.counts import MAX_TIMES, SLOT_S, SLOTS, LiveCounts, TargetCounts
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.report import Attempt, CallReport
from tests.compiling import table

TABLE = table("models:\n  fast: [mock/a, mock/b]\n")
A, B = TABLE.targets


def ended(
    *attempts: tuple[Target, str | None, float],
    at: float,
    status: int = 200,
    error: str | None = None,
    first_content_s: float | None = None,
) -> EndedRow:
    """Return a request that ended: its attempts as (target, kind, milliseconds)."""
    made = [
        Attempt(target.name, target.label, None if kind is None else Kind(kind), None, ms)
        for target, kind, ms in attempts
    ]
    answered = next((target for target, kind, _ in attempts if kind is None), None)
    report = CallReport(alias="fast", attempts=made, target=answered, first_content_s=first_content_s)
    return report, "chat", status, first_content_s is not None, None, error, None, 0.1, at


def test_the_last_minute_and_the_last_quarter_of_an_hour_are_counted_apart() -> None:
    live = LiveCounts()
    for second in (0, 30, 100, 101):
        live.hear([ended((A, None, 10.0), at=second)])
    assert live.targets(109)["mock/a"].calls == 2
    assert live.targets(159)["mock/a"].calls == 2
    assert live.targets(160) == {}
    assert live.aliases(160)["fast"].requests == 4
    assert live.aliases(SLOT_S * (SLOTS + 2))["fast"].requests == 3
    assert live.aliases(10_000) == {}


def test_failures_count_by_target_and_an_answer_after_one_is_a_fallback() -> None:
    live = LiveCounts()
    live.hear([ended((A, "overloaded", 5.0), (B, None, 10.0), at=1), ended((A, "timeout", 5.0), at=2, status=504)])
    live.hear([ended((A, "bad_request", 5.0), at=3, status=400)])
    found = live.targets(5)
    assert (found["mock/a"].calls, found["mock/a"].failed) == (3, 2)
    assert (found["mock/b"].calls, found["mock/b"].failed) == (1, 0)
    assert (live.aliases(5)["fast"].requests, live.aliases(5)["fast"].fell) == (3, 1)
    assert live.failures["mock/a"] == ("timeout", None, 2)


def test_a_broken_stream_is_one_failure_of_its_target_and_a_hook_s_fault_is_none() -> None:
    live = LiveCounts()
    live.hear([ended((A, "connection", 5.0), at=1, status=502, error="stream_broken", first_content_s=0.1)])
    assert (live.targets(1)["mock/a"].calls, live.targets(1)["mock/a"].failed) == (1, 1)
    assert live.failures["mock/a"].kind == "connection"
    live.hear([ended((B, None, 5.0), at=1, status=500, error="hook_failed", first_content_s=0.1)])
    assert (live.targets(1)["mock/b"].calls, live.targets(1)["mock/b"].failed) == (1, 0)


def test_what_was_passed_over_or_closed_is_no_call() -> None:
    live = LiveCounts()
    row = ended((B, None, 5.0), at=1)
    row[0].attempts.insert(0, Attempt(A.name, A.label, "condition", None, 0.0))
    row[0].attempts.append(Attempt(A.name, A.label, "hedged_out", None, 3.0))
    live.hear([row])
    assert list(live.targets(1)) == ["mock/b"]
    assert live.aliases(1)["fast"].fell == 0


@pytest.mark.parametrize(("share", "ms"), [(0.5, 500.0), (0.95, 950.0), (1.0, 1000.0)])
def test_percentiles_are_right_to_a_tenth_also_of_a_sample(share: float, ms: float) -> None:
    live = LiveCounts()
    for time_ms in range(1, 1001):
        live.hear([ended((A, None, float(time_ms)), at=1)])
    assert MAX_TIMES < 1000
    found = live.targets(1)["mock/a"].percentile_ms(share)
    assert found is not None
    assert ms * 0.95 <= found <= ms * 1.15
    assert TargetCounts().percentile_ms(share) is None


def test_counts_of_several_processes_can_be_added() -> None:
    one, other = LiveCounts(), LiveCounts()
    one.hear([ended((A, None, 10.0), at=1)])
    other.hear([ended((A, None, 1000.0), (A, "timeout", 1.0), at=1)])
    whole = one.targets(1)["mock/a"]
    whole.add(other.targets(1)["mock/a"])
    assert (whole.calls, whole.failed, whole.times.total()) == (3, 1, 2)


def test_remembered_failures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MAX_FAILURES", 1)
    live = LiveCounts()
    for target in (A, B):
        live.hear([ended((target, "timeout", 1.0), at=1, status=504)])
    assert list(live.failures) == ["mock/b"]
