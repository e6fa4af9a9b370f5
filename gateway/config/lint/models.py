"""Models that are misspelt, retired, or less able than the one they stand in for. Unknown models say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.config.lint.model_data import Model
from gateway.config.lint.subject import Finding, Policy
from gateway.words import meant

_MUCH_LESS: Final = 0.5
"""A fallback that takes a smaller part than this of the first target's prompt."""


def misspelt_models(policy: Policy) -> Iterator[Finding]:
    """Find models that a vendor does not have, where it has one that is spelt nearly so."""
    data = policy.models
    if data is None:
        return
    for chain in policy.chains:
        for entry, step in chain.targets:
            other = data.meant(step.target)
            if other is not None:
                kind, name = step.target.endpoint.kind, step.target.model
                message = f"{kind} has no model {name!r} that LiteLLM knows of{meant(other)}"
                yield Finding(code="unknown-model", place=entry.value_place, message=message)


def retired_models(policy: Policy) -> Iterator[Finding]:
    """Find models whose vendor has named a day for their end, and it has come."""
    data = policy.models
    if data is None:
        return
    for chain in policy.chains:
        for entry, step in chain.targets:
            model = data.find(step.target)
            if model is not None and model.retired is not None:
                successor = f", which names {model.successor} after it" if model.successor else ""
                message = f"{step.target.name} came to its end on {model.retired}, says LiteLLM's model data{successor}"
                dormant = model.retired > policy.outside.today
                yield Finding(code="deprecated-model", place=entry.value_place, message=message, dormant=dormant)


def weaker_fallbacks(policy: Policy) -> Iterator[Finding]:
    """Find fallbacks that lack what the chain's first target has."""
    data = policy.models
    if data is None:
        return
    for chain in policy.chains:
        first = chain.route.steps[0].target
        primary = data.find(first)
        for entry in chain.entries[1:] if primary is not None else ():
            told = []
            for target in {step.target.name: step.target for step in entry.steps}.values():
                model = data.find(target)
                lacks = _lacks(model, primary) if model is not None and primary is not None else []
                if lacks:
                    told.append(f"{target.name} lacks {', '.join(lacks)}")
            if told:
                message = f"{'; '.join(told)}; {first.name}, the chain's first target, has it"
                yield Finding(code="weaker-fallback", place=entry.value_place, message=message)


def _lacks(model: Model, primary: Model) -> list[str]:
    lacks: list[str] = []
    if not (model.chat and primary.chat):
        return lacks
    if primary.tools and model.tools is False:
        lacks.append("tools")
    if primary.vision and model.vision is False:
        lacks.append("vision")
    if primary.context and model.context and model.context < primary.context * _MUCH_LESS:
        lacks.append(f"context ({model.context:,} tokens instead of {primary.context:,})")
    return lacks
