"""Selects the next target of a chain: each in turn, and those in cooldown only when no other is left.

Steps are positions in the chain, from 0. Retries of the same target are `next_step`'s business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from gateway.engine.rests import Rest


class Choice(NamedTuple):
    """The step whose target is tried next."""

    step: int
    last_resort: bool = False
    """Its target is in cooldown, and no other is left."""
    not_before_s: float | None = None
    """When its target asked to be called again; until then it must not be."""


def next_target(
    steps: int, tried: Sequence[int], *, resting: Mapping[int, Rest], unsupported: Collection[int] = ()
) -> Choice | None:
    """Return the next of a chain's `steps` to try; None if none is left.

    `tried` are the steps of the attempts so far, in order; targets of `unsupported` cannot be asked for the operation.
    In this order:

    1. the first step behind the last one tried that is untried and not resting;
    2. the first such step before it: it was passed over, and its cooldown has ended meanwhile;
    3. of the untried steps that rest after failures, the one whose rest ends first, as a last resort;
    4. of those whose upstream asked for the rest, the one that ends first; it must be waited for.
    """
    last = tried[-1] if tried else -1
    closed = {*tried, *unsupported}
    for step in (*range(last + 1, steps), *range(last)):
        if step not in resting and step not in closed:
            return Choice(step)
    untried = [step for step in resting if step not in closed]
    if not untried:
        return None
    step = min(untried, key=lambda step: (resting[step].asked is not None, resting[step].until_s, step))
    rest = resting[step]
    return Choice(step, last_resort=True, not_before_s=None if rest.asked is None else rest.until_s)


def targets_left(steps: int, tried: Sequence[int], *, unsupported: Collection[int] = ()) -> int:
    """Return how many of a chain's `steps` can still be tried for the first time, resting ones included."""
    return steps - len({*tried, *unsupported})
