"""Chains that cannot keep what they promise: entries out of reach, repeats, one provider, too short a deadline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from gateway.lint.policy import Chain, Finding, Policy
from gateway.specs import AliasSpec, DefaultsSpec, StepSpec
from gateway.table import Route, Step
from gateway.types import Endpoint

_REGIONS: Final = ("aws_region_name", "region_name", "vertex_location")


def unreachable_steps(policy: Policy) -> Iterator[Finding]:
    """Find the entries that no failure leads to. Being in cooldown is another way past a target."""
    for chain in policy.chains:
        steps = chain.route.steps
        for number, step in enumerate(steps[:-1]):
            barred = _bars(chain, step)
            entry = chain.entry_of(number + 1)
            if barred is not None and entry.first == number + 1:
                yield Finding(code="unreachable-step", place=entry.value_place, message=barred)
            if barred is not None:
                break


def _bars(chain: Chain, step: Step) -> str | None:
    """Tell why nothing behind a step is reached by its failures, or None."""
    name = step.target.name
    if _always_answers(step.target.endpoint, step.target.model) and chain.route.stream.hold != "full":
        return f"nothing from here on is ever tried: {name}, just before, always answers"
    if not step.fallback_on:
        return (
            f"no failure of {name} leads here, since its fallback_on is empty: what follows is tried only while "
            "that target is in cooldown"
        )
    return None


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
    """Find targets that a chain comes to a second time with the same limits and parameters."""
    for chain in policy.chains:
        seen: list[tuple[int, Step]] = []
        told: set[tuple[int, str]] = set()
        for number, step in enumerate(chain.route.steps):
            entry = chain.entry_of(number)
            before = next((at for at, other in seen if _same_call(step, other)), None)
            name = step.target.name
            # A chain that repeats itself is told of where it stands, not in those that go on with it.
            if before is not None and before < entry.first and (entry.first, name) not in told:
                told.add((entry.first, name))
                through = f"{entry.alias!r} brings {name} into the chain again" if entry.alias else f"{name} again"
                message = f"{through}: it is step {before + 1} already, and once it has failed it will likely fail here"
                yield Finding(code="repeated-target", place=entry.value_place, message=message)
            seen.append((number, step))


def _same_call(one: Step, other: Step) -> bool:
    return one.target.name == other.target.name and one.limits == other.limits and one.params == other.params


def single_providers(policy: Policy) -> Iterator[Finding]:
    """Find chains whose targets would all be gone with one provider."""
    for chain in policy.chains:
        steps = chain.route.steps
        endpoints = [step.target.endpoint for step in steps]
        if len({step.target.name for step in steps}) < 2 or any(endpoint.kind == "mock" for endpoint in endpoints):
            continue
        if len({_service(step) for step in steps}) == 1:
            names = list(dict.fromkeys(endpoint.provider for endpoint in endpoints))
            host = _host(endpoints[0])
            where = names[0] if len(names) == 1 else f"{' and '.join(names)}, which are one host, {host}"
            count = "both" if len(steps) == 2 else f"all {len(steps)}"
            message = f"{count} targets are at {where}: when it is down, so is this alias"
            yield Finding(code="single-provider", place=chain.place, message=message, at_key=True)


def _service(step: Step) -> tuple[object, ...]:
    """Return what tells two services apart."""
    endpoint = step.target.endpoint
    host = _host(endpoint)
    return (host,) if host else (endpoint.kind, *(step.params.get(name) for name in _REGIONS))


def _host(endpoint: Endpoint) -> str | None:
    parts = urlsplit(endpoint.base_url or "")
    port = {"http": 80, "https": 443}.get(parts.scheme) if parts.port is None else parts.port
    return f"{parts.hostname}:{port}" if parts.hostname else None


def short_deadlines(policy: Policy) -> Iterator[Finding]:
    """Find chains whose earlier targets may use up the deadline, so that a later one is never tried."""
    defaults = policy.config.defaults
    for chain in policy.chains:
        route, spec = chain.route, chain.spec
        if len(route.steps) < 2 or _longest_s(route) <= route.deadline_s:
            continue
        step = policy.outside.untried(route)
        if step is None or not _says_limits(defaults, spec, len([one for one in chain.entries if one.first < step])):
            continue
        calls = " + ".join(
            f"{count} × {each.limits.total_s:g}s"
            for each, count in zip(route.steps[:step], _calls(route), strict=False)
        )
        who = route.steps[0].target.name if step == 1 else f"the {step} targets before it"
        message = (
            f"{route.steps[step].target.name} may never be tried: {who} can take {calls}, and the deadline is "
            f"{route.deadline_s:g}s"
        )
        own = spec.deadline_s is not None
        place = (*chain.place, "deadline") if own else chain.place
        yield Finding(code="short-deadline", place=place, message=message, at_key=True)


def _says_limits(defaults: DefaultsSpec, spec: AliasSpec, entries: int) -> bool:
    """Tell whether the file sets any limit of the first `entries`: what is built in is not the file's to mend."""
    blocks: list[DefaultsSpec | AliasSpec | StepSpec] = [defaults, spec, *spec.chain[:entries]]
    if defaults.deadline_s or spec.deadline_s:
        return True
    return any(block.limits.timeout is not None or block.limits.retries is not None for block in blocks)


def _calls(route: Route) -> Iterator[int]:
    """Yield the most calls that each step can come to; `max_attempts` keeps one for every step."""
    left = route.max_attempts - len(route.steps)
    for step in route.steps:
        retries = min(step.retries if step.retry_on else 0, left)
        left -= retries
        yield 1 + retries


def _longest_s(route: Route) -> float:
    """Return more than all calls but the last target's can take, pauses included."""
    return sum((1 + step.retries) * (step.limits.total_s + 4.0) for step in route.steps[:-1])
