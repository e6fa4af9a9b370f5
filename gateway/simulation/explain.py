"""Explain a route as data: chain, limits, parameters and hooks, a simulated call, and the worst case.

`gateway explain` and the server's `/-/explain` show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Final, Literal, TypeAlias

from gateway.adapters.base import Call, Operation
from gateway.adapters.mock import MockAdapter
from gateway.engine.arrange import Picked, member_shares
from gateway.engine.attempts import unsupported_steps
from gateway.engine.bound import relaying_steps
from gateway.engine.health import Health
from gateway.engine.hooks import refusal
from gateway.engine.limits.entering import unpriced_by_providers
from gateway.engine.limits.estimate import PriceOf
from gateway.engine.limits.outlook import Outlook
from gateway.engine.limits.store import Fill
from gateway.engine.missing_paths import MissingPaths
from gateway.errors import GatewayError, NotAllowed, NotKept, UnknownGroup
from gateway.operations import CHAT, OPERATIONS, operation_of, params_for
from gateway.policy.conditions import unmet
from gateway.policy.failures import names_of
from gateway.policy.keys import NO_KEY
from gateway.policy.params import merged_for_output
from gateway.policy.pools import conditionals, positions, reads_body
from gateway.policy.table import Hook, Route, RoutingTable, Shadow, Step
from gateway.policy.target import ScriptedOutcome
from gateway.policy.wires import as_list
from gateway.simulation.circumstances import NOW, Circumstances
from gateway.simulation.client_limits import limits_as_json
from gateway.simulation.keeping import Keeping, keeping, keeping_as_json
from gateway.simulation.simulator import Observed
from gateway.simulation.upstreams import ANSWERED, best_match
from gateway.simulation.walk import Walk, seeded, walk, worst
from gateway.telemetry.report import PassedOver
from gateway.wire.json import EMPTY, Json, JsonObject

PreHooks: TypeAlias = Literal["none", "run", "not run", "ended"]
"""Whether the asked alias' pre hooks had run when pools and conditions were read. `ended`: one ends the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The most calls that one request can make, and the longest time until it fails."""

    calls: int
    plain_s: float
    stream_s: float
    """Seconds until the stream has failed to begin."""
    untried: tuple[int, ...]
    """Steps for which slow failures of a plain answer leave no time."""
    busiest: Walk
    """The walk with the most calls."""
    plain: Walk
    stream: Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The explanation of one name."""

    name: str
    """The name as a client asks for it."""
    route: Route
    operation: str
    stream: bool
    """Whether `walk` is of a stream."""
    refused: GatewayError | None
    """The error for a request of which nothing is called, such as one that a pre hook must see and does not know."""
    takes: tuple[str, ...]
    """The operations that a target carries and no pre hook refuses."""
    refuses: tuple[str, ...]
    """Those that a target carries and a pre hook refuses."""
    bound: str | None
    """The target of bound requests whose maker is not known; None if none are bound, or all go there anyway."""
    walk: Walk
    worst: Worst
    pools: tuple[PoolOrder, ...] = ()
    conditions: tuple[Condition, ...] = ()
    pre_hooks: PreHooks = "none"
    """Of hooks that can change what the pools, conditions and the cache read."""
    limits: Outlook | None = None
    """What the limits of the client that asks mean for the request; None without such a client."""
    cache: Keeping | None = None
    """What the alias' cache does for the request; None without one, and where the request does not get as far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOrder:
    """One pool of a chain: the members' shares, and their order for the request."""

    picked: Picked
    shares: tuple[float, ...]
    """By member: its part of the requests like this one, for which it comes first."""

    def names(self) -> list[str]:
        """Return the members in their order."""
        return [self.picked.pool.members[member].name for member in self.picked.order]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of a chain, as far as the request meets it."""

    steps: tuple[int, ...]
    """Those that it is for."""
    unmet: str | None
    """The first part that the request does not meet; None if the condition holds."""


def look_up(table: RoutingTable, name: str) -> Route | None:
    """Return the route for a client's name, or for a wildcard named by its own pattern."""
    return table.find(name) or (table.wildcards.get(name[:-1]) if name.endswith("*") else None)


def explain(
    name: str,
    route: Route,
    fails: Mapping[str, ScriptedOutcome],
    *,
    operation: str | None = None,
    request: Mapping[str, Json] = EMPTY,
    mock: MockAdapter,
    health: Health | None = None,
    circumstances: Circumstances = NOW,
    left: JsonObject | None = None,
    pre_hooks: PreHooks | None = None,
    limits: Outlook | None = None,
    fills: Sequence[Fill] = (),
    keeps_answers: bool = True,
    price_of: PriceOf | None = None,
) -> Explanation:
    """Explain a route for a request. `fails` has the outcomes of failing targets, by name or pattern.

    The other targets answer, those of `mock` by their scripts. Pools and conditions are asked for the body `left`, or
    for `request` as it is if that is None, in these `circumstances`; `left` is what pre hooks make of `request`, and
    `pre_hooks` tells of them (None: they were not run, if the route has some). Of `request` only the wish for a stream
    counts beside that, and what it tells of the operation where `operation` is None. `health` and `fills` are as for
    `walk`. `limits` are those of the client that asks; what they refuse is not called. Nothing is kept yet of aliases
    with a cache; not `keeps_answers`: nor will it be.
    `price_of` is the table's. Runs event loops of its own, so never call it from a coroutine.
    """
    asked = OPERATIONS[operation] if operation else operation_of(request)
    stream = asked.wants_stream(request)
    facts = circumstances.facts(asked, request if left is None else left, stream=stream)
    draw = seeded(circumstances.seed)

    def suppose(call: Call, *_: int) -> ScriptedOutcome | None:
        named = fails.get(best_match(call.target.name, fails) or "")
        return named or (None if call.target.endpoint.adapter == "mock" else ANSWERED)

    unpriced = unpriced_by_providers(route.steps, price_of)
    if limits is not None:
        unpriced |= limits.unpriced
    fast = worst(route, operation=asked, stream=False, slow=False, unpriced=unpriced)
    plain = worst(route, operation=asked, stream=False, slow=True, unpriced=unpriced)
    streamed = worst(route, operation=asked, stream=True, slow=True, unpriced=unpriced)
    busiest = max((fast, plain, streamed), key=lambda one: len(one.events))
    unsupported = {step for step, reason in plain.passed_over.items() if reason == "unsupported"}
    bad = Worst(
        calls=len(busiest.events),
        plain_s=plain.ended_s,
        stream_s=streamed.ended_s,
        untried=tuple(step for step in range(len(route.steps)) if step not in plain.tried | unsupported),
        busiest=busiest,
        plain=plain,
        stream=streamed,
    )
    call = walk(
        route,
        suppose,
        operation=asked,
        stream=stream,
        mock=mock,
        health=health,
        facts=facts,
        draw=draw,
        fills=fills,
        unpriced=unpriced,
        price_of=price_of,
    )
    carried = [one for one in OPERATIONS.values() if len(unsupported_steps(route.steps, one)) < len(route.steps)]
    refused_by = {one.name: route.passing(one.name).refused_by for one in carried}
    passing = route.passing(asked.name)
    found = passing.refused_by
    cache = None
    if found is None and not (limits is not None and isinstance(limits.refused, NotAllowed | UnknownGroup)):
        cache = keeping(
            name,
            route,
            asked,
            request if left is None else left,
            stream=stream,
            headers=circumstances.headers,
            client=None if circumstances.caller is None else circumstances.caller.name,
            facts=facts,
            is_sent_on=limits is not None and limits.sent_on is not None,
            keeps=keeps_answers,
        )
    if pre_hooks is None:
        pre_hooks = "not run" if passing.route.pre else "none"
    return Explanation(
        name=name,
        route=route,
        operation=asked.name,
        stream=stream,
        refused=_refusal(found, asked, limits, cache),
        takes=tuple([name for name, by in refused_by.items() if by is None]),
        refuses=tuple([name for name, by in refused_by.items() if by is not None]),
        bound=_bound(route, asked),
        walk=call,
        worst=bad,
        pools=_pools(call),
        conditions=tuple(
            [
                Condition(steps=tuple(positions(one.parts)), unmet=unmet(one.when, facts))
                for one in conditionals(route.parts or ())
            ]
        ),
        pre_hooks=pre_hooks if cache is not None or reads_body(route.parts or ()) else "none",
        limits=limits,
        cache=cache,
    )


def _refusal(
    found: tuple[str, Hook] | None, operation: Operation, limits: Outlook | None, cache: Keeping | None
) -> GatewayError | None:
    """Return why nothing is called.

    The model is not the client's, a pre hook is in the way, a kept answer is wanted only, or a limit is full.
    """
    if cache is not None and cache.needs_kept:
        return NotKept("the request asks for a kept answer only, and there is none")
    refused = None if limits is None else limits.refused
    if found is None or isinstance(refused, NotAllowed | UnknownGroup):
        return refused
    return refusal(*found, operation.name)


def _pools(call: Walk) -> tuple[PoolOrder, ...]:
    made = call.arrangement
    if made is None:
        return ()
    return tuple(
        [PoolOrder(picked=picked, shares=tuple(member_shares(picked.pool, made.skipped))) for picked in made.picked]
    )


def _bound(route: Route, operation: Operation) -> str | None:
    if not operation.can_bind or len(route.steps) == 1:
        return None
    relaying = relaying_steps(route.steps, operation, MissingPaths(), now_s=0.0)
    return route.steps[relaying[0]].target.name if relaying else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request sent through its hooks to upstreams that all answer."""

    whole: Observed
    """Its outcome with the whole chain."""
    by_step: tuple[Observed, ...]
    """Its outcome with each step alone, so that the hooks of nested aliases run for their own steps."""


def send(table: RoutingTable, route: Route, body: JsonObject, ask: Callable[[RoutingTable], Observed]) -> Sent:
    """Send `body` by `ask`, and once more for each way through nested aliases with hooks."""
    whole = ask(table)
    if not any(step.nested for step in route.steps):
        return Sent(whole=whole, by_step=(whole,) * len(route.steps))
    ways = [tuple(own.alias for own in step.nested) for step in route.steps]
    found: dict[tuple[str, ...], Observed] = {}
    for way, step in zip(ways, route.steps, strict=True):
        if way not in found:
            alone = {**table.routes, body["model"]: replace(route, steps=(step,), parts=None)}
            found[way] = ask(replace(table, routes=alone))
    return Sent(whole=whole, by_step=tuple(found[way] for way in ways))


def sent_to_each(route: Route, sent: Sent) -> list[JsonObject | None]:
    """Return the body for each target of the chain, secrets masked; None where the request ends before it."""
    return [_body(step, observed) for step, observed in zip(route.steps, sent.by_step, strict=True)]


def _body(step: Step, sent: Observed) -> JsonObject | None:
    if not sent.attempts:
        return None
    call = sent.attempts[0].call
    return merged_for_output(call.params, params_for(call.operation, step.params), step.target.model)


def verdicts(route: Route, walk: Walk, operation: str = CHAT.name) -> dict[int, str]:
    """Return the reason for each step that is not called, by position."""
    last = walk.events[-1] if walk.events else None
    reasons: dict[int, str] = {}
    for step in range(len(route.steps)):
        if step in walk.tried:
            continue
        if step in walk.passed_over:
            is_other = (
                walk.passed_over[step] == "unsupported" and operation in route.steps[step].target.endpoint.adapters
            )
            why = _OTHER_MODEL if is_other else _PASSED_OVER[walk.passed_over[step]]
            if step in walk.unpriced and walk.passed_over[step] == "unsupported":
                why = _NO_PRICE
            if walk.arrangement is not None and step in walk.arrangement.skipped:
                why += f": {walk.arrangement.skipped[step]}"
            reasons[step] = f"passed over: {why}"
        elif last is None or walk.reason == "deadline":
            reasons[step] = "not reached: the deadline passes first"
        elif walk.reason == "stopped":
            reasons[step] = f"not reached: the call stops at {last.kind}"
        else:
            reasons[step] = "kept in reserve" if len(walk.events) == 1 else "not reached"
    return reasons


_OTHER_MODEL: Final = "its model is another one than the first target's"
_NO_PRICE: Final = "its price is not known, and spend is limited"
_PASSED_OVER: Final[Mapping[PassedOver, str]] = {
    "bound": "the request is bound to another target",
    "condition": "the request does not meet its condition",
    "cooldown": "in cooldown",
    "limited": "its provider's limits have no room",
    "unsupported": "its adapter cannot carry this operation",
}


def as_json(explanation: Explanation) -> JsonObject:
    """Return the whole explanation as JSON; durations are in seconds."""
    route, bad, refused = explanation.route, explanation.worst, explanation.refused
    hook = partial(_hook, operation=explanation.operation)
    walk = _walk(route, explanation.walk, explanation.operation)
    arranged = (
        {}
        if route.parts is None
        else {
            "pools": list(map(_pool, explanation.pools)),
            "conditions": [
                {"steps": [step + 1 for step in one.steps], "holds": one.unmet is None, "unmet": one.unmet}
                for one in explanation.conditions
            ],
            "pre_hooks": explanation.pre_hooks,
        }
    )
    return {
        "name": explanation.name,
        "alias": route.alias,
        "operation": explanation.operation,
        "takes": list(explanation.takes),
        "refuses": list(explanation.refuses),
        "bound": explanation.bound,
        "refused": None if refused is None else str(refused),
        "description": route.description,
        "deadline_s": route.deadline_s,
        "max_attempts": route.max_attempts,
        "stream": {
            "hold": route.stream.hold,
            "max_bytes": route.stream.max_bytes,
            "keepalive_s": route.stream.keepalive_s,
        },
        "hedge": None if route.hedge is None else {"after_s": route.hedge.after_s},
        "shadow": None if route.shadow is None else _shadow(route.shadow),
        "hooks": {"pre": list(map(hook, route.pre)), "post": list(map(hook, route.post))},
        **({} if explanation.cache is None else {"cache": keeping_as_json(explanation.cache)}),
        **({} if explanation.limits is None else {"client": limits_as_json(explanation.limits)}),
        "chain": [_step(number, step, hook) for number, step in enumerate(route.steps, start=1)],
        **arranged,
        "walk": walk if refused is None else nothing_called(walk, refused.status, refused.code),
        "worst_case": {
            "calls": bad.calls,
            "plain_s": _seconds(bad.plain_s),
            "stream_s": _seconds(bad.stream_s),
            "untried": [route.steps[step].target.name for step in bad.untried],
        },
    }


def _pool(order: PoolOrder) -> JsonObject:
    pool = order.picked.pool
    return {
        "pick": pool.pick,
        "key": order.picked.source,
        "order": order.names(),
        "members": [
            {
                "name": member.name,
                "weight": member.weight,
                "share": round(share, 4),
                "steps": [step + 1 for step in positions(member.parts)],
            }
            for member, share in zip(pool.members, order.shares, strict=True)
        ],
    }


def nothing_called(walk: JsonObject, status: int | None, error: str | None) -> JsonObject:
    """Return a walk as JSON for a request that ends before any call; no `status` for one that never ends."""
    steps = sorted([*walk["calls"], *walk["not_called"]], key=itemgetter("step"))
    targets = {call["step"]: call["target"] for call in steps}
    skipped = [{"step": step, "target": target, "why": "nothing is sent"} for step, target in targets.items()]
    outcome = {"status": status, "error": error, "ended_s": 0.0, "answered": None}
    return walk | outcome | {"calls": [], "not_called": skipped}


def _step(number: int, step: Step, hook: Callable[[Hook], JsonObject]) -> JsonObject:
    endpoint = step.target.endpoint
    return {
        "step": number,
        "target": step.target.name,
        "provider": endpoint.provider,
        "model": step.target.model,
        "adapter": endpoint.adapter,
        "library_adapter": endpoint.library_adapter or endpoint.adapter,
        "wires": sorted(endpoint.wires or ()),
        "base_url": endpoint.shown_url,
        "has_key": has_key(step),
        "keys": len(step.by_key) or int(endpoint.api_key is not NO_KEY),
        "limits": asdict(step.limits),
        "retries": step.retries,
        "retry_on": names_of(step.retry_on),
        "fallback_on": names_of(step.fallback_on),
        "params": step.params.shown,
        "hooks": [
            {"alias": own.alias, "pre": list(map(hook, own.pre)), "post": list(map(hook, own.post))}
            for own in step.nested
        ],
        "cooldown": asdict(endpoint.cooldown),
    }


def _shadow(shadow: Shadow) -> JsonObject:
    return {"target": shadow.step.target.name, "share": shadow.share, "has_key": has_key(shadow.step)}


def has_key(step: Step) -> bool | None:
    """Tell whether a step's target has its key; None when it needs none."""
    endpoint = step.target.endpoint
    if endpoint.api_key.read() is not None:
        return True
    return False if endpoint.key_required else None


def _hook(hook: Hook, *, operation: str) -> JsonObject:
    return {
        "path": hook.path,
        "async": hook.is_async,
        "timeout_s": hook.timeout_s,
        "on_error": hook.on_error,
        "operations": as_list(hook.operations),
        "events": hook.events,
        "knows": operation in hook.operations,
    }


def _walk(route: Route, walk: Walk, operation: str) -> JsonObject:
    unreached = verdicts(route, walk, operation)
    return {
        "status": walk.error.status if walk.error else 200,
        "error": walk.error.code if walk.error else None,
        "ended_s": _seconds(walk.ended_s),
        "answered": None if walk.answered is None else route.steps[walk.answered].target.name,
        "calls": [
            {
                "step": event.step + 1,
                "target": route.steps[event.step].target.name,
                "at_s": _seconds(event.started_s),
                "took_s": _seconds(event.ended_s - event.started_s),
                "kind": event.kind,
                "status": event.status,
                "last_resort": event.last_resort,
                "hedge": event.hedge,
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
