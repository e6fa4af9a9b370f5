"""What workers count in sum, and what they tell each other of targets at rest."""

from __future__ import annotations

from collections import deque
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from gateway.engine.rests import TargetRest
from gateway.engine.window import Counts, PassedLimit
from gateway.policy.failures import Kind
from gateway.policy.target import Cooldown
from gateway.server.workers.sums import (
    KEPT_TEXTS,
    PIECE,
    Families,
    Texts,
    added,
    collected,
    counted,
    joined_targets,
    shown,
    without_config,
)
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.report import Attempt, CallReport

TRACES = ("a" * 32, "b" * 32, "c" * 32)


def metrics(number: int) -> Metrics:
    """Return what worker 1, 2, … has counted: as many requests as its number, and one of its own."""
    made = Metrics()
    for each in range(number):
        attempts = [Attempt("up/m", "up/m", None, 200, 20.0)]
        report = CallReport(alias="fast", attempts=attempts, trace_id=TRACES[number])
        made.hear([(report, "chat", 200, False, None, None, None, 0.02 * number, 100.0 + each + number)])
    made.hear([(CallReport(alias=f"only-{number}"), "chat", 404, False, None, None, None, 0.3, 100.0)])
    made.in_flight.set(number)
    made.show_cooldowns({"up/m": number == 1}, {("1a2b", "up"): number == 2}, {"fast": False})
    made.show_config(ok=True, in_sync=True, good_at=5.0, generation=7, digest="aa")
    deque(made.settling(), maxlen=0)
    return made


def told(number: int) -> Families:
    """Return them as the supervisor gets them."""
    heard: Families = orjson.loads(orjson.dumps(collected(metrics(number))))
    return heard


def samples(families: Families, accept: str = "") -> list[str]:
    text, _ = shown(families, accept)
    return [line for line in text.splitlines() if not line.startswith("#") and "_created" not in line]


def test_counters_add_up_states_are_the_worst_and_starts_the_first() -> None:
    lines = samples(added([told(1), told(2)]))
    for line in (
        'gateway_requests_total{alias="fast",operation="chat",status="200"} 3.0',
        'gateway_requests_total{alias="only-1",operation="chat",status="404"} 1.0',
        'gateway_requests_total{alias="only-2",operation="chat",status="404"} 1.0',
        'gateway_request_seconds_bucket{alias="fast",le="0.01"} 0.0',
        'gateway_request_seconds_bucket{alias="fast",le="0.025"} 1.0',
        'gateway_request_seconds_bucket{alias="fast",le="0.05"} 3.0',
        'gateway_request_seconds_bucket{alias="fast",le="+Inf"} 3.0',
        'gateway_request_seconds_count{alias="fast"} 3.0',
        'gateway_request_seconds_sum{alias="fast"} 0.1',
        'gateway_refused_total{reason="too_many_requests"} 0.0',
        "gateway_in_flight 3.0",
        'gateway_target_cooldown{target="up/m"} 1.0',
        'gateway_key_cooldown{key="1a2b",provider="up"} 1.0',
        'gateway_alias_cooldown{alias="fast"} 0.0',
        "gateway_log_lines_dropped_total 0.0",
    ):
        assert lines.count(line) == 1, line
    starts = [float(line.split()[1]) for line in lines if line.startswith("process_start_time_seconds")]
    own = {sample[2] for sample in told(1)["process_start_time_seconds"]["samples"]}
    assert set(starts) == own


def test_of_the_workers_traces_the_last_one_of_a_bucket_stays() -> None:
    parts = [told(2), told(1), {name: family for name, family in told(2).items() if "rows" in family}]
    lines = samples(added(parts), "application/openmetrics-text")
    found = [line for line in lines if "trace_id" in line]
    assert [(TRACES[1] in line, line.split()[-1]) for line in found] == [(True, "101.000"), (False, "103.000")]


def test_a_text_is_read_in_pieces_once() -> None:
    texts = Texts()
    text = "".join(map(str, range(PIECE // 2)))
    first = texts.keep(text)
    pieces = [texts.piece(first["number"], place)["text"] for place in range(1, first["pieces"])]
    assert "".join([first["text"], *pieces]) == text
    with pytest.raises(KeyError):
        texts.piece(first["number"], 0)
    assert texts.keep("short") == {"number": 2, "pieces": 1, "text": "short"}


def test_of_texts_that_nobody_reads_on_the_oldest_are_dropped() -> None:
    texts = Texts()
    numbers = [texts.keep("x" * (PIECE + 1))["number"] for _ in range(KEPT_TEXTS + 1)]
    with pytest.raises(KeyError):
        texts.piece(numbers[0], 1)
    assert texts.piece(numbers[1], 1)["text"] == "x"


def test_of_an_ended_worker_only_what_was_counted_goes_on() -> None:
    left = counted(told(1))
    assert {"gateway_requests_total", "gateway_request_seconds", "gateway_config_reloads"} <= left.keys()
    assert left.keys().isdisjoint({"gateway_in_flight", "gateway_target_cooldown", "gateway_config"})


def test_metrics_of_the_config_are_the_supervisors() -> None:
    left = without_config(told(1))
    assert "gateway_requests_total" in left
    assert not any(name.startswith("gateway_config") for name in left)


def row(target: str, **more: Any) -> Any:
    usual: dict[str, Any] = {
        "base_url": None,
        "state": "ok",
        "cooldown_ends_in_s": None,
        "attempts": {},
        "in_flight": 0,
    }
    return {"target": target, **usual, **more}


def test_targets_are_shown_at_their_worst_with_all_calls() -> None:
    own = [row("a", attempts={"ok": 2}, in_flight=1), row("b", key="1a2b")]
    other = [
        row("a", attempts={"ok": 1, "timeout": 1}, in_flight=2, state="cooldown", cooldown_ends_in_s=3.0),
        row("b", key="3c4d", in_flight=9),
    ]
    assert joined_targets([own, other]) == [
        row("a", attempts={"ok": 3, "timeout": 1}, in_flight=3, state="cooldown", cooldown_ends_in_s=3.0),
        row("b", key="1a2b"),
    ]


def test_a_rest_is_the_same_after_it_was_told() -> None:
    timeouts = MappingProxyType({PassedLimit("first_token_s", 2.0): 3})
    rest = TargetRest(
        Cooldown(failures=2, share=0.25, within_s=5, for_s=9),
        None,
        until_s=12.5,
        failed=Counts(7, 2, timeouts),
        asked=Kind.RATE_LIMIT,
        asked_until_s=11.0,
        refused_by=Kind.BILLING,
    )
    heard = TargetRest.heard(orjson.loads(orjson.dumps(rest.told())))
    assert heard.told() == rest.told()
    assert heard.failed == rest.failed
    assert heard.is_told
