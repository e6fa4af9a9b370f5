"""The rule for limits that end a reasoning model's answer while it thinks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.config.document.yaml_tree import Where
from gateway.config.lint.subject import Chain, Entry, Finding, Policy
from gateway.config.model.specs import TimeoutSpec
from gateway.policy.table import Step
from gateway.words import count, shown

_FIRST_CONTENT_S: Final = 60.0
_IN_ALL_S: Final = 120.0
_NAMED: Final = 3
"""Models named in one finding."""


@dataclass(slots=True)
class _Limit:
    """One place of the file whose limits are short for some models."""

    place: Where
    key: str | None
    """The key that sets the limits; None where they are built in."""
    is_key: bool
    """Of built-in limits: the target is the key of the place."""
    shortest_s: dict[str, float] = field(default_factory=dict)
    """What is limited → the shortest limit, in seconds."""
    models: dict[str, None] = field(default_factory=dict)


def short_timeouts(policy: Policy) -> Iterator[Finding]:
    """Find limits that are short for a reasoning model: one finding for each place that sets them."""
    found: dict[Where | None, _Limit] = {}

    def note(place: Where | None, entry: Entry, step: Step, what: str, limit_s: float) -> None:
        key = None if place is None else str(place[-1])
        limit = found.setdefault(place, _Limit(entry.value_place if place is None else place, key, entry.is_key))
        limit.shortest_s[what] = min(limit_s, limit.shortest_s.get(what, limit_s))
        limit.models[step.target.name] = None

    for chain in policy.chains:
        for entry in chain.entries:
            for step in entry.steps:
                model = policy.model(step.target)
                if model is None or not model.reasoning:
                    continue
                if chain.route.deadline_s < _IN_ALL_S:
                    alone = chain.spec.deadline_s is not None
                    place: Where = (*chain.place, "deadline") if alone else ("defaults", "deadline")
                    note(place, entry, step, "for all attempts", chain.route.deadline_s)
                if entry.alias is not None:
                    continue  # its limits are judged at its own alias
                if step.limits.first_token_s < _FIRST_CONTENT_S:
                    place_of = _place(policy, chain, entry, "first_token_s")
                    note(place_of, entry, step, "to the first content", step.limits.first_token_s)
                if step.limits.total_s < _IN_ALL_S:
                    note(_place(policy, chain, entry, "total_s"), entry, step, "in all", step.limits.total_s)
    for limit in found.values():
        at_key = limit.key is not None or limit.is_key
        yield Finding(code="short-timeout", place=limit.place, message=_message(limit), at_key=at_key)


def _place(policy: Policy, chain: Chain, entry: Entry, part: str) -> Where | None:
    """Return the place of the `timeout` that sets a part of a step's limits; None if none does."""
    layers: tuple[tuple[Where, TimeoutSpec | None], ...] = (
        *((place, limits.timeout) for place, limits in entry.layers),
        (chain.place, chain.spec.limits.timeout),
        (("defaults",), policy.config.defaults.limits.timeout),
    )
    for place, timeout in layers:
        if timeout is not None and (getattr(timeout, part) is not None or timeout.bare_s is not None):
            return (*place, "timeout")
    return None


def _message(limit: _Limit) -> str:
    names = list(limit.models)
    more = f" and {count(len(names) - _NAMED, 'other model')}" if len(names) > _NAMED else ""
    models = f"{', '.join(names[:_NAMED])}{more}"
    limits = " and ".join(f"{shown(limit_s)} {what}" for what, limit_s in limit.shortest_s.items())
    who = f"`{limit.key}`" if limit.key is not None else "the built-in `timeout`"
    return (
        f"{models} may reason for minutes, by LiteLLM's model data, and {who} allows {limits}; "
        f"allow {shown(_FIRST_CONTENT_S)} to the first content and {shown(_IN_ALL_S)} in all"
    )
