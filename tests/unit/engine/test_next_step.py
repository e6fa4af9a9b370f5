"""The decision function: every kind, at every place of a chain, at every state of the deadline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.next_step import (
    MAX_BACKOFF_S,
    MAX_PATIENCE_S,
    GiveUp,
    NoRetry,
    Outcome,
    Plan,
    Try,
    Wait,
    backoff_s,
    next_step,
)
from gateway.engine.rests import Rest
from gateway.policy.failures import FALLBACK_ON, RETRY_ON, Kind
from gateway.policy.limits import Limit
from gateway.policy.table import Step
from gateway.policy.target import Endpoint, Limits, Target

LIMITS = Limits(connect_s=5, first_token_s=30, idle_s=30, total_s=30)
MOCK = Endpoint(provider="mock", kind="mock", adapter="mock")
NOTHING: Mapping[int, Rest] = {}


def step(name: str = "mock/a", **values: Any) -> Step:
    model = name.partition("/")[2]
    return Step(target=Target(name=name, model=model, label=name, endpoint=MOCK), limits=LIMITS, **values)


def plan(*steps: Step, deadline_s: float = 100.0, max_attempts: int = 8) -> Plan:
    return Plan(steps or (step(retries=2), step("mock/b", retries=2)), deadline_s, max_attempts)


def failed(at: int, kind: Kind, ended_s: float = 0.0, **values: Any) -> Outcome:
    return Outcome(step=at, kind=kind, ended_s=ended_s, **values)


def test_the_first_target_is_tried_first() -> None:
    assert next_step(plan(), [], now_s=0.0, resting=NOTHING) == Try(0)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("stale", [False, True])
def test_nothing_follows_a_failure_after_which_the_request_must_not_be_made_again(kind: Kind, stale: bool) -> None:
    outcomes = [failed(0, kind, asked_once=True, stale_connection=stale)]
    assert next_step(plan(), outcomes, now_s=0.0, resting=NOTHING) == GiveUp("stopped", "asked_once")


@pytest.mark.parametrize("kind", sorted(RETRY_ON - {Kind.BAD_RESPONSE}))
def test_a_retryable_kind_is_tried_again_on_the_same_target_after_a_backoff(kind: Kind) -> None:
    outcomes = [failed(0, kind, ended_s=1.0, jitter=0.5)]
    assert next_step(plan(), outcomes, now_s=1.0, resting=NOTHING) == Wait(1.0 + 0.125, "backoff")
    assert next_step(plan(), outcomes, now_s=1.2, resting=NOTHING) == Try(0, "retry")


def test_a_broken_answer_is_asked_for_once_more_only_while_no_other_target_is_left() -> None:
    broken = failed(0, Kind.BAD_RESPONSE)
    assert next_step(plan(), [broken], now_s=9.0, resting=NOTHING) == Try(1, "fallback", "others_left")
    alone = plan(step(retries=5))
    assert next_step(alone, [broken], now_s=9.0, resting=NOTHING) == Try(0, "retry")
    assert next_step(alone, [broken] * 2, now_s=9.0, resting=NOTHING) == GiveUp("exhausted", "retries_used_up")
    assert next_step(plan(), [broken], now_s=9.0, resting={1: Rest(50.0)}) == Try(0, "retry"), "the other one rests"


@pytest.mark.parametrize("kind", sorted(FALLBACK_ON - RETRY_ON))
def test_a_kind_that_is_not_retried_moves_on_at_once(kind: Kind) -> None:
    assert next_step(plan(), [failed(0, kind)], now_s=0.0, resting=NOTHING) == Try(1, "fallback", "kind")


@pytest.mark.parametrize("kind", sorted(frozenset(Kind) - FALLBACK_ON))
@pytest.mark.parametrize("position", [0, 1])
def test_a_kind_that_does_not_move_on_stops_the_call(kind: Kind, position: int) -> None:
    earlier = [failed(0, Kind.TIMEOUT)] * position
    outcomes = [*earlier, failed(position, kind)]
    assert next_step(plan(), outcomes, now_s=0.0, resting=NOTHING) == GiveUp("stopped", "kind")


@pytest.mark.parametrize("kind", sorted(FALLBACK_ON))
def test_after_the_last_target_the_call_is_exhausted(kind: Kind) -> None:
    only = plan(step(retries=0))
    assert next_step(only, [failed(0, kind)], now_s=0.0, resting=NOTHING) == GiveUp("exhausted", "no_retries")


@pytest.mark.parametrize("kind", sorted(Kind))
@pytest.mark.parametrize("earlier", [0, 1])
def test_nothing_starts_once_the_deadline_has_passed(kind: Kind, earlier: int) -> None:
    outcomes = [failed(0, kind)] * earlier
    assert next_step(plan(), outcomes, now_s=100.0, resting=NOTHING) == GiveUp("deadline")


@pytest.mark.parametrize("kind", sorted(Kind))
@pytest.mark.parametrize("position", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("deadline", ["far", "before the backoff ends", "passed"])
def test_every_kind_at_every_place_of_a_chain_at_every_state_of_the_deadline(
    kind: Kind, position: int, deadline: str
) -> None:
    three = [step(f"mock/{at}", retries=1) for at in range(3)]
    deadline_s = {"far": 100.0, "before the backoff ends": 10.1, "passed": 10.0}[deadline]
    outcomes = [failed(at, Kind.TIMEOUT) for at in range(position)] + [failed(position, kind, ended_s=10.0)]
    decision = next_step(plan(*three, deadline_s=deadline_s), outcomes, now_s=10.0, resting=NOTHING)
    expected: Try | Wait | GiveUp
    if deadline == "passed":
        expected = GiveUp("deadline")
    elif kind in RETRY_ON and deadline == "far" and (position == 2 or kind != "bad_response"):
        expected = Wait(10.25, "backoff")
    elif kind in {"content_filter", "bad_request"}:
        expected = GiveUp("stopped", "kind")
    else:
        why: NoRetry = "deadline" if kind in RETRY_ON else "kind"
        if kind == "bad_response" and position < 2:
            why = "others_left"
        expected = GiveUp("exhausted", why) if position == 2 else Try(position + 1, "fallback", why)
    assert decision == expected


def test_retries_end_when_they_are_used_up() -> None:
    outcomes = [failed(0, Kind.SERVER_ERROR)] * 3
    assert next_step(plan(), outcomes, now_s=50.0, resting=NOTHING) == Try(1, "fallback", "retries_used_up")


def test_a_retry_after_that_fits_is_waited_for() -> None:
    outcomes = [failed(0, Kind.RATE_LIMIT, ended_s=1.0, retry_after_s=3.0)]
    assert next_step(plan(), outcomes, now_s=1.0, resting=NOTHING) == Wait(4.0, "retry_after")
    assert next_step(plan(), outcomes, now_s=4.0, resting=NOTHING) == Try(0, "retry")


def test_a_retry_after_beyond_the_deadline_moves_on_at_once() -> None:
    outcomes = [failed(0, Kind.RATE_LIMIT, retry_after_s=3.0)]
    decision = next_step(plan(deadline_s=2.0), outcomes, now_s=0.0, resting=NOTHING)
    assert decision == Try(1, "fallback", "retry_after")


def test_a_long_retry_after_is_waited_for_only_when_no_other_target_is_left() -> None:
    long = [failed(0, Kind.RATE_LIMIT, retry_after_s=MAX_PATIENCE_S + 1)]
    assert next_step(plan(), long, now_s=0.0, resting=NOTHING) == Try(1, "fallback", "retry_after")
    alone = next_step(plan(step(retries=1)), long, now_s=0.0, resting=NOTHING)
    assert alone == Wait(MAX_PATIENCE_S + 1, "retry_after")


def test_a_retry_never_takes_the_place_of_an_untried_target() -> None:
    three = plan(step(retries=5), step("mock/b"), step("mock/c"), max_attempts=3)
    decision = next_step(three, [failed(0, Kind.OVERLOADED)], now_s=9.0, resting=NOTHING)
    assert decision == Try(1, "fallback", "calls_kept")


def test_the_last_call_that_the_cap_allows_is_the_last() -> None:
    one = plan(step(retries=5), max_attempts=1)
    decision = next_step(one, [failed(0, Kind.OVERLOADED)], now_s=9.0, resting=NOTHING)
    assert decision == GiveUp("exhausted", "max_attempts")


def test_a_used_up_budget_ends_the_retries_only_while_another_target_is_left() -> None:
    outcomes = [failed(0, Kind.SERVER_ERROR, over_budget=True)]
    assert next_step(plan(), outcomes, now_s=9.0, resting=NOTHING) == Try(1, "fallback", "retry_budget")
    assert next_step(plan(), outcomes, now_s=9.0, resting={1: Rest(50.0)}) == Try(0, "retry")
    assert next_step(plan(step(retries=1)), outcomes, now_s=9.0, resting=NOTHING) == Try(0, "retry")


@pytest.mark.parametrize("kind", [Kind.RATE_LIMIT, Kind.OVERLOADED])
def test_an_upstream_gets_one_pause_while_another_target_is_left(kind: Kind) -> None:
    asked = failed(0, kind, retry_after_s=9.0)
    assert next_step(plan(), [asked], now_s=9.0, resting=NOTHING) == Try(0, "retry")
    assert next_step(plan(), [asked] * 2, now_s=9.0, resting=NOTHING) == Try(1, "fallback", "others_left")
    assert next_step(plan(step(retries=2)), [asked] * 2, now_s=9.0, resting=NOTHING) == Try(0, "retry")
    crashed = failed(0, Kind.SERVER_ERROR)
    assert next_step(plan(), [asked, crashed], now_s=9.0, resting=NOTHING) == Try(0, "retry")


def test_a_stale_pooled_connection_is_retried_once_at_once_even_without_retries() -> None:
    two = plan(step(retries=0), step("mock/b"))
    stale = failed(0, Kind.CONNECTION, stale_connection=True)
    assert next_step(two, [stale], now_s=0.0, resting=NOTHING) == Try(0, "retry")
    assert next_step(two, [stale, stale], now_s=0.0, resting=NOTHING) == Try(1, "fallback", "no_retries")


def test_resting_targets_are_passed_over() -> None:
    assert next_step(plan(), [], now_s=0.0, resting={0: Rest(9.0)}) == Try(1)


def test_when_all_rest_they_are_tried_one_after_the_other_as_if_they_did_not() -> None:
    resting = {0: Rest(9.0), 1: Rest(5.0)}
    assert next_step(plan(), [], now_s=0.0, resting=resting) == Try(1, "last_resort")
    outcomes = [failed(1, Kind.SERVER_ERROR, last_resort=True)]
    assert next_step(plan(), outcomes, now_s=0.0, resting=resting) == Wait(0.25, "backoff")
    assert next_step(plan(), outcomes * 3, now_s=0.0, resting=resting) == Try(0, "last_resort", "retries_used_up")
    outcomes = [*outcomes * 3, *[failed(0, Kind.TIMEOUT, last_resort=True)]]
    assert next_step(plan(), outcomes, now_s=0.0, resting=resting) == GiveUp("exhausted", "kind")


def test_a_resting_target_is_the_last_resort_after_the_others_failed() -> None:
    outcomes = [failed(1, Kind.TIMEOUT)]
    assert next_step(plan(), outcomes, now_s=0.0, resting={0: Rest(9.0)}) == Try(0, "last_resort", "kind")


ASKED = Rest(60.0, Kind.RATE_LIMIT)


def test_a_pause_that_the_upstream_asked_for_is_waited_for_when_nothing_else_is_left() -> None:
    alone = plan(step(retries=1))
    assert next_step(alone, [], now_s=0.0, resting={0: ASKED}) == Wait(60.0, "retry_after")
    assert next_step(alone, [], now_s=60.0, resting=NOTHING) == Try(0)
    assert next_step(plan(), [], now_s=0.0, resting={0: ASKED}) == Try(1)
    assert next_step(plan(), [failed(1, Kind.TIMEOUT)], now_s=0.0, resting={0: ASKED}) == Wait(60.0, "retry_after")
    assert next_step(plan(), [], now_s=0.0, resting={0: Rest(5.0, Kind.OVERLOADED), 1: Rest(9.0)}) == Try(
        1, "last_resort"
    ), "one that rests after failures is called before one that asked for a pause is waited for"


def test_a_pause_beyond_the_deadline_ends_the_call_without_one() -> None:
    later = Rest(200.0, Kind.OVERLOADED)
    assert next_step(plan(step()), [], now_s=0.0, resting={0: later}) == GiveUp("resting", None, {0: later})
    both = next_step(plan(), [], now_s=0.0, resting={0: later, 1: Rest(101.0, Kind.RATE_LIMIT)})
    assert both == GiveUp("resting", None, {0: later, 1: Rest(101.0, Kind.RATE_LIMIT)})
    after = next_step(plan(), [failed(0, Kind.TIMEOUT)], now_s=0.0, resting={0: Rest(5.0), 1: later})
    assert after == GiveUp("resting", "kind", {1: later})


def test_a_target_that_recovered_meanwhile_is_tried_before_the_call_gives_up() -> None:
    """It was passed over while it was in cooldown; the attempt on the other target took longer than that."""
    decision = next_step(plan(), [failed(1, Kind.TIMEOUT)], now_s=9.0, resting=NOTHING)
    assert decision == Try(0, "fallback", "kind")


def test_after_one_that_recovered_no_target_is_tried_a_second_time() -> None:
    """The second was tried while the first and the third rested; then the first, which leaves the third alone."""
    three = plan(*(step(name) for name in ("mock/a", "mock/b", "mock/c")))
    outcomes = [failed(1, Kind.SERVER_ERROR), failed(0, Kind.SERVER_ERROR)]
    assert next_step(three, outcomes, now_s=0.0, resting=NOTHING) == Try(2, "fallback", "no_retries")
    last = next_step(three, [*outcomes, failed(2, Kind.TIMEOUT)], now_s=0.0, resting=NOTHING)
    assert last == GiveUp("exhausted", "no_retries")


def test_a_target_that_went_into_cooldown_meanwhile_is_retried_only_while_no_other_is_left() -> None:
    outcomes = [failed(0, Kind.RATE_LIMIT, retry_after_s=1.0)]
    resting = {0: Rest(20.0)}
    assert next_step(plan(), outcomes, now_s=0.0, resting=resting) == Try(1, "fallback", "cooldown")
    assert next_step(plan(), outcomes, now_s=1.0, resting=resting) == Try(1, "fallback", "cooldown")
    assert next_step(plan(step(retries=1)), outcomes, now_s=1.0, resting=resting) == Try(0, "retry")


def test_a_pause_that_another_request_was_asked_for_binds_a_retry_too() -> None:
    alone, outcomes = plan(step(retries=2)), [failed(0, Kind.SERVER_ERROR)]
    minute = {0: Rest(60.0, Kind.RATE_LIMIT)}
    assert next_step(alone, outcomes, now_s=0.25, resting=minute) == Wait(60.0, "retry_after")
    assert next_step(alone, outcomes, now_s=60.0, resting=NOTHING) == Try(0, "retry")
    later = {0: Rest(101.0, Kind.RATE_LIMIT)}
    assert next_step(alone, outcomes, now_s=0.25, resting=later) == GiveUp("exhausted", "retry_after", later)


def test_the_pause_that_a_failure_asked_for_does_not_forbid_its_own_retry() -> None:
    outcomes = [failed(0, Kind.RATE_LIMIT, retry_after_s=1.0)]
    own = {0: Rest(1.0, Kind.RATE_LIMIT)}
    assert next_step(plan(), outcomes, now_s=0.0, resting=own) == Wait(1.0, "retry_after")
    probed_by_another = {0: Rest(1.0)}
    assert next_step(plan(), outcomes, now_s=1.0, resting=probed_by_another) == Try(1, "fallback", "cooldown")


@pytest.mark.parametrize("asked_s", [0.0, 0.1])
def test_a_short_retry_after_is_no_shorter_than_the_backoff(asked_s: float) -> None:
    outcomes = [failed(0, Kind.RATE_LIMIT, retry_after_s=asked_s)]
    assert next_step(plan(), outcomes, now_s=0.0, resting=NOTHING) == Wait(0.25, "backoff")


def test_the_steps_own_kinds_win_over_the_table() -> None:
    own = plan(step(retries=1, retry_on=frozenset({Kind.TIMEOUT}), fallback_on=frozenset()), step("mock/b"))
    assert next_step(own, [failed(0, Kind.TIMEOUT)], now_s=9.0, resting=NOTHING) == Try(0, "retry")
    assert next_step(own, [failed(0, Kind.SERVER_ERROR)], now_s=9.0, resting=NOTHING) == GiveUp("stopped", "kind")


def test_backoff_grows_and_is_capped() -> None:
    waits = [backoff_s(retry, jitter=1.0) for retry in (1, 2, 3, 50)]
    assert waits == [0.25, 0.5, 1.0, MAX_BACKOFF_S]
    assert backoff_s(3, jitter=0.0) == 0.0


steps_of_any_sort = st.lists(
    st.builds(
        lambda retries, retry_on, fallback_on: (retries, retry_on, fallback_on),
        st.integers(0, 4),
        st.frozensets(st.sampled_from(Kind)),
        st.frozensets(st.sampled_from(Kind)),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=100, deadline=None)
@given(
    shapes=steps_of_any_sort,
    extra=st.integers(0, 6),
    deadline_s=st.floats(0.1, 40),
    faults=st.lists(
        st.tuples(
            st.sampled_from(Kind),
            st.floats(0, 5),
            st.none() | st.floats(0, 60),
            st.booleans(),
            st.booleans(),
            st.frozensets(st.tuples(st.integers(0, 4), st.booleans())),
        ),
        min_size=12,
        max_size=12,
    ),
)
def test_no_call_breaks_the_rules(
    shapes: Sequence[tuple[int, frozenset[Kind], frozenset[Kind]]],
    extra: int,
    deadline_s: float,
    faults: Sequence[tuple[Kind, float, float | None, bool, bool, frozenset[tuple[int, bool]]]],
) -> None:
    """Never more attempts than the cap, never past the deadline, never a retry where the table forbids it."""
    steps = tuple(
        step(f"mock/{at}", retries=retries, retry_on=retry_on, fallback_on=fallback_on)
        for at, (retries, retry_on, fallback_on) in enumerate(shapes)
    )
    max_attempts = len(steps) + extra
    the_plan = Plan(steps, deadline_s, max_attempts)
    outcomes: list[Outcome] = []
    now_s = 0.0
    waited = 0
    for kind, took_s, retry_after_s, stale, over_budget, rests in faults:
        resting = {at: Rest(now_s + 5.0, Kind.RATE_LIMIT if asked else None) for at, asked in rests if at < len(steps)}
        decision = next_step(the_plan, outcomes, now_s=now_s, resting=resting)
        if isinstance(decision, Wait):
            waited += 1
            assert decision.until_s > now_s
            assert decision.until_s < deadline_s
            now_s = decision.until_s
            decision = next_step(the_plan, outcomes, now_s=now_s, resting=NOTHING)
            assert isinstance(decision, Try), "a wait is followed by what was waited for"
        if isinstance(decision, GiveUp):
            break
        assert now_s < deadline_s
        last = outcomes[-1] if outcomes else None
        if last is not None and decision.step == last.step:
            assert last.stale_connection or last.kind in steps[last.step].retry_on
            assert decision.reason == "retry"
            untried = set(range(len(steps))) - {outcome.step for outcome in outcomes}
            assert len(outcomes) + 1 + len(untried) <= max_attempts
        elif last is not None:
            assert last.kind in steps[last.step].fallback_on
            assert decision.step not in {outcome.step for outcome in outcomes}
            assert decision.no_retry is not None
        now_s += took_s
        outcomes.append(
            Outcome(
                step=decision.step,
                kind=kind,
                ended_s=now_s,
                retry_after_s=retry_after_s,
                stale_connection=stale,
                over_budget=over_budget,
                last_resort=decision.reason == "last_resort",
            )
        )
    else:
        raise AssertionError("the call never ended")
    assert len(outcomes) <= max_attempts
    for at, own in enumerate(steps):
        tries = [outcome for outcome in outcomes if outcome.step == at]
        assert len(tries) <= 1 + own.retries + any(outcome.stale_connection for outcome in tries)
        assert sum(outcome.kind is Kind.BAD_RESPONSE for outcome in tries) <= 2 or any(
            outcome.stale_connection for outcome in tries
        )


PER_MINUTE = Limit(unit="requests", amount=10.0, per="minute", text="10 requests/minute")


def full(until_s: float) -> Rest:
    """What a step's provider without room is."""
    return Rest(until_s, Kind.RATE_LIMIT, limit=PER_MINUTE)


class TestProvidersWithoutRoom:
    def test_a_target_without_room_is_passed_over(self) -> None:
        assert next_step(plan(), [], now_s=0.0, resting={0: full(5.0)}) == Try(1, "first")
        three = plan(step(retries=0), step("mock/b"), step("mock/c"))
        after = [failed(0, Kind.SERVER_ERROR)]
        assert next_step(three, after, now_s=0.0, resting={1: full(5.0)}) == Try(2, "fallback", "no_retries")

    def test_when_no_other_is_left_the_first_to_be_free_is_waited_for(self) -> None:
        resting = {0: full(9.0), 1: full(5.0)}
        assert next_step(plan(), [], now_s=0.0, resting=resting) == Wait(5.0, "limited")
        assert next_step(plan(), [], now_s=5.0, resting={0: full(9.0)}) == Try(1, "first")

    def test_one_that_rests_after_failures_is_called_before_any_is_waited_for(self) -> None:
        assert next_step(plan(), [], now_s=0.0, resting={0: full(1.0), 1: Rest(50.0)}) == Try(1, "last_resort")

    def test_room_that_comes_after_the_deadline_is_not_waited_for(self) -> None:
        resting = {0: full(200.0), 1: full(100.0)}
        assert next_step(plan(), [], now_s=0.0, resting=resting) == GiveUp("resting", None, resting)
        after = [failed(0, Kind.AUTH)]
        assert next_step(plan(), after, now_s=0.0, resting=resting) == GiveUp("resting", "kind", {1: full(100.0)})

    def test_a_deadline_that_passes_while_it_is_waited_for_says_so(self) -> None:
        assert next_step(plan(), [], now_s=100.0, resting={0: full(101.0)}) == GiveUp(
            "deadline", None, {0: full(101.0)}
        )

    def test_a_retry_moves_on_while_another_target_is_left_and_waits_else(self) -> None:
        after = [failed(0, Kind.SERVER_ERROR, jitter=0.0)]
        assert next_step(plan(), after, now_s=0.0, resting={0: full(5.0)}) == Try(1, "fallback", "limited")
        both = {0: full(5.0), 1: full(7.0)}
        assert next_step(plan(), after, now_s=0.0, resting=both) == Wait(5.0, "limited")
        only = plan(step(retries=2))
        assert next_step(only, after, now_s=0.0, resting={0: full(100.0)}) == GiveUp("exhausted", "limited")

    def test_a_stale_connection_is_replaced_once_there_is_room(self) -> None:
        stale = [failed(0, Kind.CONNECTION, stale_connection=True)]
        only = plan(step(retries=0))
        assert next_step(only, stale, now_s=0.0, resting={0: full(5.0)}) == Wait(5.0, "limited")
        assert next_step(only, stale, now_s=5.0, resting=NOTHING) == Try(0, "retry")
        assert next_step(only, stale, now_s=0.0, resting={0: full(100.0)}) == GiveUp("exhausted", "limited")
        assert next_step(plan(), stale, now_s=0.0, resting={0: full(5.0)}) == Try(1, "fallback", "limited")
