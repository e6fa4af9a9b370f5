"""Compile lists of `limits`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.config.document.yaml_tree import Where
from gateway.config.model.limit_texts import limit_text
from gateway.config.model.specs import LimitSpec
from gateway.config.problems import Report
from gateway.policy.limits import Limit


def compiled_limits(specs: Sequence[LimitSpec], place: Where, report: Report) -> tuple[Limit, ...]:
    """Return the limits of a list at `place`, without those that have a problem. Does not look at `then`."""
    found: dict[str, Limit] = {}
    for number, spec in enumerate(specs):
        text = limit_text(spec.unit, spec.amount, spec.per)
        limit = Limit(unit=spec.unit, amount=spec.amount, per=spec.per, then=spec.then, text=text)
        if spec.unit != "spend" and spec.amount % 1:
            message = f"{text!r} is no whole number; write one, such as 60, 400k or 5M"
            report((*place, number), "bad-limit", message)
        elif limit.bucket in found:
            message = f"the list has a limit of {limit.bucket} already, {found[limit.bucket].text}; keep one of the two"
            report((*place, number), "repeated-limit", message)
        else:
            found[limit.bucket] = limit
    return tuple(found.values())


def provider_limits(name: str, specs: Sequence[LimitSpec], report: Report) -> tuple[Limit, ...]:
    """Return the limits of a provider's entry, which have no `then`."""
    place = ("providers", name, "limits")
    for number, spec in enumerate(specs):
        if spec.then is not None:
            message = "a provider's limit has no 'then': while it is full, the chain's next target is called"
            report((*place, number, "then"), "bad-then", message, at_key=True)
    return tuple([replace(limit, then=None) for limit in compiled_limits(specs, place, report)])
