"""What the gateway must show, each beside what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.bench.figures import Run
from tests.bench.peers import GATEWAY, LITELLM, NGINX, PORTKEY, RELAY

_RATE: Final = "32 connections, /s"
_P50: Final = "1 connection, p50"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing to show: a number and how much it must be at least, or at most."""

    measure: str
    of: Callable[[Run], float | None]
    """None when it was not measured."""
    limit: float
    at_most: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """An expectation and what became of it, as text."""

    measure: str
    wanted: str
    measured: str
    verdict: str


def judged(run: Run) -> list[Judged]:
    """Return every expectation with what was measured."""
    return [_judge(expected, expected.of(run)) for expected in EXPECTATIONS]


def _judge(expected: Expectation, value: float | None) -> Judged:
    unit = f" {expected.unit}" if expected.unit else ""
    wanted = f"{'≤' if expected.at_most else '≥'} {expected.limit:g}{unit}"
    if value is None:
        return Judged(expected.measure, wanted, "–", "not measured")
    met = value <= expected.limit if expected.at_most else value >= expected.limit
    return Judged(expected.measure, wanted, f"{value:.3g}{unit}", "met" if met else "**missed**")


def _ratio(measure: str, case: str, other: str) -> Callable[[Run], float | None]:
    return lambda run: run.ratio(measure, case, GATEWAY, other)


def _value(measure: str, case: str) -> Callable[[Run], float | None]:
    return lambda run: run.value(measure, case, GATEWAY)


EXPECTATIONS: Final = [
    Expectation("requests/s ÷ nginx", _ratio("requests", _RATE, NGINX), 0.25),
    Expectation("requests/s ÷ aiohttp relay", _ratio("requests", _RATE, RELAY), 1.7),
    Expectation("requests/s ÷ Portkey", _ratio("requests", _RATE, PORTKEY), 10),
    Expectation("requests/s ÷ LiteLLM proxy", _ratio("requests", _RATE, LITELLM), 100),
]
