"""A route in full, as data: its chain, limits, parameters and hooks, what a call would do, and the worst that can come.

`gateway explain --format json` prints it; a server can answer with it, given its targets' live health.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.policy.failures import names_of
from gateway.policy.table import Hook, Route, RoutingTable, Step
from gateway.policy.target import Limits
from gateway.simulation.forecast import Fate, Forecast, forecast, worst
from gateway.wire.json import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The most calls that a request can make, and the longest that it can take until it has no answer."""

    calls: int
    plain_s: float
    stream_s: float
    """Until the stream begins; how long it goes on is for its limits alone."""
    untried: tuple[int, ...]
    """Steps that slow failures of a plain answer leave no time for."""
    busiest: Forecast
    """The one with the most calls."""
    plain: Forecast
    stream: Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that can be said of one name beforehand."""

    name: str
    """As a client asks."""
    route: Route
    walk: Forecast
    worst: Worst


def look_up(table: RoutingTable, name: str) -> Route | None:
    """Return the route for a client's name, or for a wildcard named by its own pattern."""
    return table.find(name) or (table.wildcards.get(name[:-1]) if name.endswith("*") else None)


def explain(name: str, route: Route, fate: Fate, *, resting: Mapping[int, float] | None = None) -> Explanation:
    """Explain a route for calls that fare as `fate` says.

    `resting`: the steps that are in cooldown by now, with the seconds until it ends.
    """
    fast = worst(route, stream=False, slow=False)
    plain = worst(route, stream=False, slow=True)
    stream = worst(route, stream=True, slow=True)
    busiest = max((fast, plain, stream), key=lambda one: len(one.events))
    return Explanation(
        name=name,
        route=route,
        walk=forecast(route, fate, resting=resting),
        worst=Worst(
            calls=len(busiest.events),
            plain_s=plain.ended_s,
            stream_s=stream.ended_s,
            untried=tuple(step for step in range(len(route.steps)) if step not in plain.tried),
            busiest=busiest,
            plain=plain,
            stream=stream,
        ),
    )


def verdicts(route: Route, walk: Forecast) -> dict[int, str]:
    """Return, for every step that is not called, why it is not."""
    last = walk.events[-1] if walk.events else None
    told: dict[int, str] = {}
    for step in range(len(route.steps)):
        if step in walk.tried:
            continue
        if step in walk.passed_over:
            told[step] = "passed over: in cooldown"
        elif last is None or walk.reason == "deadline":
            told[step] = "not reached: the deadline passes first"
        elif walk.reason == "stopped":
            told[step] = f"not reached: the call stops at {last.kind}"
        else:
            told[step] = "kept in reserve" if len(walk.events) == 1 else "not reached"
    return told


def as_json(explanation: Explanation) -> JsonObject:
    """Return all of it in JSON's types; durations are in seconds."""
    route, bad = explanation.route, explanation.worst
    return {
        "name": explanation.name,
        "alias": route.alias,
        "description": route.description,
        "deadline_s": route.deadline_s,
        "max_attempts": route.max_attempts,
        "stream": {"hold": route.stream.hold, "max_bytes": route.stream.max_bytes},
        "hooks": {"pre": [_hook(hook) for hook in route.pre], "post": [_hook(hook) for hook in route.post]},
        "chain": [_step(number, step) for number, step in enumerate(route.steps, start=1)],
        "walk": _walk(route, explanation.walk),
        "worst_case": {
            "calls": bad.calls,
            "plain_s": _seconds(bad.plain_s),
            "stream_s": _seconds(bad.stream_s),
            "untried": [route.steps[step].target.name for step in bad.untried],
        },
    }


def _step(number: int, step: Step) -> JsonObject:
    endpoint = step.target.endpoint
    cooldown = endpoint.cooldown
    return {
        "step": number,
        "target": step.target.name,
        "provider": endpoint.provider,
        "model": step.target.model,
        "adapter": endpoint.adapter,
        "base_url": endpoint.shown_url,
        "has_key": has_key(step),
        "limits": _limits(step.limits),
        "retries": step.retries,
        "retry_on": names_of(step.retry_on),
        "fallback_on": names_of(step.fallback_on),
        "params": step.params.shown,
        "cooldown": {"failures": cooldown.failures, "within_s": cooldown.within_s, "for_s": cooldown.for_s},
    }


def has_key(step: Step) -> bool | None:
    """Tell whether a step's key is here; None where the target needs none of the file's."""
    endpoint = step.target.endpoint
    if endpoint.api_key.read() is not None:
        return True
    return False if endpoint.key_required else None


def _limits(limits: Limits) -> JsonObject:
    return {
        "connect_s": limits.connect_s,
        "first_token_s": limits.first_token_s,
        "idle_s": limits.idle_s,
        "total_s": limits.total_s,
        "stream_total_s": limits.stream_total_s,
    }


def _hook(hook: Hook) -> JsonObject:
    return {"path": hook.path, "async": hook.is_async, "timeout_s": hook.timeout_s, "on_error": hook.on_error}


def _walk(route: Route, walk: Forecast) -> JsonObject:
    unreached = verdicts(route, walk)
    return {
        "status": walk.error.status if walk.error else 200,
        "error": walk.error.code if walk.error else None,
        "ended_s": _seconds(walk.ended_s),
        "answered": route.steps[walk.events[-1].step].target.name if walk.reason == "answered" else None,
        "calls": [
            {
                "step": event.step + 1,
                "target": route.steps[event.step].target.name,
                "at_s": _seconds(event.started_s),
                "took_s": _seconds(event.ended_s - event.started_s),
                "kind": event.kind,
                "status": event.status,
                "last_resort": event.last_resort,
                "then": event.then,
                "wait_s": _seconds(event.wait_s),
                "why": event.why or None,
            }
            for event in walk.events
        ],
        "not_called": [
            {"step": step + 1, "target": route.steps[step].target.name, "why": why} for step, why in unreached.items()
        ],
    }


def _seconds(value: float) -> float:
    return round(value, 3)
