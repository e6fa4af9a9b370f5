"""Rules for models that are misspelt, retired, or weaker than the chain's first. Unknown models are no finding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.config.lint.spelling import Spelling
from gateway.config.lint.subject import Finding, Policy
from gateway.config.model_data import NO_MODELS, Model
from gateway.policy.conditions import When
from gateway.words import meant

_MUCH_LESS: Final = 0.5
"""A fallback is weaker if its context is less than this share of the first target's."""


def misspelt_models(policy: Policy) -> Iterator[Finding]:
    """Find models that a vendor does not have, if it has one with a similar name."""
    spelling = Spelling(policy.models or NO_MODELS)
    for chain in policy.chains:
        for entry, step in chain.targets:
            other = spelling.meant(step.target)
            if other is not None:
                kind, name = step.target.endpoint.kind, step.target.model
                message = f"{kind} has no model {name!r} that LiteLLM knows of{meant(other)}"
                yield entry.finding("unknown-model", message)


def retired_models(policy: Policy) -> Iterator[Finding]:
    """Find models whose retirement day has come."""
    for chain in policy.chains:
        for entry, step in chain.targets:
            model = policy.model(step.target)
            if model is not None and model.retired is not None:
                successor = f", which names {model.successor} after it" if model.successor else ""
                message = f"{step.target.name} came to its end on {model.retired}, says LiteLLM's model data{successor}"
                dormant = model.retired > policy.outside.today
                yield entry.finding("deprecated-model", message, dormant=dormant)


def weaker_fallbacks(policy: Policy) -> Iterator[Finding]:
    """Find fallbacks, and members of pools, that lack an ability of the chain's first target without a condition.

    What comes before it, and what a step's own condition keeps away from it, is no fault.
    """
    for chain in policy.chains:
        start = chain.start
        if start is None:
            continue
        first = chain.route.steps[start].target
        primary = policy.model(first)
        for entry in chain.entries if primary is not None else ():
            if entry.first <= start:
                continue
            weaker = []
            for target in {step.target.name: step.target for step in entry.steps}.values():
                model = policy.model(target)
                lacks = _lacks(model, primary, entry.when) if model is not None and primary is not None else []
                if lacks:
                    weaker.append(f"{target.name} lacks {', '.join(lacks)}")
            if weaker:
                message = f"{'; '.join(weaker)}; {first.name}, the chain's first target, has it"
                yield entry.finding("weaker-fallback", message)


def _lacks(model: Model, primary: Model, when: When | None) -> list[str]:
    lacks: list[str] = []
    if not (model.chat and primary.chat):
        return lacks
    features = when.features if when is not None else {}
    is_short = when is not None and when.tokens is not None and when.tokens.sign in ("<", "<=")
    if primary.tools and model.tools is False and features.get("tools") is not False:
        lacks.append("tools")
    if "image" in (primary.inputs or ()) and "image" not in (model.inputs or ("image",)):
        lacks += ["vision"] if features.get("images") is not False else []
    if primary.context and model.context and model.context < primary.context * _MUCH_LESS and not is_short:
        lacks.append(f"context ({model.context:,} tokens instead of {primary.context:,})")
    return lacks
