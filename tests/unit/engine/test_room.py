"""How many calls one target may have in flight, and what its steps look like when it has them."""

from __future__ import annotations

import math

import pytest

from gateway.engine.health import Health
from gateway.engine.next_step import GiveUp, Plan, Try, next_step
from gateway.engine.rests import NOBODY
from gateway.engine.room import FULL, RoomyHealth
from gateway.policy.failures import Kind
from gateway.policy.table import Step
from gateway.policy.target import Endpoint, Limits, Target

ENDPOINT = Endpoint(provider="mock", kind="mock", adapter="mock")
LIMITS = Limits(connect_s=5, first_token_s=30, idle_s=30, total_s=30)
A, B = (
    Step(target=Target(name=f"mock/{name}", model=name, label=f"mock/{name}", endpoint=ENDPOINT), limits=LIMITS)
    for name in "ab"
)


def bounded(most: int, *, scarce: bool = True) -> RoomyHealth:
    return RoomyHealth(most, is_scarce=lambda: scarce)


def test_without_a_bound_nothing_is_asked() -> None:
    assert not Health().at_rest


def test_with_one_every_decision_asks() -> None:
    assert bounded(1).at_rest


def test_a_target_is_full_at_the_bound_and_no_more_once_a_call_ends() -> None:
    health = bounded(2)
    assert health.resting([A, B], now_s=0.0) == NOBODY
    tickets = [health.begin(A, now_s=0.0) for _ in range(2)]
    assert health.resting([A, B], now_s=0.0) == {0: FULL}
    tickets[0].done()
    assert health.resting([A, B], now_s=0.0) == NOBODY


def test_while_there_is_room_for_all_no_target_is_full() -> None:
    health = bounded(1, scarce=False)
    health.begin(A, now_s=0.0)
    assert health.resting([A, B], now_s=0.0) == NOBODY


@pytest.mark.parametrize("full", [[0], [0, 1]])
def test_a_full_target_is_passed_over_and_never_a_last_resort(full: list[int]) -> None:
    plan = Plan((A, B), 100.0, 8)
    decision = next_step(plan, [], now_s=0.0, resting=dict.fromkeys(full, FULL))
    if full == [0]:
        assert decision == Try(1, "first")
    else:
        assert decision == GiveUp("resting", None, {0: FULL, 1: FULL})


def test_full_is_told_as_overloaded_for_no_known_time() -> None:
    assert (FULL.until_s, FULL.asked) == (math.inf, Kind.OVERLOADED)
