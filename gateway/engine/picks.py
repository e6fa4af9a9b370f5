"""Orders the members of a pool for one request: pure functions over weights, a key, scores and random draws.

Members are positions in the pool, from 0. Each order has all of them, those of weight 0 last: the first one is the
pick, and a failure leads to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, TypeAlias

from gateway.policy.rendezvous import BITS, Rendezvous

Draw: TypeAlias = Callable[[], float]
"""Returns the next random number, from 0 up to but not 1."""

_LOG_NUMBERS: Final = BITS * math.log(2)
_LAST: Final = 1e300
"""Times of members of weight 0 are beyond this."""


def weighted(weights: Sequence[float], draw: Draw) -> list[int]:
    """Return members as if drawn one after the other, each by its weight among those left.

    A member of weight w gets an exponentially distributed time of rate w; the earliest is first. Source: Efraimidis and
    Spirakis, "Weighted random sampling with a reservoir" (2006).
    """
    if _are_equal(weights):
        times = list(islice(iter(draw, None), len(weights)))  # a third quicker than a comprehension
    else:
        log = math.log
        times = [-log(1.0 - draw()) / weight if weight else (1.0 - log(1.0 - draw())) * _LAST for weight in weights]
    return sorted(range(len(times)), key=times.__getitem__)


def sticky(members: Rendezvous, weights: Sequence[float], key: bytes) -> list[int]:
    """Return the order that this key always has: weighted rendezvous hashing.

    As `weighted`, with a hash in place of the draw. A member's time depends on key, name and weight alone, so replicas
    agree without talking, and a changed weight moves only the keys that this member gains or loses. Source: Resch, "New
    hashing algorithms for data storage" (SNIA SDC 2015).
    """
    numbers = members.numbers(key)
    if _are_equal(weights):
        return sorted(range(len(numbers)), key=numbers.__getitem__, reverse=True)
    log = math.log
    times = [
        (_LOG_NUMBERS - log(number + 1)) / weight if weight else (1.0 + _LOG_NUMBERS - log(number + 1)) * _LAST
        for number, weight in zip(numbers, weights, strict=True)
    ]
    return sorted(range(len(times)), key=times.__getitem__)


def _are_equal(weights: Sequence[float]) -> bool:
    """Tell whether the draws alone decide: times of equal rates need no logarithm to be compared."""
    return weights[0] > 0 and weights.count(weights[0]) == len(weights)


def put_better_first(order: list[int], weights: Sequence[float], loads: Sequence[float]) -> None:
    """Put the better of a drawn order's first two members first: that with less load for its weight, if one has less.

    `loads` are of these two. The best of all instead would get every request until its load has changed. Source:
    Mitzenmacher, "The power of two choices in randomized load balancing" (2001).
    """
    first, second = order[0], order[1]
    if weights[second] > 0 and loads[1] / weights[second] < loads[0] / weights[first]:
        order[0], order[1] = second, first


def first_shares(weights: Sequence[float]) -> list[float]:
    """Return the part of all requests for which each member comes first. If all weights are 0, the parts are equal."""
    total = math.fsum(weights)
    return [weight / total for weight in weights] if total else [1 / len(weights)] * len(weights)
