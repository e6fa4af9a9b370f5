"""Buckets of days and months: their borders, and settling across them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.engine.limits import windows
from gateway.policy.limits import Window


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("per", "now", "begin", "end"),
    [
        ("day", "2026-11-30T00:00:00", "2026-11-30", "2026-12-01"),
        ("day", "2026-11-30T23:59:59.999", "2026-11-30", "2026-12-01"),
        ("day", "2028-02-29T12:00:00", "2028-02-29", "2028-03-01"),
        ("month", "2026-11-30T23:59:59", "2026-11-01", "2026-12-01"),
        ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-01T00:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_windows_are_the_calendar_s_in_utc(per: Window, now: str, begin: str, end: str) -> None:
    assert windows.window(per, at(now)) == (at(begin), at(end))


def test_what_does_not_fit_waits_for_midnight() -> None:
    begin, end = windows.current(0.0, 0.0, "day", at("2026-11-30T18:00"))
    left_s = end - at("2026-11-30T18:00")
    assert windows.wait_s(90, 10, 100, left_s) == 0
    assert windows.wait_s(90, 11, 100, left_s) == 6 * 3600
    assert windows.current(begin, end, "day", at("2026-11-30T23:59:59")) == (begin, end)
    assert windows.current(begin, end, "day", at("2026-12-01")) == (end, end + windows.DAY_S)


def test_a_clock_that_goes_back_a_little_opens_no_second_window_of_a_day() -> None:
    reached = windows.window("day", at("2026-12-01"))
    assert windows.current(*reached, "day", at("2026-11-30T23:59:58")) == reached
    assert windows.current(*reached, "day", at("2026-11-30T20:00")) != reached, "it was wrong by hours"
