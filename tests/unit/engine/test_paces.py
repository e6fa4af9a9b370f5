"""The decaying peak average of the time to first content."""

from __future__ import annotations

import pytest

from gateway.engine.paces import HALF_LIFE_S, NEW_S, Pace, expected_s, with_time


def test_the_first_time_is_the_average() -> None:
    assert with_time(None, 0.4, now_s=5.0) == Pace(0.4, 5.0)


def test_a_longer_time_replaces_the_average_at_once() -> None:
    assert with_time(Pace(0.4, 5.0), 3.0, now_s=5.1) == Pace(3.0, 5.1)


def test_a_shorter_time_counts_half_after_the_half_life() -> None:
    assert with_time(Pace(3.0, 5.0), 1.0, now_s=5.0 + HALF_LIFE_S) == Pace(2.0, 5.0 + HALF_LIFE_S)
    assert with_time(Pace(3.0, 5.0), 1.0, now_s=5.0) == Pace(3.0, 5.0)


@pytest.mark.parametrize(
    ("pace", "others", "now_s", "expected"),
    [
        (Pace(4.0, 0.0), [1.0, 3.0], 0.0, 4.0),
        (Pace(4.0, 0.0), [1.0, 3.0], HALF_LIFE_S, 3.0),
        (Pace(4.0, 0.0), [1.0, 3.0], 100 * HALF_LIFE_S, 2.0),
        (Pace(0.5, 0.0), [2.5], HALF_LIFE_S, 1.5),
        (Pace(4.0, 0.0), [], 100 * HALF_LIFE_S, 4.0),
        (None, [1.0, 3.0], 9.0, 2.0),
        (None, [], 9.0, 0.0),
        (Pace(4.0, 0.0), [1.0], NEW_S, 4.0),
    ],
)
def test_an_idle_target_drifts_to_the_mean_of_the_others(
    pace: Pace | None, others: list[float], now_s: float, expected: float
) -> None:
    assert expected_s(pace, others, now_s=now_s) == pytest.approx(expected)
