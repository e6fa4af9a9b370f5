"""What the metrics count of requests, and that their labels are the file's."""

from __future__ import annotations

from collections import deque

import pytest

from gateway.policy.failures import Kind
from gateway.policy.keys import NO_KEY
from gateway.policy.target import Endpoint, Target
from gateway.telemetry.exposition import exposition
from gateway.telemetry.metrics import REFUSALS, UNANSWERED, Metrics
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.report import Attempt, CallReport, Closed, PassedOver
from tests.compiling import step

TARGET = Target(
    name="up/b",
    label="up/b",
    model="b",
    endpoint=Endpoint(provider="up", kind="openai", adapter="relay", api_key=NO_KEY),
)


def ended(report: CallReport, status: int = 200, *, stream: bool = False, error: str | None = None) -> EndedRow:
    return (report, "chat", status, stream, None, error, None, 0.3, 1_700_000_000.0)


def attempt(target: str, kind: Kind | PassedOver | Closed | None = None, *, key: str | None = None) -> Attempt:
    return Attempt(target=target, label=target, kind=kind, status=None, ms=20, key=key)


def samples(metrics: Metrics, name: str) -> set[str]:
    """Return the samples of one metric, without its name."""
    lines = shown(metrics).splitlines()
    return {line.removeprefix(name) for line in lines if line.startswith((f"{name}{{", f"{name} "))}


def shown(metrics: Metrics) -> str:
    deque(metrics.settling(), maxlen=0)
    return b"".join(exposition(metrics.families(), metrics.registry, "")[0]).decode()


def test_metrics_carry_the_table_s_labels() -> None:
    metrics = Metrics()
    report = CallReport(
        alias="team/*",
        attempts=[
            Attempt(target="openai/x", label="openai/*", kind=Kind.TIMEOUT, status=None, ms=5),
            Attempt(target="openai/x", label="openai/*", kind=None, status=200, ms=5),
        ],
        first_content_s=0.2,
        tokens={"prompt": 5, "completion": 0},
    )
    metrics.hear([(report, "chat", 200, False, None, None, None, 0.3, 0.0)])
    text = shown(metrics)
    for sample in (
        'gateway_requests_total{alias="team/*",operation="chat",status="200"} 1.0',
        'gateway_attempts_total{kind="timeout",target="openai/*"} 1.0',
        'gateway_attempts_total{kind="ok",target="openai/*"} 1.0',
        'gateway_request_seconds_count{alias="team/*"} 1.0',
        'gateway_first_content_seconds_bucket{alias="team/*",le="0.25"} 1.0',
        'gateway_tokens_total{alias="team/*",direction="prompt",target="openai/*"} 5.0',
        "process_resident_memory_bytes",
    ):
        assert sample in text
    assert "openai/x" not in text
    assert 'direction="completion"' not in text


@pytest.mark.parametrize("calls", [1, 2])
def test_a_total_that_was_told_alone_has_no_direction(calls: int) -> None:
    metrics = Metrics()
    attempts = [attempt("up/a", Kind.TIMEOUT)] * (calls - 1) + [attempt("up/a")]
    report = CallReport(alias="fast", attempts=attempts, tokens={"total": 9}, closed_tokens={"total": 9})
    metrics.hear([(report, "chat", 200, False, None, None, None, 0.3, 0.0)])
    metrics.count_shadow(report, target=step("models: {fast: mock/echo}\n").target, kind="ok")
    assert "direction=" not in shown(metrics)


def test_a_request_without_an_alias_is_only_counted() -> None:
    metrics = Metrics()
    metrics.hear([(CallReport(), "chat", 404, False, None, None, None, 0.3, 0.0)])
    text = shown(metrics)
    assert 'gateway_requests_total{alias="",operation="chat",status="404"} 1.0' in text
    assert "gateway_request_seconds_count{" not in text


def test_metrics_tell_the_state_of_the_config_file() -> None:
    metrics = Metrics()
    metrics.show_config(ok=True, in_sync=True, good_at=1000.5, generation=1, digest="aa")
    metrics.show_config(ok=False, in_sync=False, good_at=1000.5, generation=2, digest="bb")
    metrics.count_reload(ok=True)
    metrics.count_reload(ok=False)
    samples = shown(metrics).splitlines()
    for sample in (
        "gateway_config_last_reload_successful 0.0",
        "gateway_config_in_sync 0.0",
        "gateway_config_last_reload_success_timestamp_seconds 1000.5",
        "gateway_config_generation 2.0",
        'gateway_config_info{digest="bb"} 1.0',
        'gateway_config_reloads_total{result="ok"} 1.0',
        'gateway_config_reloads_total{result="refused"} 1.0',
    ):
        assert sample in samples
    assert not any('digest="aa"' in sample for sample in samples)


def test_two_gateways_in_one_process_keep_their_metrics_apart() -> None:
    one, two = Metrics(), Metrics()
    one.in_flight.inc()
    assert "gateway_in_flight 1.0" in shown(one)
    assert "gateway_in_flight 0.0" in shown(two)


@pytest.mark.parametrize(
    ("first", "fallback"),
    [
        (Kind.OVERLOADED, "yes"),
        ("cooldown", "yes"),
        ("condition", "no"),
        ("unsupported", "no"),
        ("bound", "no"),
        ("hedged_out", "no"),
    ],
)
def test_an_answer_is_a_fallback_if_a_target_before_it_failed_or_rested(
    first: Kind | PassedOver | Closed, fallback: str
) -> None:
    metrics = Metrics()
    report = CallReport(alias="fast", attempts=[attempt("up/a", first), attempt("up/b")], tokens={"prompt": 2})
    metrics.hear([ended(report), ended(report)])
    assert samples(metrics, "gateway_answers_total") == {f'{{alias="fast",fallback="{fallback}",target="up/b"}} 2.0'}
    assert samples(metrics, "gateway_tokens_total") == {'{alias="fast",direction="prompt",target="up/b"} 4.0'}


def test_a_target_that_answers_after_a_retry_or_with_another_key_is_no_fallback() -> None:
    metrics = Metrics()
    report = CallReport(
        alias="fast",
        target=TARGET,
        attempts=[attempt("up/b", Kind.OVERLOADED), attempt("up/b", Kind.RATE_LIMIT, key="d823"), attempt("up/b")],
    )
    metrics.hear([ended(report)])
    assert samples(metrics, "gateway_answers_total") == {'{alias="fast",fallback="no",target="up/b"} 1.0'}


def test_a_request_that_nobody_answered_is_no_answer() -> None:
    metrics = Metrics()
    metrics.hear([ended(CallReport(alias="fast", attempts=[attempt("up/a", Kind.TIMEOUT)]), 504, error="upstream")])
    metrics.hear([ended(CallReport(alias="fast", attempts=[attempt("up/a")]), 499)])
    assert samples(metrics, "gateway_answers_total") == set()
    assert len(samples(metrics, "gateway_requests_total")) == 2


def test_calls_are_counted_by_key_where_a_provider_has_several() -> None:
    metrics = Metrics()
    tried = [attempt("up/a", Kind.RATE_LIMIT, key="1a2b"), attempt("up/a", key="3c4d")]
    metrics.hear([ended(CallReport(alias="fast", attempts=tried))])
    metrics.hear([ended(CallReport(alias="fast", attempts=[attempt("up/b", key="3c4d")]))])
    metrics.hear([ended(CallReport(alias="fast", attempts=[attempt("other/a")]))])
    assert samples(metrics, "gateway_key_attempts_total") == {
        '{key="1a2b",kind="rate_limit",provider="up"} 1.0',
        '{key="3c4d",kind="ok",provider="up"} 2.0',
    }


def test_a_stream_that_broke_after_its_content_is_counted_by_its_target_and_the_error() -> None:
    metrics = Metrics()
    report = CallReport(alias="fast", target=TARGET, attempts=[attempt("up/b")], first_content_s=0.1)
    metrics.hear([ended(report, 502, stream=True, error="stream_broken"), ended(report, stream=True)])
    before = CallReport(alias="fast", attempts=[attempt("up/b", Kind.BAD_RESPONSE)])
    metrics.hear([ended(before, 502, stream=True, error="upstream_failed")])
    assert samples(metrics, "gateway_broken_streams_total") == {
        '{alias="fast",error="stream_broken",target="up/b"} 1.0'
    }


def test_what_the_gateway_had_no_room_for_is_counted_by_reason_from_zero() -> None:
    metrics = Metrics()
    metrics.hear([ended(CallReport(), 503, error="too_many_requests"), ended(CallReport(), 404, error="not_found")])
    metrics.count_closed()
    known = {"too_many_requests": 1, UNANSWERED: 1}
    assert samples(metrics, "gateway_refused_total") == {
        f'{{reason="{reason}"}} {known.get(reason, 0)}.0' for reason in REFUSALS
    }


def test_first_content_is_timed_from_arrival_by_alias_and_from_the_call_by_target() -> None:
    metrics = Metrics()
    tried = [attempt("up/a", Kind.TIMEOUT), attempt("up/b")]
    for attempts in (tried, tried[1:]):
        report = CallReport(alias="fast", target=TARGET, attempts=attempts, first_content_s=2.0)
        metrics.hear([ended(report, stream=True)])
    assert samples(metrics, "gateway_first_content_seconds_sum") == {'{alias="fast"} 4.0'}
    assert samples(metrics, "gateway_target_first_content_seconds_sum") == {'{target="up/b"} 0.04'}
    assert samples(metrics, "gateway_target_first_content_seconds_count") == {'{target="up/b"} 2.0'}


def test_sampled_traces_are_examples_in_openmetrics_only() -> None:
    metrics = Metrics()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    report = CallReport(alias="fast", target=TARGET, attempts=[attempt("up/b")], first_content_s=0.1, trace_id=trace_id)
    metrics.hear([ended(report, stream=True), ended(CallReport(alias="other", attempts=[attempt("up/b")]))])
    assert trace_id not in shown(metrics)
    text = b"".join(exposition(metrics.families(), metrics.registry, "application/openmetrics-text")[0]).decode()
    assert [line for line in text.splitlines() if trace_id in line] == [
        f'{name} 1.0 # {{trace_id="{trace_id}"}} {seconds} 1700000000.000'
        for name, seconds in (
            ('gateway_request_seconds_bucket{alias="fast",le="0.5"}', 0.3),
            ('gateway_first_content_seconds_bucket{alias="fast",le="0.1"}', 0.1),
            ('gateway_target_first_content_seconds_bucket{target="up/b",le="0.025"}', 0.02),
        )
    ]


def test_rests_of_what_is_no_more_in_the_file_are_dropped() -> None:
    metrics = Metrics()
    metrics.show_cooldowns({"up/a": True, "up/b": False}, {("1a2b", "up"): True}, {"fast": False, "old": True})
    metrics.show_cooldowns({"up/a": False}, {("3c4d", "up"): False}, {"fast": True})
    assert samples(metrics, "gateway_target_cooldown") == {'{target="up/a"} 0.0'}
    assert samples(metrics, "gateway_key_cooldown") == {'{key="3c4d",provider="up"} 0.0'}
    assert samples(metrics, "gateway_alias_cooldown") == {'{alias="fast"} 1.0'}
