"""While a compile runs, other threads get their turn soon, and no full garbage collection stops them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from gateway.concurrency.pacing import TURN_S, short_pauses


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def full_collections() -> int:
    return int(gc.get_stats()[2]["collections"])


def test_settings_are_as_before_afterwards() -> None:
    before = sys.getswitchinterval(), gc.get_threshold()
    with short_pauses():
        assert sys.getswitchinterval() == pytest.approx(TURN_S)
    assert (sys.getswitchinterval(), gc.get_threshold()) == before


def test_what_a_large_compile_made_is_never_looked_at_by_a_collection() -> None:
    gc.collect()
    frozen, collected = gc.get_freeze_count(), full_collections()
    with short_pauses():
        made = [[number] for number in range(300_000)]
        assert full_collections() == collected
    assert gc.get_freeze_count() - frozen >= len(made)


def test_a_small_compile_leaves_the_collector_alone() -> None:
    gc.collect()
    frozen = gc.get_freeze_count()
    with short_pauses():
        made = [[number] for number in range(1000)]
    assert len(made) == 1000
    assert gc.get_freeze_count() == frozen
