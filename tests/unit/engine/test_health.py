"""Cooldowns, probes, retry budgets and counters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.engine.health import BUDGET_FLOOR, BUDGET_WINDOW_S, MAX_REST_S, PROBE_S, Health
from gateway.engine.rests import Rest
from gateway.engine.window import PassedLimit
from gateway.policy.failures import CLIENT_FAULTS, PAUSING, Kind
from gateway.policy.keys import KeySource
from gateway.policy.table import Step
from gateway.policy.target import Cooldown, Endpoint, Limits, Target

COOLDOWN = Cooldown(failures=2, within_s=10.0, for_s=5.0)
ENDPOINT = Endpoint(provider="mock", kind="mock", adapter="mock", cooldown=COOLDOWN)
LIMITS = Limits(connect_s=5, first_token_s=30, idle_s=30, total_s=30)


def target(name: str = "a", *, label: str | None = None, endpoint: Endpoint = ENDPOINT) -> Target:
    return Target(name=f"mock/{name}", model=name, label=label or f"mock/{name}", endpoint=endpoint)


def step(name: str = "a", *, endpoint: Endpoint = ENDPOINT, total_s: float = 30.0) -> Step:
    return Step(target=target(name, endpoint=endpoint), limits=replace(LIMITS, total_s=total_s))


A = step()


def fail(health: Health, *, at: float, kind: Kind = Kind.SERVER_ERROR, at_step: Step = A) -> None:
    """Let one request fail on a target, which it then leaves."""
    ticket = health.begin(at_step, now_s=at)
    passed = PassedLimit("total_s", at_step.limits.total_s) if kind is Kind.TIMEOUT else None
    ticket.failed(kind, now_s=at, passed=passed)
    ticket.left(at)
    ticket.done()


def succeed(health: Health, *, at: float, at_step: Step = A) -> None:
    ticket = health.begin(at_step, now_s=at)
    ticket.answered(at)
    ticket.done()


def pause(health: Health, seconds: float, *, at: float = 0.0, kind: Kind = Kind.RATE_LIMIT) -> None:
    ticket = health.begin(A, now_s=at)
    ticket.failed(kind, now_s=at, retry_after_s=seconds)
    ticket.left(at)
    ticket.done()


def rests(health: Health, *steps: Step, at: float) -> dict[int, Rest]:
    return dict(health.resting(steps or (A,), now_s=at))


def test_a_cooldown_opens_after_so_many_failed_requests_within_the_window() -> None:
    health = Health()
    fail(health, at=0.0)
    assert rests(health, at=1.0) == {}
    fail(health, at=1.0)
    assert rests(health, step("b"), A, at=2.0) == {1: Rest(6.0)}


def test_failures_outside_the_window_do_not_count() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=10.0)
    assert rests(health, at=10.0) == {}
    fail(health, at=11.0)
    assert rests(health, at=11.0) == {0: Rest(16.0)}


def test_failures_are_a_share_of_the_requests() -> None:
    health = Health()
    for tenth in range(100):
        (fail if tenth % 50 == 0 else succeed)(health, at=tenth / 10)
    assert rests(health, at=9.9) == {}


def test_an_attempt_counts_only_once_its_request_has_left() -> None:
    health = Health()
    for _ in range(5):
        ticket = health.begin(A, now_s=0.0)
        ticket.failed(Kind.SERVER_ERROR, now_s=0.0)
        ticket.done()
    assert rests(health, at=0.0) == {}


@pytest.mark.parametrize("kind", sorted(CLIENT_FAULTS))
def test_the_clients_own_faults_never_count(kind: Kind) -> None:
    health = Health()
    for at in range(5):
        fail(health, at=float(at), kind=kind)
    assert rests(health, at=5.0) == {}
    assert health.snapshot(A.target, 5.0)["attempts"] == {kind.value: 5}


def test_a_stale_pooled_connection_never_counts() -> None:
    health = Health()
    for _ in range(5):
        ticket = health.begin(A, now_s=0.0)
        ticket.failed(Kind.CONNECTION, now_s=0.0, counts=False)
        ticket.left(0.0)
        ticket.done()
    assert rests(health, at=0.0) == {}


def test_a_timeout_is_held_against_steps_that_are_no_more_patient() -> None:
    health, fast, batch = Health(), step(total_s=0.3), step(total_s=10.0)
    for at in range(3):
        fail(health, at=float(at), kind=Kind.TIMEOUT, at_step=fast)
    assert rests(health, fast, batch, step(total_s=0.2), at=3.0) == {0: Rest(7.0), 2: Rest(7.0)}
    succeed(health, at=3.0, at_step=batch)
    assert rests(health, fast, batch, at=3.0) == {0: Rest(7.0)}, "an answer after seconds says nothing about 300 ms"
    for _ in range(3):
        fail(health, at=4.0, at_step=batch)
    assert rests(health, fast, batch, at=4.0) == {0: Rest(7.0)}, "three failures of seven requests"
    fail(health, at=4.5, at_step=batch)
    assert rests(health, fast, batch, at=4.5) == {0: Rest(9.5), 1: Rest(9.5)}


def test_a_timeout_of_a_call_begun_before_the_last_answer_does_not_count() -> None:
    health = Health()
    slow = [health.begin(A, now_s=0.0) for _ in range(4)]
    succeed(health, at=1.0)
    for ticket in slow:
        ticket.failed(Kind.TIMEOUT, now_s=2.0, passed=PassedLimit("total_s", 30.0))
        ticket.left(2.0)
        ticket.done()
    assert rests(health, at=2.0) == {}


def test_one_probe_is_let_through_when_the_cooldown_ends_and_its_success_closes_it() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    assert rests(health, at=5.0) == {}
    probe = health.begin(A, now_s=5.0)
    assert rests(health, at=5.0) == {0: Rest(5.0)}
    assert health.snapshot(A.target, 5.0)["state"] == "probing"
    probe.answered(5.5)
    probe.done()
    assert rests(health, at=5.5) == {}
    assert health.snapshot(A.target, 5.5)["state"] == "ok"
    fail(health, at=5.5)
    assert rests(health, at=5.5) == {}, "what was before the cooldown is forgotten"


@pytest.mark.parametrize(("times", "next_s"), [([], PROBE_S), ([0.1, 0.2, 4.0], 0.2)], ids=["unknown", "known"])
def test_one_more_probe_is_let_through_for_each_median_of_the_answers_times(times: list[float], next_s: float) -> None:
    health = Health()
    for second, took_s in enumerate(times):
        ticket = health.begin(A, now_s=float(second))
        ticket.answered(second + took_s)
        ticket.done()
    for _ in range(5):
        fail(health, at=9.0)
    first = health.begin(A, now_s=14.0)
    assert rests(health, at=14.0 + next_s / 2) == {0: Rest(14.0 + next_s / 2)}
    assert rests(health, at=14.0 + next_s) == {}
    second_probe = health.begin(A, now_s=14.0 + next_s)
    assert rests(health, at=14.0 + next_s) == {0: Rest(14.0 + next_s)}
    first.done()
    second_probe.done()


def test_a_failed_probe_opens_the_cooldown_again_at_once() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    fail(health, at=6.0)
    assert rests(health, at=7.0) == {0: Rest(11.0)}


def test_a_timed_out_probe_begun_before_the_recovery_does_not_open_it_again() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    slow = health.begin(A, now_s=6.0)
    succeed(health, at=7.5)
    slow.failed(Kind.TIMEOUT, now_s=36.0, passed=PassedLimit("total_s", 30.0))
    slow.left(36.0)
    slow.done()
    assert rests(health, at=36.0) == {}


def test_a_probe_that_met_the_clients_own_fault_closes_the_cooldown() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    fail(health, at=6.0, kind=Kind.BAD_REQUEST)
    assert rests(health, at=6.0) == {}


def test_a_cancelled_probe_says_nothing_and_the_next_one_may_go() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    health.begin(A, now_s=6.0).done()
    assert rests(health, at=6.0) == {}
    assert health.snapshot(A.target, 6.0)["state"] == "probing"


def test_a_call_during_the_cooldown_is_a_probe_too() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    fail(health, at=1.0)
    assert rests(health, at=1.0) == {0: Rest(6.0)}
    succeed(health, at=2.0)
    assert rests(health, at=2.0) == {}


@pytest.mark.parametrize("kind", sorted(PAUSING))
def test_a_retry_after_starts_a_rest_that_was_asked_for(kind: Kind) -> None:
    health = Health()
    pause(health, 7.0, kind=kind)
    assert rests(health, at=1.0) == {0: Rest(7.0, kind)}
    assert rests(health, step(total_s=600.0), at=1.0) == {0: Rest(7.0, kind)}, "for every step"
    assert rests(health, at=7.0) == {}


def test_a_retry_after_is_capped() -> None:
    health = Health()
    pause(health, 10 * MAX_REST_S)
    assert rests(health, at=1.0) == {0: Rest(MAX_REST_S, Kind.RATE_LIMIT)}


def test_a_cooldown_longer_than_the_asked_pause_goes_on_behind_it() -> None:
    health = Health()
    pause(health, 1.0)
    fail(health, at=0.0)
    assert rests(health, at=0.5) == {0: Rest(1.0, Kind.RATE_LIMIT)}
    assert rests(health, at=2.0) == {0: Rest(5.0)}


@pytest.mark.parametrize("kind", sorted(set(Kind) - PAUSING))
def test_no_other_kind_rests_by_its_retry_after(kind: Kind) -> None:
    health = Health()
    pause(health, 3600.0, kind=kind)
    assert rests(health, at=0.0) == {}


def test_a_success_that_began_before_the_cooldown_does_not_close_it() -> None:
    health = Health()
    slow = health.begin(A, now_s=0.0)
    for _ in range(3):
        fail(health, at=1.0)
    slow.answered(1.5)
    slow.done()
    assert rests(health, at=2.0) == {0: Rest(6.0)}


def test_a_stream_that_breaks_counts_as_failed_and_not_as_answered() -> None:
    health = Health()
    for _ in range(2):
        stream = health.begin(A, now_s=0.0)
        stream.answered(0.5)
        stream.broke(Kind.BAD_RESPONSE, now_s=1.0)
        stream.done()
    assert rests(health, at=1.0) == {0: Rest(6.0)}
    assert health.snapshot(A.target, 1.0)["attempts"] == {"bad_response": 2}


def test_a_break_that_is_the_clients_doing_does_not_count() -> None:
    health = Health()
    for _ in range(3):
        stream = health.begin(A, now_s=0.0)
        stream.answered(0.5)
        stream.broke(Kind.TIMEOUT, now_s=1.0, counts=False)
        stream.done()
    assert rests(health, at=1.0) == {}


def test_a_changed_cooldown_ends_the_rest() -> None:
    health = Health()
    hour = replace(ENDPOINT, cooldown=replace(COOLDOWN, for_s=3600.0))
    for _ in range(2):
        fail(health, at=0.0, at_step=step(endpoint=hour))
    assert rests(health, step(endpoint=hour), at=1.0) == {0: Rest(3600.0)}
    assert health.snapshot(target(endpoint=hour), 1.0)["state"] == "cooldown"
    assert health.snapshot(target(), 1.0)["state"] == "ok"
    assert rests(health, A, at=1.0) == {}
    assert rests(health, step(endpoint=hour), at=1.0) == {}


def test_a_changed_key_ends_the_rest(tmp_path: Path) -> None:
    health, file = Health(), tmp_path / "key"
    file.write_text("old")
    keyed = step(endpoint=replace(ENDPOINT, api_key=KeySource(name="file", file=file)))
    for _ in range(2):
        fail(health, at=0.0, kind=Kind.AUTH, at_step=keyed)
    assert rests(health, keyed, at=1.0) == {0: Rest(5.0)}
    file.write_text("newer")
    assert rests(health, keyed, at=1.0) == {}


def test_a_rest_can_be_ended_by_hand() -> None:
    health = Health()
    pause(health, 60.0)
    assert health.reset("mock/b") is None
    assert (health.reset("mock/a"), health.reset("mock/a")) == (1, 0)
    assert rests(health, at=1.0) == {}
    fail(health, at=1.0)
    assert rests(health, at=1.0) == {}, "its failures are forgotten, too"


def test_a_wildcards_models_are_reset_one_by_one_or_together() -> None:
    health = Health()
    filled = [Step(target=target(model, label="mock/*"), limits=LIMITS) for model in "xyz"]
    for each in filled:
        fail(health, at=0.0, at_step=each)
        fail(health, at=0.0, at_step=each)
    assert (health.reset("mock/x"), health.reset("mock/*")) == (1, 2)


def test_retries_are_kept_to_a_share_of_the_attempts_and_the_window_passes() -> None:
    ticket = Health().begin(A, now_s=1.0)
    assert [ticket.take_retry(now_s=1.0) for _ in range(BUDGET_FLOOR + 1)] == [True] * BUDGET_FLOOR + [False]
    assert ticket.take_retry(now_s=1.0 + BUDGET_WINDOW_S + 1)


def test_many_attempts_allow_more_retries_than_the_floor() -> None:
    health = Health()
    tickets = [health.begin(A, now_s=20.0) for _ in range(100)]
    assert sum(ticket.take_retry(now_s=20.0) for ticket in tickets[:50]) == 20


def test_a_probe_that_is_decided_says_nothing_of_the_next_one() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    stream = health.begin(A, now_s=6.0)
    stream.answered(6.5)
    fail(health, at=7.0)
    fail(health, at=7.0)
    probe = health.begin(A, now_s=13.0)
    stream.done()
    assert rests(health, at=13.0) == {0: Rest(13.0)}
    probe.done()


def test_the_snapshot_counts_attempts_by_kind_and_what_is_in_flight() -> None:
    health = Health()
    succeed(health, at=0.0)
    fail(health, at=0.0)
    health.begin(A, now_s=0.0)
    assert health.snapshot(target(), 0.0) == {
        "state": "ok",
        "cooldown_ends_in_s": None,
        "attempts": {"ok": 1, "server_error": 1},
        "in_flight": 1,
    }


def test_a_wildcards_target_shows_all_of_its_models_together() -> None:
    health = Health()
    for model in ("x", "y"):
        filled = Step(target=target(model, label="mock/*"), limits=LIMITS)
        for _ in range(2):
            fail(health, at=0.0, at_step=filled)
    assert health.snapshot(target("*"), 1.0) == {
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
    assert rests(health, A, step(endpoint=elsewhere), at=1.0) == {0: Rest(5.0)}


def test_idle_targets_are_forgotten_when_there_are_too_many() -> None:
    health = Health(max_targets=3)
    busy = health.begin(step("busy"), now_s=0.0)
    for number in range(10):
        fail(health, at=0.0, at_step=step(str(number)))
    busy.answered(0.0)
    busy.done()
    assert health.snapshot(target("busy"), 0.0)["attempts"] == {"ok": 1}
    assert health.snapshot(target("0"), 0.0)["attempts"] == {}
    assert health.snapshot(target("9"), 0.0)["attempts"] == {"server_error": 1}


def test_targets_are_forgotten_many_at_once_the_least_recently_called_first() -> None:
    """Each time one was too many, all were looked through for it: 0.4 ms for a request, with 10,000 of them."""
    health = Health(max_targets=100)
    for number in [*range(100), 0, 100]:
        health.begin(step(str(number)), now_s=0.0).done()
    left = [name for name, *_ in health._targets]
    assert left == [f"mock/{number}" for number in [*range(12, 100), 0, 100]]


def test_a_copy_knows_what_its_original_knew_on_a_clock_of_its_own() -> None:
    health, b = Health(), step("b")
    fail(health, at=101.0)
    fail(health, at=100.0, at_step=b)
    fail(health, at=102.0, at_step=b)
    copy = health.copied([target(), target("b"), target("c")], now_s=104.0)
    assert rests(copy, A, b, step("c"), at=0.0) == {1: Rest(3.0)}
    fail(copy, at=1.0)
    assert rests(copy, A, at=1.0) == {0: Rest(6.0)}, "the failure before counts"
    assert rests(health, A, b, at=104.0) == {1: Rest(107.0)}


def test_in_a_copy_an_asked_rest_is_one() -> None:
    health = Health()
    pause(health, 60.0, at=100.0)
    copy = health.copied([target()], now_s=110.0)
    assert rests(copy, at=0.0) == {0: Rest(50.0, Kind.RATE_LIMIT)}


def test_in_a_copy_a_target_whose_rest_has_ended_is_still_to_be_probed() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    copy = health.copied([target()], now_s=6.0)
    assert rests(copy, at=0.0) == {}
    fail(copy, at=0.0)
    assert rests(copy, at=0.0) == {0: Rest(5.0)}, "a failed probe opens the cooldown again"


def test_in_a_copy_a_target_that_is_being_probed_rests_a_moment_more() -> None:
    health = Health()
    fail(health, at=0.0)
    fail(health, at=0.0)
    health.begin(A, now_s=6.0)
    copy = health.copied([target()], now_s=6.0)
    assert rests(copy, at=0.0) == {0: Rest(0.001)}
    assert rests(copy, at=0.001) == {}


def test_a_copy_has_what_is_left_of_the_retry_budget() -> None:
    health = Health()
    ticket = health.begin(A, now_s=100.0)
    for _ in range(BUDGET_FLOOR - 1):
        assert ticket.take_retry(now_s=100.0)
    copy = health.copied([target()], now_s=101.0).begin(A, now_s=0.0)
    assert [copy.take_retry(now_s=0.0) for _ in range(2)] == [True, False]
    assert ticket.take_retry(now_s=101.0), "the copy took nothing from its original"
