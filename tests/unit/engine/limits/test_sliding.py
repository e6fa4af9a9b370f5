"""Buckets of minutes and hours: bursts, exact waits, and what is given back."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.limits import sliding

RATE = 1.0
"""60 a minute."""


class Bucket:
    """One bucket, as a store has it."""

    def __init__(self, most: int = sliding.MAX_LOWS) -> None:
        self.was, self.at_s = 0.0, 0.0
        self.lows = sliding.Lows(most)

    def used(self, now_s: float) -> float:
        return sliding.used(self.was, self.at_s, RATE, now_s)

    def take(self, cost: float, now_s: float) -> float:
        before = self.used(now_s)
        self.was, self.at_s = before + cost, now_s
        return self.lows.note(before)

    def give_back(self, serial: float, back: float, now_s: float) -> None:
        in_it = self.used(now_s)
        self.was, self.at_s = in_it - self.lows.give_back(serial, back, in_it), now_s


def test_a_burst_may_be_the_whole_amount_and_then_one_a_second_fits() -> None:
    bucket = Bucket()
    for _ in range(60):
        assert sliding.wait_s(bucket.used(100.0), 1, 60, RATE) == 0
        bucket.take(1, 100.0)
    assert sliding.wait_s(bucket.used(100.0), 1, 60, RATE) == 1.0
    assert sliding.wait_s(bucket.used(100.25), 1, 60, RATE) == 0.75
    assert sliding.wait_s(bucket.used(101.0), 1, 60, RATE) == 0
    assert sliding.wait_s(bucket.used(130.0), 60, 60, RATE) == 30.0


@given(
    amount=st.integers(1, 10**9),
    window_s=st.sampled_from([60.0, 3600.0]),
    costs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), max_size=30),
    start_s=st.floats(0, 1e6),
)
def test_after_the_wait_it_fits_and_before_it_does_not(
    amount: int, window_s: float, costs: list[tuple[float, float]], start_s: float
) -> None:
    rate, now_s, was, at_s = amount / window_s, start_s, 0.0, start_s
    for part, pause_s in costs:
        now_s += pause_s
        cost = part * amount
        wait_s = sliding.wait_s(sliding.used(was, at_s, rate, now_s), cost, amount, rate)
        assert 0 <= wait_s <= window_s * (1 + 1e-6)
        if wait_s > 1e-3:
            assert sliding.wait_s(sliding.used(was, at_s, rate, now_s + wait_s * 0.99), cost, amount, rate) > 0
        now_s += wait_s
        assert sliding.wait_s(sliding.used(was, at_s, rate, now_s), cost, amount, rate) < 1e-5
        was, at_s = sliding.used(was, at_s, rate, now_s) + cost, now_s
        assert was <= amount * (1 + 1e-6)


def test_a_clock_that_goes_back_drains_nothing() -> None:
    assert sliding.used(10.0, 100.0, RATE, 90.0) == 10


def test_what_was_too_much_is_given_back() -> None:
    bucket = Bucket()
    bucket.give_back(bucket.take(50, 0.0), 40, 5.0)
    assert bucket.used(5.0) == 5


def test_nothing_is_given_back_of_what_has_drained() -> None:
    bucket = Bucket()
    first = bucket.take(50, 0.0)
    bucket.take(50, 60.0)  # the first has drained
    bucket.give_back(first, 40, 61.0)
    assert bucket.used(61.0) == 49
    bucket = Bucket()
    first = bucket.take(50, 0.0)
    bucket.take(50, 30.0)  # 20 of the first are left
    bucket.give_back(first, 40, 30.0)
    assert bucket.used(30.0) == 50


def test_what_others_got_back_is_not_given_back_twice() -> None:
    bucket = Bucket()
    first, second = bucket.take(30, 0.0), bucket.take(30, 0.0)
    bucket.give_back(first, 30, 1.0)
    bucket.take(30, 40.0)  # all before has drained
    bucket.give_back(second, 30, 40.0)
    assert bucket.used(40.0) == 30


Row = tuple[float, float, float, float]
"""Pause before, estimate, share of it that was used, seconds that it took."""


@given(rows=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 60), st.floats(0, 1), st.floats(0, 90)), max_size=25))
def test_a_bucket_holds_what_it_would_had_each_cost_been_known_at_once(rows: list[Row]) -> None:
    """Compare with the whole history, played anew after each event."""
    for now_s, bucket, history in _events(rows):
        assert math.isclose(bucket.used(now_s), _played(history, now_s), rel_tol=1e-6, abs_tol=1e-6)


@pytest.mark.parametrize("most", [1, 2, 15, 16])
def test_with_more_open_reservations_than_are_told_apart_it_never_holds_less(most: int) -> None:
    rows = [(0.01 * (number % 7), 1.0 + number % 5, (number % 11) / 10, 5.0 + number % 13) for number in range(100)]
    more = 0.0
    for now_s, bucket, history in _events(rows, most):
        assert len(bucket.lows.serials) == len(bucket.lows.rises) <= most
        more = max(more, bucket.used(now_s) - _played(history, now_s))
        assert bucket.used(now_s) >= _played(history, now_s) - 1e-6
    assert more > 1, "some are not told apart"


def _events(rows: list[Row], most: int = sliding.MAX_LOWS) -> Iterator[tuple[float, Bucket, dict[int, list[float]]]]:
    """Play reservations and yield the bucket after each event, with the time and cost of all until then."""
    events: list[tuple[float, int, bool]] = []
    at_s = 0.0
    for number, (pause_s, _, _, took_s) in enumerate(rows):
        at_s += pause_s
        events += [(at_s, number, False), (at_s + took_s, number, True)]
    bucket = Bucket(most)
    serials: dict[int, float] = {}
    history: dict[int, list[float]] = {}
    for now_s, number, is_end in sorted(events, key=lambda event: (event[0], event[2], event[1])):
        _, cost, share, _ = rows[number]
        if is_end:
            bucket.give_back(serials[number], cost * (1 - share), now_s)
            history[number][1] = cost * share
        else:
            serials[number] = bucket.take(cost, now_s)
            history[number] = [now_s, cost]
        yield now_s, bucket, history


def _played(history: dict[int, list[float]], now_s: float) -> float:
    held, last_s = 0.0, 0.0
    for at_s, cost in sorted(history.values(), key=lambda entry: entry[0]):
        held = max(0.0, held - (at_s - last_s) * RATE) + cost
        last_s = at_s
    return max(0.0, held - (now_s - last_s) * RATE)
