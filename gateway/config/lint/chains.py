"""Rules for chains that promise too much: unreachable entries, repeats, a single provider, a short deadline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from gateway.config.compiler.implied import implies
from gateway.config.document.yaml_tree import Where
from gateway.config.lint.subject import Chain, Entry, Finding, Policy
from gateway.config.model.specs import AliasSpec, DefaultsSpec
from gateway.policy.pools import Conditional, Part, Pool
from gateway.policy.table import Route, Step, other_models
from gateway.policy.target import Endpoint
from gateway.policy.wires import REFUSED_BY_VERSION, REFUSING_VERSION
from gateway.words import shown

_EMBEDDING: Final = re.compile(r"embed|minilm|(?:^|[/-])(?:bge|e5|gte)-", re.IGNORECASE)
"""Names of models that make embeddings."""
_REGIONS: Final = ("aws_region_name", "region_name", "vertex_location")


def unreachable_steps(policy: Policy) -> Iterator[Finding]:
    """Find a chain's first entry that no failure or full limit, but at most a cooldown, leads to; a late condition."""
    for chain in policy.chains:
        for item, following in pairwise(chain.items if chain.route.hedge is None else ()):
            message = _why_left(chain, item.parts) if item.when is None else None
            if message is not None:
                if message:
                    yield following.finding("unreachable-step", message)
                break
        yield from _shadowed(chain)


def hedges_alone(policy: Policy) -> Iterator[Finding]:
    """Find hedges of chains that have no second target."""
    for chain in policy.chains:
        route = chain.route
        if route.hedge is not None and len({step.target.identity for step in route.steps}) == 1:
            message = f"{route.steps[0].target.name} is the only target: none can be called beside it"
            yield Finding(code="hedge-alone", place=(*chain.place, "hedge"), message=message, at_key=True)


def late_hedges(policy: Policy) -> Iterator[Finding]:
    """Find hedges that no call lasts long enough for."""
    for chain in policy.chains:
        hedge, steps = chain.route.hedge, chain.route.steps
        if hedge is None or hedge.after_s is None:
            continue
        longest_s = max(max(step.limits.first_token_s, step.limits.total_s) for step in steps)
        if hedge.after_s >= min(longest_s, chain.route.deadline_s):
            message = (
                f"no call waits for {shown(hedge.after_s)}: the timeout of its targets and the deadline end it before"
            )
            yield Finding(code="hedge-late", place=(*chain.place, "hedge"), message=message, at_key=True)


def hedges_that_never_call(policy: Policy) -> Iterator[Finding]:
    """Find hedges of chains without two targets that may both get a request: what is kept upstream is sent once."""
    for chain in policy.chains:
        route = chain.route
        targets = {step.target.identity for step in route.steps}
        if route.hedge is None or len(targets) == 1:
            continue
        keeping = [step for step in route.steps if step.params.sent.get("store") is True]
        free = {step.target.identity for step in route.steps if step not in keeping}
        if len(free) < 2:
            named = ", ".join(dict.fromkeys(step.target.name for step in keeping))
            message = f"no second call is made: a request that is kept (`store: true` of {named}) is not sent twice"
            yield Finding(code="hedge-never", place=(*chain.place, "hedge"), message=message, at_key=True)


def _why_left(chain: Chain, parts: Sequence[Part]) -> str | None:
    """Return why no failure of these parts leads beyond them, or None when one does.

    It is empty if the same is told of steps inside, at the alias that has them.
    """
    for number, part in enumerate(parts, start=1):
        if isinstance(part, Conditional):
            continue
        if isinstance(part, Pool):
            whys = [_why_left(chain, member.parts) for member in part.members]
            message = whys[-1] if None not in whys else None
        else:
            message = _why_last(chain, chain.route.steps[part])
        if message is not None:
            return message if number == len(parts) else ""
    return None


def _shadowed(chain: Chain) -> Iterator[Finding]:
    """Find items that are no request's first choice: whatever meets their condition meets an earlier, wider one."""
    for number, item in enumerate(chain.items):
        when = item.when
        wider = next(
            (
                before
                for before, other in enumerate(chain.items[:number])
                if when is not None
                and other.when is not None
                and implies(when, other.when)
                and not implies(other.when, when)
            ),
            None,
        )
        if wider is not None:
            message = (
                f"step {wider + 1} takes these requests first: whatever meets this condition meets its condition too; "
                "put the narrower one before it"
            )
            yield Finding(code="unreachable-step", place=(*item.place, "when"), message=message, at_key=True)


def _why_last(chain: Chain, step: Step) -> str | None:
    """Return why no failure of a step leads to the next one, or None when one does."""
    name = step.target.name
    if step.target.endpoint.limits:  # the next one is called while they are full
        return None
    if _always_answers(step.target.endpoint, step.target.model) and chain.route.stream.hold != "full":
        return f"nothing from here on is ever tried: {name}, just before, always answers"
    if step.fallback_on:
        return None
    return (
        f"no failure of {name} leads here, since its fallback_on is empty: what follows is tried only while "
        "that target is in cooldown"
    )


def _always_answers(endpoint: Endpoint, model: str) -> bool:
    if endpoint.kind != "mock":
        return False
    if endpoint.script:
        return all(
            outcome.status < 400 and outcome.cut is None and outcome.stall is None and not outcome.delay_s
            for outcome in endpoint.script
        )
    return "*" not in model and model not in ("cut", "stall") and not model.startswith(("status-", "slow-"))


def repeated_targets(policy: Policy) -> Iterator[Finding]:
    """Find targets that a chain has a second time with the same limits and parameters.

    After a target with a condition a repeat is for the requests that do not meet it.
    """
    for chain in policy.chains:
        steps = chain.route.steps
        whens = [entry.when for entry in chain.entries for _ in entry.steps]
        for entry in chain.entries:
            # A repeat inside an inserted chain is reported at that chain's own alias.
            before = [
                (number, step)
                for number, (step, when) in enumerate(zip(steps[: entry.first], whens, strict=False), start=1)
                if when is None or (entry.when is not None and implies(entry.when, when))
            ]
            again = {
                step.target.name: next((number for number, other in before if _call(step) == _call(other)), None)
                for step in entry.steps
            }
            named = [f"{name} (step {number})" for name, number in again.items() if number is not None]
            if named:
                message = f"the chain has {', '.join(named)} already: what failed there will most likely fail here"
                yield entry.finding("repeated-target", message)


def _call(step: Step) -> tuple[object, ...]:
    return step.target.name, step.limits, step.params


def single_providers(policy: Policy) -> Iterator[Finding]:
    """Find chains whose targets are all at one provider."""
    for chain in policy.chains:
        steps = chain.route.steps
        endpoints = [step.target.endpoint for step in steps]
        if len({step.target.name for step in steps}) < 2 or any(endpoint.kind == "mock" for endpoint in endpoints):
            continue
        if len({_service(step) for step in steps}) == 1:
            names = list(dict.fromkeys(endpoint.provider for endpoint in endpoints))
            alike = f", all at {_host(endpoints[0]) or endpoints[0].kind}" if len(names) > 1 else ""
            count = "both" if len(steps) == 2 else f"all {len(steps)}"
            message = f"{count} targets are at {' and '.join(names)}{alike}: when it is down, so is this alias"
            yield Finding(code="single-provider", place=chain.place, message=message, at_key=True)


def _service(step: Step) -> tuple[object, ...]:
    """Return the identity of a step's service: the host, or the kind and its region."""
    endpoint = step.target.endpoint
    host = _host(endpoint)
    return (host,) if host else (endpoint.kind, *(step.params.sent.get(name) for name in _REGIONS))


def _host(endpoint: Endpoint) -> str | None:
    parts = urlsplit(endpoint.base_url or "")
    port = {"http": 80, "https": 443}.get(parts.scheme) if parts.port is None else parts.port
    return f"{parts.hostname}:{port}" if parts.hostname else None


def other_embedding_models(policy: Policy) -> Iterator[Finding]:
    """Find entries of chains for embeddings to which no request falls over, as their model is another one.

    A member of a pool, and a step that is first for some requests, is called all the same: then vectors are mixed.
    """
    for chain in policy.chains:
        start = chain.start
        if start is None or not _EMBEDDING.search(chain.route.steps[start].target.model):
            continue
        first = chain.route.steps[start].target.name
        others = {start + position for position in other_models(chain.route.steps[start:])}
        picked = {
            entry.first
            for item in chain.items
            if item.pool is not None
            for entry, member in zip(item.entries, item.pool.members, strict=True)
            if member.weight > 0
        }
        for entry in chain.entries:
            own = range(entry.first, entry.first + len(entry.steps))
            if others.issuperset(own):
                names = ", ".join(step.target.name for step in entry.steps)
                is_picked = entry.first in picked
                does = (
                    f"for embeddings the pool may pick {names}"
                    if is_picked
                    else f"embeddings do not fall over to {names}"
                )
                message = (
                    f"{does}, whose vectors are not {first}'s; for the same model under another name set the same "
                    "params.model_family, and where any will do write fallback_on"
                )
                yield entry.finding("embeddings-other-model", message)


def short_deadlines(policy: Policy) -> Iterator[Finding]:
    """Find chains whose earlier targets may use up the deadline, so that a later one is never tried."""
    defaults = policy.config.defaults
    for chain in policy.chains:
        # In the order of the file: one of a pool's orders, and all conditions met.
        route, spec = replace(chain.route, parts=None), chain.spec
        if len(route.steps) < 2 or route.hedge is not None or _longest_s(route) <= route.deadline_s:
            continue
        step = policy.outside.untried(route)
        if step is None or not _says_limits(defaults, spec, [one for one in chain.entries if one.first < step]):
            continue
        calls = " + ".join(f"{count} × {shown(limit_s)}" for limit_s, count in _calls(route, step))
        who = route.steps[0].target.name if step == 1 else f"the {step} targets before it"
        message = (
            f"{route.steps[step].target.name} may never be tried: {who} can take {calls}, and the deadline is "
            f"{shown(route.deadline_s)}"
        )
        place = chain.place if spec.deadline_s is None else (*chain.place, "deadline")
        yield Finding(code="short-deadline", place=place, message=message, at_key=True)


def _says_limits(defaults: DefaultsSpec, spec: AliasSpec, entries: Sequence[Entry]) -> bool:
    """Tell whether the file sets a limit of these entries: built-in limits alone are no mistake of the file."""
    blocks = [defaults.limits, spec.limits, *(limits for entry in entries for _, limits in entry.layers)]
    if defaults.deadline_s or spec.deadline_s:
        return True
    return any(limits.timeout is not None or limits.retries is not None for limits in blocks)


def _calls(route: Route, steps: int) -> list[tuple[float, int]]:
    """Return (total limit in seconds, most calls) for each run of equal limits among the first `steps`."""
    left = route.max_attempts - len(route.steps)  # one call is kept for every step
    calls: list[tuple[float, int]] = []
    for step in route.steps[:steps]:
        retries = min(step.retries if step.retry_on else 0, left)
        left -= retries
        same = calls.pop()[1] if calls and calls[-1][0] == step.limits.total_s else 0
        calls.append((step.limits.total_s, same + 1 + retries))
    return calls


def _longest_s(route: Route) -> float:
    """Return an upper bound for all calls except the last target's, pauses included."""
    return sum((1 + step.retries) * (step.limits.total_s + 4.0) for step in route.steps[:-1])


def refused_params(policy: Policy) -> Iterator[Finding]:
    """Find params that are not sent to Anthropic with a newer `anthropic-version`; each once, where it is written."""
    seen: set[Where] = set()
    for chain in policy.chains:
        for entry, step in chain.targets:
            endpoint = step.target.endpoint
            if endpoint.kind != "anthropic" or endpoint.adapters.get("messages") != "relay":
                continue
            sent = step.params.sent
            for name in sorted(name for name in REFUSED_BY_VERSION & sent.keys() if sent[name] is not None):
                place = (*_where_written(policy, chain, entry, endpoint, name), "params", name)
                if place not in seen:
                    seen.add(place)
                    message = (
                        f"{name} is not sent to {step.target.name} with a Messages request whose `anthropic-version` "
                        f"is {REFUSING_VERSION} or newer, as that refuses it"
                    )
                    yield Finding(code="refused-param", place=place, message=message, at_key=True)


def _where_written(policy: Policy, chain: Chain, entry: Entry, endpoint: Endpoint, name: str) -> Where:
    """Return the block whose `params` set a parameter of an entry: the innermost one that has it."""
    provider = policy.config.providers.get(endpoint.provider)
    for place, limits in (*entry.layers, (chain.place, chain.spec.limits)):
        if name in limits.params.sent:
            return place
    if provider is not None and name in provider.params.sent:
        return ("providers", endpoint.provider)
    return ("defaults",)
