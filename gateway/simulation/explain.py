"""A route in full, as data: its chain, limits, parameters and hooks, what a call would do, and the worst that can come.

`gateway explain --format json` prints it; a server can answer with it, given its targets' live health.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.adapters.base import Call
from gateway.adapters.mock import MockAdapter
from gateway.engine.health import State
from gateway.operations import operation_of, params_for
from gateway.policy.failures import names_of
from gateway.policy.params import merged_for_output
from gateway.policy.table import Hook, Route, RoutingTable, Step
from gateway.policy.target import Limits, ScriptedOutcome
from gateway.simulation.simulator import Observed
from gateway.simulation.upstreams import ANSWERED, best_match
from gateway.simulation.walk import Walk, walk, worst
from gateway.telemetry.report import PassedOver
from gateway.wire.json import EMPTY, Json, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The most calls that a request can make, and the longest that it can take until it has no answer."""

    calls: int
    plain_s: float
    stream_s: float
    """Until the stream begins; how long it goes on is for its limits alone."""
    untried: tuple[int, ...]
    """Steps that slow failures of a plain answer leave no time for."""
    busiest: Walk
    """The one with the most calls."""
    plain: Walk
    stream: Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that can be said of one name beforehand."""

    name: str
    """As a client asks."""
    route: Route
    walk: Walk
    worst: Worst


def look_up(table: RoutingTable, name: str) -> Route | None:
    """Return the route for a client's name, or for a wildcard named by its own pattern."""
    return table.find(name) or (table.wildcards.get(name[:-1]) if name.endswith("*") else None)


def explain(
    name: str,
    route: Route,
    fails: Mapping[str, ScriptedOutcome],
    *,
    request: Mapping[str, Json] = EMPTY,
    mock: MockAdapter,
    health: State | None = None,
) -> Explanation:
    """Explain a route for a request whose targets fail as `fails` says, by name or pattern.

    `request` is a body; it says no more than which operation it asks for, and whether as a stream.
    A target that it does not name answers; one of `mock` does what it would do next. `health` is as for `walk`, and
    this runs event loops as that does.
    """

    operation = operation_of(request)
    stream = operation.wants_stream(request)

    def suppose(call: Call, *_: int) -> ScriptedOutcome | None:
        named = fails.get(best_match(call.target.name, fails) or "")
        return named or (None if call.target.endpoint.adapter == "mock" else ANSWERED)

    fast = worst(route, operation=operation, stream=False, slow=False)
    plain = worst(route, operation=operation, stream=False, slow=True)
    streamed = worst(route, operation=operation, stream=True, slow=True)
    busiest = max((fast, plain, streamed), key=lambda one: len(one.events))
    return Explanation(
        name=name,
        route=route,
        walk=walk(route, suppose, operation=operation, stream=stream, mock=mock, health=health),
        worst=Worst(
            calls=len(busiest.events),
            plain_s=plain.ended_s,
            stream_s=streamed.ended_s,
            untried=tuple(
                step
                for step in range(len(route.steps))
                if step not in plain.tried and plain.passed_over.get(step) != "unsupported"
            ),
            busiest=busiest,
            plain=plain,
            stream=streamed,
        ),
    )


def sent_to_each(route: Route, sent: Observed) -> list[JsonObject]:
    """Return what each target of the chain would get of a request, as an output may show it. Some target got it."""
    operation, params = sent.attempts[0].operation, sent.attempts[0].params
    return [merged_for_output(params, params_for(operation, step.params), step.target.model) for step in route.steps]


def verdicts(route: Route, walk: Walk) -> dict[int, str]:
    """Return, for every step that is not called, why it is not."""
    last = walk.events[-1] if walk.events else None
    told: dict[int, str] = {}
    for step in range(len(route.steps)):
        if step in walk.tried:
            continue
        if step in walk.passed_over:
            told[step] = f"passed over: {_PASSED_OVER[walk.passed_over[step]]}"
        elif last is None or walk.reason == "deadline":
            told[step] = "not reached: the deadline passes first"
        elif walk.reason == "stopped":
            told[step] = f"not reached: the call stops at {last.kind}"
        else:
            told[step] = "kept in reserve" if len(walk.events) == 1 else "not reached"
    return told


_PASSED_OVER: Final[Mapping[PassedOver, str]] = {
    "cooldown": "in cooldown",
    "unsupported": "its adapter cannot carry this operation",
}


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
        "library_adapter": endpoint.library_adapter or endpoint.adapter,
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


def _walk(route: Route, walk: Walk) -> JsonObject:
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
