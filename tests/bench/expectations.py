"""What the gateway must show, each beside what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench import cache, limits, own, picks, vendors
from tests.bench.figures import BUSY, USED, Run, number
from tests.bench.measures import BARE_IMPORT, CPU, CPU_OF_STREAM, RATE
from tests.bench.peers import DIRECT, GATEWAY, LITELLM, NGINX, PORTKEY, RELAY, TRANSLATED

Found = Callable[[Run], float | None]
"""Gets a number out of a run; None when it was not measured."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing to show: a number and how much it must be at least, or at most."""

    measure: str
    found: Found
    limit: float
    at_most: bool = False
    unit: str = ""
    by_cpu: Found | None = None
    """The same ratio from CPU time. It counts when other work disturbed the rates, or the gateway was held up."""
    by_clock: bool = False
    """A time that nothing can be said about when other work disturbed it."""
    load: str = ""
    """The measure that tells whether client and upstream kept up with the gateway."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An expectation and what became of it, as text."""

    measure: str
    wanted: str
    measured: str
    verdict: str


def judged(run: Run) -> list[Judged]:
    """Return every expectation with what was measured."""
    return [_judge(expected, run) for expected in EXPECTATIONS]


def _judge(expected: Expectation, run: Run) -> Judged:
    unit = f" {expected.unit}" if expected.unit else ""
    wanted = f"{'≤' if expected.at_most else '≥'} {expected.limit:g}{unit}"
    value = expected.found(run)
    if value is None:
        return Judged(expected.measure, wanted, "–", "not measured")
    by_cpu = expected.by_cpu(run) if expected.by_cpu is not None else None
    measured = number(value) + unit + (f" (by CPU time {number(by_cpu)})" if by_cpu is not None else "")
    if by_cpu is not None and (run.disturbed or _held_up(run, expected.load)):
        value = by_cpu
    if expected.by_clock and run.disturbed:
        return Judged(expected.measure, wanted, measured, "not judged: disturbed")
    met = value <= expected.limit if expected.at_most else value >= expected.limit
    return Judged(expected.measure, wanted, measured, "met" if met else "**missed**")


def _held_up(run: Run, measure: str) -> bool:
    return (run.value(measure, USED, GATEWAY) or 100.0) < BUSY


def _ratio(measure: str, case: str, other: str, peer: str = GATEWAY) -> Found:
    return lambda run: run.ratio(measure, case, peer, other)


def _value(measure: str, case: str) -> Found:
    return lambda run: run.value(measure, case, GATEWAY)


def _against(other: str, limit: float, *, peer: str = GATEWAY, name: str = "") -> Expectation:
    return Expectation(
        f"{name or 'requests/s'} ÷ {other}",
        _ratio("requests", RATE, other, peer),
        limit,
        by_cpu=_ratio("requests", CPU, peer, other),
        load="requests",
    )


def _added_p50(run: Run) -> float | None:
    """Return what the gateway adds at one connection over what the relay adds, by rounds."""
    rounds = {
        figure.peer: figure.rounds
        for figure in run.figures
        if (figure.measure, figure.case) == ("latency", "1 connection, p50, ms")
    }
    if not {DIRECT, RELAY, GATEWAY} <= rounds.keys():
        return None
    added = zip(rounds[GATEWAY], rounds[RELAY], rounds[DIRECT], strict=False)
    return median((ours - bare) / max(its - bare, 1e-9) for ours, its, bare in added)


def _own_cost(run: Run) -> float | None:
    ratio = run.ratio("library", "CPU of answer, µs", own.OURS, own.ALONE)
    return None if ratio is None else 100 * (ratio - 1)


def _native(vendor: vendors.Vendor) -> list[Expectation]:
    """Return what a target must show that the gateway translates for itself."""
    ours, theirs, measure = vendor.ours(), vendor.theirs(), vendors.MEASURE
    return [
        *_cpu(vendor, request=2.5, stream=2),
        Expectation(
            f"requests/s of {vendor.label} targets ÷ LiteLLM proxy's",
            _ratio(measure, RATE, theirs, ours),
            30,
            by_cpu=_ratio(measure, CPU, ours, theirs),
        ),
        Expectation(
            f"streams/s of {vendor.label} targets ÷ LiteLLM proxy's",
            _ratio(measure, vendors.STREAMS, theirs, ours),
            50,
            by_cpu=_ratio(measure, CPU_OF_STREAM, ours, theirs),
        ),
        Expectation(
            f"added p50 at 1 connection, {vendor.label} target",
            lambda run: _added(run, ours),
            1.5,
            at_most=True,
            unit="ms",
            by_clock=True,
        ),
        *(
            Expectation(
                f"{vendor.label} target, 100 streams: {case.removesuffix(', ms')}",
                lambda run, case=case: run.value(measure, case, ours),  # type: ignore[misc] # mypy infers no default
                5,
                at_most=True,
                unit="ms",
                by_clock=True,
            )
            for case in (vendors.LATE, vendors.LATE_BUSY)
        ),
    ]


def _cpu(vendor: vendors.Vendor, *, request: float, stream: float) -> list[Expectation]:
    """Return how many times the CPU time of relayed ones the requests and streams of a vendor's targets may take."""
    ours = vendor.ours()
    return [
        Expectation(
            f"CPU per {what}, {vendor.label} target ÷ relayed",
            _ratio(vendors.MEASURE, case, vendors.RELAYED, ours),
            limit,
            at_most=True,
        )
        for what, case, limit in (("request", CPU, request), ("stream", CPU_OF_STREAM, stream))
    ]


def _added(run: Run, peer: str) -> float | None:
    """Return what a peer adds to the p50 of no gateway at one connection, in ms, by rounds."""
    rounds = {figure.peer: figure.rounds for figure in run.figures if figure.case == vendors.P50}
    if not {DIRECT, peer} <= rounds.keys():
        return None
    return median(ours - bare for ours, bare in zip(rounds[peer], rounds[DIRECT], strict=False))


def _memory(peer: str, limit: float) -> Expectation:
    return Expectation(
        f"memory idle, {peer}", lambda run: run.value("memory", vendors.IDLE, peer), limit, at_most=True, unit="MB"
    )


EXPECTATIONS: Final = [
    _against(NGINX, 0.25),
    _against(RELAY, 1.7),
    _against(PORTKEY, 10),
    _against(LITELLM, 100),
    Expectation("added p50 at 1 connection ÷ aiohttp relay's", _added_p50, 0.7, at_most=True, by_clock=True),
    Expectation(
        "streams/s (50 events) ÷ aiohttp relay",
        _ratio("streams", RATE, RELAY),
        1.5,
        by_cpu=_ratio("streams", CPU_OF_STREAM, GATEWAY, RELAY),
        load="streams",
    ),
    Expectation(
        "requests/s with bodies of 10 MB ÷ aiohttp relay",
        _ratio("bodies", "10 MB, /s", RELAY),
        1,
        by_cpu=_ratio("bodies", "10 MB, CPU ms", GATEWAY, RELAY),
    ),
    Expectation(
        "memory above idle ÷ bodies of 10 MB in flight, answers as long",
        _value("bodies", "10 MB, memory ÷ body"),
        3,
        at_most=True,
    ),
    Expectation(
        "streams/s with a post hook on each event ÷ without hooks",
        _ratio("hooks", vendors.STREAMS, own.NO_HOOKS, own.POST_HOOK),
        0.4,
        by_cpu=_ratio("hooks", CPU_OF_STREAM, own.POST_HOOK, own.NO_HOOKS),
    ),
    Expectation(
        "requests/s with 100,000 aliases ÷ with 1",
        _ratio("aliases", RATE, own.alias_label(1), own.ONE_OF_MANY),
        0.95,
        by_cpu=_ratio("aliases", CPU, own.ONE_OF_MANY, own.alias_label(1)),
    ),
    Expectation(
        f"requests/s for {own.ASKED:,} of 100,000 aliases in turn ÷ for one of them",
        _ratio("aliases", RATE, own.ONE_OF_MANY, own.alias_label(100_000)),
        0.97,
        by_cpu=_ratio("aliases", CPU, own.alias_label(100_000), own.ONE_OF_MANY),
    ),
    Expectation(
        "p99 while a 10,000-alias file reloads each second ÷ p99 at rest",
        _ratio("reload", own.P99, own.AT_REST, own.RELOADING),
        2,
        at_most=True,
        by_clock=True,
    ),
    Expectation(
        "cold start to ready, all relayed ÷ " + BARE_IMPORT,
        _ratio("start", "ready after, ms", BARE_IMPORT),
        2,
        at_most=True,
        by_clock=True,
    ),
    Expectation("memory idle, all relayed", _value("memory", "idle, MB"), 60, True, "MB"),
    Expectation("1,000 slow streams: lost or broken", _value("slow streams", "lost or broken"), 0, True),
    Expectation(
        "1,000 slow streams: late by, p99",
        _value("slow streams", "event late by p99, ms"),
        100,
        at_most=True,
        unit="ms",
        by_clock=True,
    ),
    Expectation("1,000 slow streams: memory", _value("slow streams", "memory at most, MB"), 150, True, "MB"),
    Expectation("own cost over litellm.acompletion", _own_cost, 5, True, "%"),
    _against(LITELLM, 2.5, peer=TRANSLATED, name="requests/s with LiteLLM targets"),
    *(expected for vendor in vendors.NATIVES for expected in _native(vendor)),
    *(expected for vendor in vendors.OTHERS for expected in _cpu(vendor, request=12, stream=12)),
    *(
        Expectation(
            f"CPU per relayed stream, {wire} ÷ {like}",
            _ratio("wires", CPU_OF_STREAM, like, wire),
            1.3,
            at_most=True,
        )
        for wire, like in (
            (vendors.MESSAGES, vendors.LIKE_MESSAGES),
            (vendors.RESPONSES, vendors.LIKE_RESPONSES),
        )
    ),
    *(
        Expectation(f"a pool of ten, {case}", _value("picks", case), limit, at_most=True, unit="µs", by_clock=True)
        for case, limit in picks.LIMITS_US.items()
    ),
    *(
        Expectation(f"limits, {case}", _value("limits", case), limit, at_most=True, unit="µs", by_clock=True)
        for case, limit in limits.LIMITS_US.items()
    ),
    Expectation(
        "answers/s from the cache ÷ relayed",
        _ratio("cache", RATE, cache.RELAYED, cache.HIT),
        cache.LEAST,
        by_cpu=_ratio("cache", CPU, cache.HIT, cache.RELAYED),
    ),
    _memory(vendors.NATIVE, 70),
    _memory(vendors.CLASSES, 220),
]
