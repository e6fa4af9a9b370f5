"""Cooldowns, probes, retry budgets and counters."""

from __future__ import annotations

import pytest

from gateway.engine.health import BUDGET_FLOOR, BUDGET_WINDOW_S, MAX_REST_S, Health
from gateway.policy.failures import CLIENT_FAULTS, Kind
from gateway.policy.target import Cooldown, Endpoint, Target

ENDPOINT = Endpoint(
    provider="mock", kind="mock", adapter="mock", cooldown=Cooldown(failures=2, within_s=10.0, for_s=5.0)
)


def target(name: str = "a") -> Target:
    return Target(name=f"mock/{name}", model=name, label=f"mock/{name}", endpoint=ENDPOINT)


def fail(health: Health, *, at: float, kind: Kind = Kind.SERVER_ERROR, name: str = "a") -> bool:
    ticket = health.begin(target(name), now_s=at)
    opened = ticket.failed(kind, now_s=at)
    ticket.done()
    return opened


def succeed(health: Health, *, at: float) -> None:
    ticket = health.begin(target(), now_s=at)
    ticket.answered()
    ticket.done()


def test_a_cooldown_opens_after_so_many_failures_within_the_window() -> None:
    health = Health()
    assert not fail(health, at=0.0)
    assert health.resting([target()], now_s=1.0) == {}
    assert fail(health, at=1.0)
    assert health.resting([target("b"), target()], now_s=2.0) == {1: 6.0}


def test_failures_outside_the_window_do_not_count() -> None:
    health = Health()
    assert not fail(health, at=0.0)
    assert not fail(health, at=10.0)
    assert fail(health, at=11.0)


@pytest.mark.parametrize("kind", sorted(CLIENT_FAULTS))
def test_the_clients_own_faults_never_count(kind: Kind) -> None:
    health = Health()
    assert not any(fail(health, at=float(at), kind=kind) for at in range(5))


def test_a_stale_pooled_connection_never_counts() -> None:
    health = Health()
    for _ in range(5):
        ticket = health.begin(target(), now_s=0.0)
        assert not ticket.failed(Kind.CONNECTION, now_s=0.0, counts=False)
        ticket.done()


def test_one_probe_is_let_through_when_the_cooldown_ends_and_its_success_closes_it() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    assert health.resting([target()], now_s=5.0) == {}
    probe = health.begin(target(), now_s=5.0)
    assert health.resting([target()], now_s=5.0) == {0: 5.0}
    assert health.snapshot(target(), 5.0)["state"] == "probing"
    probe.answered()
    probe.done()
    assert health.resting([target()], now_s=5.0) == {}
    assert health.snapshot(target(), 5.0)["state"] == "ok"


def test_a_failed_probe_opens_the_cooldown_again_at_once() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    assert fail(health, at=6.0)
    assert health.resting([target()], now_s=7.0) == {0: 11.0}


def test_a_probe_that_met_the_clients_own_fault_closes_the_cooldown() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    fail(health, at=6.0, kind=Kind.BAD_REQUEST)
    assert health.resting([target()], now_s=6.0) == {}


def test_a_cancelled_probe_says_nothing_and_the_next_one_may_go() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    health.begin(target(), now_s=6.0).done()
    assert health.resting([target()], now_s=6.0) == {}
    assert health.snapshot(target(), 6.0)["state"] == "probing"


def test_a_retry_after_that_is_too_long_opens_the_cooldown_at_once_and_is_capped() -> None:
    health = Health()
    ticket = health.begin(target(), now_s=0.0)
    assert ticket.failed(Kind.RATE_LIMIT, now_s=0.0, rest_s=10 * MAX_REST_S)
    ticket.done()
    assert health.resting([target()], now_s=1.0) == {0: MAX_REST_S}


def test_a_success_that_began_before_the_cooldown_does_not_close_it() -> None:
    health = Health()
    slow = health.begin(target(), now_s=0.0)
    fail(health, at=1.0)
    fail(health, at=1.0)
    slow.answered()
    slow.done()
    assert health.resting([target()], now_s=2.0) == {0: 6.0}


def test_retries_are_kept_to_a_share_of_the_attempts_and_the_window_passes() -> None:
    ticket = Health().begin(target(), now_s=1.0)
    assert [ticket.take_retry(now_s=1.0) for _ in range(BUDGET_FLOOR + 1)] == [True] * BUDGET_FLOOR + [False]
    assert ticket.take_retry(now_s=1.0 + BUDGET_WINDOW_S + 1)


def test_many_attempts_allow_more_retries_than_the_floor() -> None:
    health = Health()
    tickets = [health.begin(target(), now_s=20.0) for _ in range(100)]
    assert sum(ticket.take_retry(now_s=20.0) for ticket in tickets[:50]) == 20


@pytest.mark.parametrize("kind", sorted(CLIENT_FAULTS))
def test_the_clients_own_fault_opens_nothing_whatever_its_retry_after(kind: Kind) -> None:
    health = Health()
    ticket = health.begin(target(), now_s=0.0)
    assert not ticket.failed(kind, now_s=0.0, rest_s=3600.0)
    ticket.done()
    assert health.resting([target()], now_s=0.0) == {}


def test_a_failure_while_the_cooldown_is_open_is_told_so() -> None:
    health = Health()
    late = health.begin(target(), now_s=0.0)
    fail(health, at=0.0)
    fail(health, at=0.0)
    assert late.failed(Kind.SERVER_ERROR, now_s=1.0)
    late.done()


def test_a_probe_that_is_decided_says_nothing_of_the_next_one() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    stream = health.begin(target(), now_s=6.0)
    stream.answered()
    fail(health, at=7.0)
    fail(health, at=7.0)
    probe = health.begin(target(), now_s=13.0)
    stream.done()
    assert health.resting([target()], now_s=13.0) == {0: 13.0}
    probe.done()


def test_the_snapshot_counts_attempts_by_kind_and_what_is_in_flight() -> None:
    health = Health()
    succeed(health, at=0.0)
    fail(health, at=0.0)
    health.begin(target(), now_s=0.0)
    assert health.snapshot(target(), 0.0) == {
        "state": "ok",
        "cooldown_ends_in_s": None,
        "attempts": {"ok": 1, "server_error": 1},
        "in_flight": 1,
    }


def test_a_wildcards_target_shows_all_of_its_models_together() -> None:
    health = Health()
    for model in ("x", "y"):
        filled = Target(name=f"mock/{model}", model=model, label="mock/*", endpoint=ENDPOINT)
        for _ in range(2):
            ticket = health.begin(filled, now_s=0.0)
            ticket.failed(Kind.SERVER_ERROR, now_s=0.0)
            ticket.done()
    pattern = Target(name="mock/*", model="*", label="mock/*", endpoint=ENDPOINT)
    assert health.snapshot(pattern, 1.0) == {
        "state": "cooldown",
        "cooldown_ends_in_s": 4.0,
        "attempts": {"server_error": 4},
        "in_flight": 0,
    }


def test_a_target_is_known_by_name_base_url_and_key_source() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    elsewhere = Endpoint(provider="mock", kind="mock", adapter="mock", base_url="http://127.0.0.1:1")
    moved = Target(name="mock/a", model="a", label="mock/a", endpoint=elsewhere)
    assert health.resting([target(), moved], now_s=1.0) == {0: 5.0}


def test_idle_targets_are_forgotten_when_there_are_too_many() -> None:
    health = Health(max_targets=3)
    busy = health.begin(target("busy"), now_s=0.0)
    for number in range(10):
        fail(health, at=0.0, name=str(number))
    busy.answered()
    busy.done()
    assert health.snapshot(target("busy"), 0.0)["attempts"] == {"ok": 1}
    assert health.snapshot(target("0"), 0.0)["attempts"] == {}
    assert health.snapshot(target("9"), 0.0)["attempts"] == {"server_error": 1}


def test_a_copy_knows_what_its_original_knew_on_a_clock_of_its_own() -> None:
    health = Health()
    fail(health, at=101.0)
    fail(health, at=100.0, name="b")
    fail(health, at=102.0, name="b")
    copy = health.copied([target(), target("b"), target("c")], now_s=104.0)
    assert copy.resting([target(), target("b"), target("c")], now_s=0.0) == {1: 3.0}
    assert fail(copy, at=1.0), "the failure before counts"
    assert health.resting([target(), target("b")], now_s=104.0) == {1: 107.0}


def test_in_a_copy_a_target_whose_rest_has_ended_is_still_to_be_probed() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    copy = health.copied([target()], now_s=6.0)
    assert copy.resting([target()], now_s=0.0) == {}
    assert fail(copy, at=0.0), "a failed probe opens the cooldown again"


def test_in_a_copy_a_target_that_is_being_probed_rests_a_moment_more() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    health.begin(target(), now_s=6.0)
    copy = health.copied([target()], now_s=6.0)
    assert copy.resting([target()], now_s=0.0) == {0: 0.001}
    assert copy.resting([target()], now_s=0.001) == {}


def test_a_copy_has_what_is_left_of_the_retry_budget() -> None:
    health = Health()
    ticket = health.begin(target(), now_s=100.0)
    for _ in range(BUDGET_FLOOR - 1):
        assert ticket.take_retry(now_s=100.0)
    copy = health.copied([target()], now_s=101.0).begin(target(), now_s=0.0)
    assert [copy.take_retry(now_s=0.0) for _ in range(2)] == [True, False]
    assert ticket.take_retry(now_s=101.0), "the copy took nothing from its original"
