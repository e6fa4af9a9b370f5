"""Counts of days and months that outlive their store."""

from __future__ import annotations

import pytest

from gateway.engine.limits.kept import Count, current
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.store import Costs, Refused
from tests.limiting import Clock, buckets

DAY_S = 86400.0
MIDNIGHT_S = 1_796_000_000.0 // DAY_S * DAY_S
DECEMBER_S = 1_796_083_200.0
FOUR = buckets("60 requests/minute", "9 tokens/day", "90 tokens/month", "5 concurrent")
COSTS: Costs = {"requests": 1.0, "tokens": 5.0, "concurrent": 1.0}


@pytest.mark.parametrize(
    ("key", "begin_s", "now_s", "is_kept"),
    [
        ("client/ann tokens/day", MIDNIGHT_S, MIDNIGHT_S, True),
        ("client/ann tokens/day", MIDNIGHT_S, MIDNIGHT_S + DAY_S - 1, True),
        ("client/ann tokens/day", MIDNIGHT_S, MIDNIGHT_S + DAY_S, False),
        ("client/ann tokens/day", MIDNIGHT_S, MIDNIGHT_S - 1800, True),
        ("client/ann tokens/day", MIDNIGHT_S, MIDNIGHT_S - 7200, False),
        ("client/ann tokens/day", MIDNIGHT_S + 1, MIDNIGHT_S + 2, False),
        ("group/search spend/month", DECEMBER_S, DECEMBER_S + 30 * DAY_S, True),
        ("group/search spend/month", DECEMBER_S, DECEMBER_S + 31 * DAY_S, False),
        ("client/ann tokens/hour", MIDNIGHT_S, MIDNIGHT_S, False),
        ("client/ann concurrent", MIDNIGHT_S, MIDNIGHT_S, False),
    ],
)
def test_a_count_is_kept_while_its_window_lasts(key: str, begin_s: float, now_s: float, is_kept: bool) -> None:
    count = Count(key, begin_s, 5.0)
    assert current([count], now_s) == ({key: count} if is_kept else {})


def kept(store: MemoryStore) -> dict[str, Count]:
    read = store.changes()
    return {} if read is None else {count.key: count for count in read()}


def test_a_store_tells_of_days_and_months_that_changed_and_another_goes_on_from_them() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock.monotonic, wall_clock=clock.wall, kept=())
    assert store.changes() is None
    store.try_reserve("a", FOUR, COSTS)
    store.settle("a", {"tokens": 4.0})
    found = kept(store)
    assert {key: count.used for key, count in found.items()} == {
        "client/ann tokens/day": 4.0,
        "client/ann tokens/month": 4.0,
    }
    assert kept(store) == {}
    store.try_reserve("b", FOUR, COSTS)
    store.release("b")
    assert {count.used for count in kept(store).values()} == {4.0}
    other = MemoryStore(clock=clock.monotonic, wall_clock=clock.wall, kept=found.values())
    assert kept(other) == {}
    refused = other.try_reserve("c", FOUR, {"requests": 1.0, "tokens": 6.0, "concurrent": 1.0})
    assert isinstance(refused, Refused)
    assert [full.limit for full in refused.full] == [FOUR[1].limit]
    assert {fill.key: fill.used for fill in other.look()} == {
        "client/ann tokens/day": 4.0,
        "client/ann tokens/month": 4.0,
    }


def test_what_was_used_before_midnight_counts_no_more_after_it() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock.monotonic, wall_clock=clock.wall, kept=())
    store.try_reserve("a", FOUR, COSTS)
    found = kept(store)
    clock.now_s += DAY_S
    other = MemoryStore(clock=clock.monotonic, wall_clock=clock.wall, kept=found.values())
    assert not isinstance(other.try_reserve("b", FOUR, {"requests": 1.0, "tokens": 9.0, "concurrent": 1.0}), Refused)


def test_a_store_whose_counts_nobody_keeps_tells_of_none() -> None:
    store = Clock().store()
    store.try_reserve("a", FOUR, COSTS)
    assert store.changes() is None
