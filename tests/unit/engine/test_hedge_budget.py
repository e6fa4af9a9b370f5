"""How many second calls an alias may get in a minute."""

from __future__ import annotations

import pytest

from gateway.engine.hedge_budget import MAX_ALIASES, MINUTE_S, Minute, Minutes


@pytest.mark.parametrize(("requests", "allowed"), [(1, 1), (9, 1), (19, 1), (20, 2), (50, 5)])
def test_one_call_or_a_tenth_of_the_requests(requests: int, allowed: int) -> None:
    minute = Minute()
    for number in range(requests):
        minute.count(now_s=number / 2)
    taken = [minute.take(now_s=requests / 2) for _ in range(requests)]
    assert taken.count(True) == allowed
    assert not any(taken[allowed:])


def test_what_is_left_counts_the_request_that_would_come() -> None:
    minute = Minute()
    assert minute.left(now_s=0.0) == 1
    for _ in range(19):
        minute.count(now_s=0.0)
    assert minute.left(now_s=0.0) == 2
    assert minute.take(now_s=0.0)
    assert minute.left(now_s=0.0) == 1
    assert minute.left(now_s=MINUTE_S) == 1


def test_a_call_is_free_again_after_a_minute() -> None:
    minute = Minute()
    minute.count(now_s=0.0)
    assert [minute.take(now_s=now_s) for now_s in (0.0, 1.0, MINUTE_S)] == [True, False, True]


def test_a_copy_has_a_clock_and_counts_of_its_own() -> None:
    minutes = Minutes()
    minutes.of("a").count(now_s=100.0)
    assert minutes.of("a").take(now_s=100.0)
    copy = minutes.copied("a", now_s=110.0)
    assert copy.of("a").left(now_s=0.0) == 0
    assert copy.of("a").left(now_s=MINUTE_S - 10.0) == 1
    copy.of("a").take(now_s=MINUTE_S)
    assert minutes.of("a").left(now_s=110.0) == 0
    assert minutes.copied("b", now_s=110.0).of("a").left(now_s=0.0) == 1


def test_the_number_of_aliases_is_bounded() -> None:
    minutes = Minutes()
    minutes.of("first").take(now_s=0.0)
    for number in range(MAX_ALIASES):
        minutes.of(f"alias-{number}")
    assert minutes.of("first").left(now_s=0.0) == 1
