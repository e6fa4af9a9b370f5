"""The store of one process: all buckets or none, once for an id, and nothing lost or forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.store import Bucket, Costs, Full, Refused, Standing
from tests.limiting import Clock, buckets, limit

ONE: Costs = {"requests": 1, "tokens": 100, "spend": 0.5, "concurrent": 1}


def used(store: MemoryStore) -> dict[str, float]:
    return {fill.key: fill.used for fill in store.look()}


def test_it_takes_from_all_buckets_or_from_none() -> None:
    store = Clock().store()
    three = buckets("60 requests/minute", "150 tokens/day", "2 concurrent")
    assert isinstance(store.try_reserve("a", three, ONE), Standing)
    before = used(store)
    assert before == {"client/ann requests/minute": 1, "client/ann tokens/day": 100, "client/ann concurrent": 1}
    refused = store.try_reserve("b", three, ONE)
    assert isinstance(refused, Refused)
    assert [full.limit.text for full in refused.full] == ["150 tokens/day"]
    assert used(store) == before


@pytest.mark.parametrize("full", ["1 requests/hour", "0.5 spend/month"])
def test_what_was_taken_before_the_full_bucket_was_met_is_given_back_to_the_last_digit(full: str) -> None:
    clock = Clock()
    store = clock.store()
    several = buckets("70 requests/minute", "900.3 tokens/minute", "1000.7 tokens/day", "7 concurrent", full)
    assert isinstance(store.try_reserve("a", several, {**ONE, "tokens": 100.1}), Standing)
    clock.now_s += 0.3
    before = list(store.look())
    for number in range(3):
        assert isinstance(store.try_reserve(f"no {number}", several, {**ONE, "tokens": 0.7}), Refused)
        assert list(store.look()) == before
    store.settle("a", {"tokens": 40})
    assert used(store)["client/ann tokens/day"] == 40


def test_a_refusal_names_each_full_bucket_and_the_one_that_is_full_for_longest() -> None:
    clock = Clock()
    store = clock.store()
    three = buckets("1 requests/minute", "1 concurrent", "100 tokens/day")
    store.try_reserve("a", three, ONE)
    refused = store.try_reserve("b", three, ONE)
    assert isinstance(refused, Refused)
    assert refused == Refused(
        (Full(three[0].limit, 60.0), Full(three[1].limit, 1.0), Full(three[2].limit, 86400 - clock.now_s)),
        refused.tightest,
    )
    assert refused.tightest.limit is three[2].limit
    assert (refused.tightest.left, refused.tightest.free_in_s) == (0, 86400 - clock.now_s)


def test_the_tightest_bucket_is_the_one_of_which_the_smallest_share_is_left() -> None:
    store = Clock().store()
    standing = store.try_reserve("a", buckets("60 requests/minute", "400 tokens/minute", "5 concurrent"), ONE)
    assert isinstance(standing, Standing)
    assert (standing.limit.text, standing.left, standing.free_in_s) == ("400 tokens/minute", 300, 15)


def test_what_would_fit_into_a_budget_if_open_reservations_used_nothing() -> None:
    clock = Clock()
    store = clock.store()
    day, minute = buckets("1000 tokens/day", "1000 tokens/minute")
    assert not store.would_fit(day, 1), "nobody has asked for it"
    store.try_reserve("used", [day, minute], {"tokens": 300})
    assert store.would_fit(day, 1000)
    store.settle("used", {"tokens": 400})
    assert not store.would_fit(day, 601), "no reservation is open"
    for name in ("a", "b"):
        store.try_reserve(name, [day, minute], {"tokens": 250})
    assert [store.would_fit(day, cost) for cost in (600, 601)] == [True, False]
    assert not store.would_fit(minute, 600), "which drains"
    clock.now_s += 86400
    store.try_reserve("next", [day], {"tokens": 10})
    assert not store.would_fit(day, 1001)
    store.settle("next", {})
    assert not store.would_fit(day, 991), "those of yesterday hold nothing of today"


def test_to_reserve_or_settle_twice_does_nothing() -> None:
    store = Clock().store()
    two = buckets("60 requests/minute", "1000 tokens/day")
    for _ in range(2):
        assert isinstance(store.try_reserve("a", two, ONE), Standing)
        assert used(store) == {"client/ann requests/minute": 1, "client/ann tokens/day": 100}
    store.settle("a", {"tokens": 30})
    for again in ("a", "unknown"):
        store.settle(again, {"tokens": 50})
        store.release(again)
        assert used(store) == {"client/ann requests/minute": 1, "client/ann tokens/day": 30}


def test_a_release_gives_all_back() -> None:
    store = Clock().store()
    store.try_reserve("a", buckets("60 requests/minute", "9 tokens/hour", "9 spend/month", "9 concurrent"), ONE)
    store.release("a")
    assert used(store) == {}


def test_more_than_was_reserved_is_taken_and_refuses_the_next() -> None:
    store = Clock().store()
    one = buckets("1000 tokens/minute")
    store.try_reserve("a", one, ONE)
    store.settle("a", {"tokens": 1500})
    refused = store.try_reserve("b", one, ONE)
    assert isinstance(refused, Refused)
    assert refused.full[0].wait_s == 36  # 600 tokens at 1000 a minute


def test_a_cost_above_the_amount_takes_the_whole_amount() -> None:
    store = Clock().store()
    one = buckets("50 tokens/day")
    assert isinstance(store.try_reserve("a", one, ONE), Standing)
    assert used(store) == {"client/ann tokens/day": 50}
    store.settle("a", {"tokens": 10})
    assert used(store) == {"client/ann tokens/day": 10}


def test_a_changed_amount_keeps_what_is_used() -> None:
    clock = Clock()
    store = clock.store()
    for number in range(30):
        store.try_reserve(f"a{number}", buckets("60 requests/minute", "30 requests/day", "40 concurrent"), ONE)
    assert isinstance(store.try_reserve("b", buckets("30 requests/minute"), ONE), Refused)
    assert isinstance(store.try_reserve("c", buckets("31 requests/minute"), ONE), Standing)
    assert isinstance(store.try_reserve("d", buckets("30 concurrent"), ONE), Refused)
    assert isinstance(store.try_reserve("e", buckets("31 requests/day"), ONE), Standing)
    clock.now_s += 30  # half of 31 has drained
    assert isinstance(store.try_reserve("f", buckets("15 requests/minute"), ONE), Refused)
    assert isinstance(store.try_reserve("g", buckets("17 requests/minute"), ONE), Standing)


def test_a_reservation_is_settled_in_its_window_or_nowhere() -> None:
    clock = Clock()
    store = clock.store()
    one = buckets("1000 tokens/day")
    for name in ("a", "b"):
        store.try_reserve(name, one, ONE)
    store.settle("a", {"tokens": 30})
    assert used(store) == {"client/ann tokens/day": 130}
    clock.now_s += 86400
    store.try_reserve("c", one, ONE)
    store.settle("b", {"tokens": 900})
    assert used(store) == {"client/ann tokens/day": 100}


def test_what_a_request_used_beyond_its_estimate_is_not_given_back_to_another() -> None:
    clock = Clock()
    store = clock.store()
    minute = buckets("300 tokens/minute")
    for name in ("over", "under"):
        store.try_reserve(name, minute, {"tokens": 100})
    clock.now_s += 59  # both have drained
    store.settle("over", {"tokens": 150})
    store.settle("under", {"tokens": 0})
    assert used(store) == {"client/ann tokens/minute": 50}


def test_a_place_among_those_at_once_is_held_until_it_is_settled() -> None:
    clock = Clock()
    store = clock.store()
    one = buckets("1 concurrent")
    store.try_reserve("a", one, ONE)
    clock.now_s += 1e6
    assert isinstance(store.try_reserve("b", one, ONE), Refused)
    store.settle("a", {})
    assert isinstance(store.try_reserve("b", one, ONE), Standing)
    store.settle("a", {})  # late: b has the place
    assert isinstance(store.try_reserve("c", one, ONE), Refused)
    store.release("b")
    assert isinstance(store.try_reserve("c", one, ONE), Standing)


def test_buckets_that_nothing_is_used_of_are_dropped() -> None:
    clock = Clock()
    store = clock.store()
    for number in range(500):
        store.try_reserve(f"a{number}", buckets("60 requests/minute", "1 concurrent", of=f"client-{number}"), ONE)
        store.settle(f"a{number}", {})
        clock.now_s += 1
    assert len(store) < 10


def test_a_bucket_with_an_open_reservation_is_kept_until_that_is_settled() -> None:
    clock = Clock()
    store = clock.store()
    store.try_reserve("long", buckets("600 tokens/minute"), ONE)
    clock.now_s += 100
    for number in range(100):
        store.try_reserve(f"b{number}", buckets("60 requests/minute", of=f"client-{number}"), ONE)
    store.settle("long", {"tokens": 400})
    assert used(store)["client/ann tokens/minute"] == 300


def test_others_have_buckets_of_their_own() -> None:
    store = Clock().store()
    for name in ("ann", "bob"):
        assert isinstance(store.try_reserve(name, buckets("1 requests/minute", of=name), ONE), Standing)


TEXTS = ["5 requests/minute", "300 tokens/minute", "2000 tokens/hour", "12 requests/day", "3 spend/day", "3 concurrent"]
Act = tuple[float, int, float, float]
"""Pause before, number of the reservation, tokens, and how the request ends: below 0 it is released."""


@given(
    texts=st.lists(st.sampled_from(TEXTS), min_size=1, unique=True),
    acts=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 7), st.floats(0, 400), st.floats(-0.3, 1.2)), max_size=60),
)
def test_no_bucket_ever_admits_more_than_its_limit_and_all_is_settled_or_given_back(
    texts: Sequence[str], acts: Sequence[Act]
) -> None:
    """An id is reserved, and the next time settled. The books are kept apart, by bucket."""
    clock = Clock()
    store = clock.store()
    kept = buckets(*texts)
    open_: dict[str, Costs] = {}
    settled: list[tuple[float, Costs]] = []
    began: dict[str, float] = {}
    for pause_s, number, tokens, end in acts:
        clock.now_s += pause_s
        reservation = str(number)
        if reservation in open_:
            costs = open_.pop(reservation)
            if end < 0:
                store.release(reservation)
            else:
                use: Costs = {"tokens": costs["tokens"] * end, "spend": costs["spend"] * end}
                store.settle(reservation, use)
                settled.append((began[reservation], {**costs, **use}))
        else:
            costs = {"requests": 1, "tokens": min(tokens, 300), "spend": tokens / 400, "concurrent": 1}
            if isinstance(store.try_reserve(reservation, kept, costs), Standing):
                open_[reservation] = costs
                began[reservation] = clock.now_s
                for each in kept:
                    fill = next((fill for fill in store.look() if fill.key == each.key), None)
                    assert fill is None or fill.used <= each.limit.amount * (1 + 1e-6)
        for each in kept:
            _check(store, each, open_, settled, began, clock)
    for reservation in open_:
        store.release(reservation)
    clock.now_s += 400 * 86400
    assert not list(store.look())


def _check(
    store: MemoryStore,
    kept: Bucket,
    open_: dict[str, Costs],
    settled: list[tuple[float, Costs]],
    began: dict[str, float],
    clock: Clock,
) -> None:
    """Compare what a bucket holds with what the books say."""
    unit, per = kept.limit.unit, kept.limit.per
    found = next((fill.used for fill in store.look() if fill.key == kept.key), 0.0)
    rows = sorted([*((began[one], costs[unit]) for one, costs in open_.items()), *((s, c[unit]) for s, c in settled)])
    if per is None:
        assert found == len(open_)
    elif per in {"minute", "hour"}:
        # Requests that used more than they reserved are charged late, so the bucket may hold more than played here.
        assert found >= _played(rows, kept.limit.amount / {"minute": 60, "hour": 3600}[per], clock.now_s) - 1e-6
    else:
        assert abs(found - sum(cost for _, cost in rows)) < 1e-6  # the clock stays within the day


def _played(rows: list[tuple[float, float]], rate: float, now_s: float) -> float:
    held, last_s = 0.0, 0.0
    for at_s, cost in rows:
        held, last_s = max(0.0, held - (at_s - last_s) * rate) + cost, at_s
    return max(0.0, held - (now_s - last_s) * rate)


def test_a_limit_s_text_does_not_name_its_bucket() -> None:
    assert replace(limit("60 requests/minute"), text="other").bucket == "requests/minute"


def test_what_is_in_the_way_can_be_asked_without_taking() -> None:
    clock = Clock()
    store, two = clock.store(), buckets("6 requests/minute", "2 concurrent")
    costs: Costs = {"requests": 3.0, "concurrent": 1.0}
    assert store.full(two, costs) == []
    assert len(store) == 0, "a bucket that nobody has taken from is not made"
    for number in range(2):
        assert isinstance(store.try_reserve(f"r{number}", two, costs), Standing)
    assert [(full.limit.text, full.wait_s) for full in store.full(two, costs)] == [
        ("6 requests/minute", 30.0),
        ("2 concurrent", 1.0),
    ]
    before = list(store.look())
    assert store.full(two, {"requests": 100.0, "concurrent": 1.0})[0].wait_s == 60.0, "no more than the whole amount"
    assert list(store.look()) == before
    clock.now_s += 30.0
    store.release("r0")
    assert store.full(two, costs) == []
