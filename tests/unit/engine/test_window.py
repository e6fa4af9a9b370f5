"""The sliding window of a target's requests, and when they are enough for a rest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.window import SLOTS, Counts, PassedLimit, Window
from gateway.policy.target import Cooldown, Limits

LIMITS = Limits(connect_s=5, first_token_s=10, idle_s=20, total_s=30)
WITHIN_S = 30.0


def answer(window: Window, now_s: float) -> None:
    if now_s >= window.slot.end_s:
        window.turn(now_s, WITHIN_S)
    window.slot.answers += 1


def counts(window: Window, now_s: float) -> Counts:
    return window.counts(now_s=now_s, within_s=WITHIN_S)


def test_requests_leave_the_window() -> None:
    window = Window()
    for at in (0.0, 10.0, 20.0):
        window.fail(None, now_s=at, within_s=WITHIN_S)
    assert [counts(window, at).failures for at in (20.0, 29.9, 30.0, 40.0, 50.0)] == [3, 3, 2, 1, 0]


@given(
    times=st.lists(st.floats(0, 200), max_size=50).map(sorted),
    fails=st.lists(st.booleans(), min_size=50, max_size=50),
)
@settings(deadline=None)
def test_a_count_is_that_of_the_window_to_a_slot(times: Sequence[float], fails: Sequence[bool]) -> None:
    window = Window()
    for at, failed in zip(times, fails, strict=False):
        if failed:
            window.fail(None, now_s=at, within_s=WITHIN_S)
        else:
            answer(window, at)
    now_s = times[-1] if times else 0.0
    found = counts(window, now_s)
    seen = list(zip(times, fails, strict=False))
    slot_s = WITHIN_S / SLOTS
    most = sum(failed for at, failed in seen if at > now_s - WITHIN_S)
    least = sum(failed for at, failed in seen if at > now_s - WITHIN_S + slot_s)
    assert least <= found.failures <= most
    assert found.requests <= sum(at > now_s - WITHIN_S for at, _ in seen)
    assert len(window._slots) <= SLOTS + 2


@pytest.mark.parametrize(
    ("failures", "requests", "share", "expected"),
    [
        (2, 2, 0.5, False),
        (3, 3, 0.5, True),
        (3, 6, 0.5, True),
        (3, 7, 0.5, False),
        (3, 7, 0.0, True),
        (9, 10, 1.0, False),
        (10, 10, 1.0, True),
    ],
)
def test_a_rest_takes_enough_failures_and_a_share(failures: int, requests: int, share: float, expected: bool) -> None:
    assert Counts(requests, failures, {}).reach(Cooldown(failures=3, share=share), LIMITS) is expected


@pytest.mark.parametrize(
    ("name", "seconds", "expected"),
    [
        ("total_s", 30.0, True),
        ("total_s", 31.0, True),
        ("total_s", 29.0, False),
        ("first_token_s", 0.3, False),
        ("connect_s", 5.0, True),
        ("idle_s", 20.0, True),
        ("stream_total_s", 600.0, False),
    ],
)
def test_a_passed_limit_counts_for_steps_whose_own_is_no_longer(name: str, seconds: float, expected: bool) -> None:
    passed = PassedLimit(name, seconds)  # type: ignore[arg-type]  # any of the names
    assert passed.counts_for(LIMITS) is expected
    assert Counts(3, 0, {passed: 3}).reach(Cooldown(), LIMITS) is expected


def test_timeouts_and_other_failures_count_together() -> None:
    window = Window()
    window.fail(None, now_s=1.0, within_s=WITHIN_S)
    window.fail(PassedLimit("total_s", 30.0), now_s=1.0, within_s=WITHIN_S)
    window.fail(PassedLimit("total_s", 5.0), now_s=1.0, within_s=WITHIN_S)
    found = counts(window, 2.0)
    assert (found.requests, found.failures) == (3, 1)
    assert found.reach(Cooldown(failures=2), LIMITS)
    assert not found.reach(Cooldown(failures=3), LIMITS)


def test_a_shifted_copy_is_independent() -> None:
    window = Window()
    window.fail(None, now_s=100.0, within_s=WITHIN_S)
    copy = window.shifted(-100.0)
    copy.fail(None, now_s=0.0, within_s=WITHIN_S)
    assert (counts(copy, 1.0).failures, counts(window, 101.0).failures) == (2, 1)
    assert counts(Window().shifted(5.0), 5.0).requests == 0
