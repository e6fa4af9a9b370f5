"""What workers count in sum, and what they tell each other of targets at rest."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.engine.rests import TargetRest
from gateway.engine.window import Counts, PassedLimit
from gateway.policy.failures import Kind
from gateway.policy.target import Cooldown
from gateway.server.workers.sums import AsRegistry, added, collected, counted, joined_targets, without_config
from gateway.telemetry.metrics import render


def registry(number: int) -> CollectorRegistry:
    made = CollectorRegistry()
    counter = Counter("gateway_things", "Things.", ["kind"], registry=made)
    counter.labels("a").inc(number)
    counter.labels(f"only-{number}").inc()
    Histogram("gateway_seconds", "Seconds.", buckets=(1.0, 2.0), registry=made).observe(number)
    Gauge("gateway_in_flight", "In flight.", registry=made).set(number)
    Gauge("gateway_target_cooldown", "Rests.", ["target"], registry=made).labels("x").set(number == 1)
    Gauge("gateway_config_generation", "Generation.", registry=made).set(7)
    Gauge("process_start_time_seconds", "Start.", registry=made).set(100 + number)
    return made


def samples(families: Any) -> list[str]:
    text = render(AsRegistry(families), "")[0].decode()
    return [line for line in text.splitlines() if not line.startswith("#") and "_created" not in line]


def test_counters_add_up_states_are_the_worst_and_starts_the_first() -> None:
    parts = [orjson.loads(orjson.dumps(collected(registry(number)))) for number in (1, 2)]
    assert samples(added(parts)) == [
        'gateway_things_total{kind="a"} 3.0',
        'gateway_things_total{kind="only-1"} 1.0',
        'gateway_things_total{kind="only-2"} 1.0',
        'gateway_seconds_bucket{le="1.0"} 1.0',
        'gateway_seconds_bucket{le="2.0"} 2.0',
        'gateway_seconds_bucket{le="+Inf"} 2.0',
        "gateway_seconds_count 2.0",
        "gateway_seconds_sum 3.0",
        "gateway_in_flight 3.0",
        'gateway_target_cooldown{target="x"} 1.0',
        "gateway_config_generation 14.0",
        "process_start_time_seconds 101.0",
    ]


def test_of_an_ended_worker_only_what_was_counted_goes_on() -> None:
    left = counted(collected(registry(1)))
    assert set(left) == {"gateway_things", "gateway_seconds"}


def test_metrics_of_the_config_are_the_supervisors() -> None:
    assert "gateway_config_generation" not in without_config(collected(registry(1)))


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
