"""Which part of an alias' requests goes to which target first, before and after a change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple, Protocol

from gateway.config.compare.shapes import when_text
from gateway.config.compiler.implied import are_exhaustive, implies
from gateway.policy.conditions import When
from gateway.policy.pools import Part, conditionals, pools, positions
from gateway.policy.table import Route
from gateway.wire.json import Json

NO_CONDITION: Final = "no condition"
"""The requests that meet none of the conditions of either chain."""


class FirstChoices(Protocol):
    """Returns position → share of the requests for which that step comes first. `closed` steps are never taken."""

    def __call__(self, parts: Sequence[Part], closed: Collection[int] = (), /) -> Mapping[int, float]: ...


class Moved(NamedTuple):
    """Other shares of one kind of request."""

    condition: str
    """The one that these requests meet, besides wider ones; NO_CONDITION; empty if neither chain has conditions."""
    old: dict[str, Json]
    """Target → share from 0 to 1; targets without any are left out."""
    new: dict[str, Json]


def moved(old: Route, new: Route, first_choices: FirstChoices) -> Iterator[Moved]:
    """Yield the kinds of request whose first targets change, if a chain has pools or conditions.

    First the requests that meet no condition; then, for each condition, those that meet it and no other unless it is
    wider. A condition whose requests move as those without any is left out.
    """
    if old.parts is None and new.parts is None:
        return
    whens = {when_text(one.when): one.when for route in (new, old) for one in conditionals(route.parts or ())}
    usual = [_shares(route, (), first_choices) for route in (old, new)]
    is_usual = not _any_exhaustive(whens.values())
    if is_usual and usual[0] != usual[1]:
        yield Moved(NO_CONDITION if whens else "", *usual)
    for text, when in whens.items():
        met = [name for name, other in whens.items() if name == text or implies(when, other)]
        if _any_exhaustive(other for name, other in whens.items() if name not in met):
            continue
        found = [_shares(route, met, first_choices) for route in (old, new)]
        if found[0] != found[1] and not (is_usual and found == usual):
            yield Moved(text, *found)


def moved_by_key(old: Route, new: Route) -> Iterator[float]:
    """Yield, for each sticky pool that gets another key, the share of its requests that go to another member.

    It is the most: a request with the same value under both keys stays, and so does one that has neither.
    """
    before, after = (list(pools(route.parts or ())) for route in (old, new))
    for one, other in zip(before, after, strict=False):
        if one.key == other.key or not one.pick == other.pick == "sticky":
            continue
        had, has = ({member.name: member.weight for member in pool.members} for pool in (one, other))
        weights = sum(one.weights) * sum(other.weights)
        stays = sum(had[name] * has[name] for name in had.keys() & has.keys())
        if 0 < stays < weights:
            yield round(1 - stays / weights, 9)


def _any_exhaustive(whens: Iterable[When]) -> bool:
    """Tell whether no request meets none of these conditions."""
    return any(are_exhaustive(one, other) for one, other in combinations(whens, 2))


def _shares(route: Route, met: Collection[str], first_choices: FirstChoices) -> dict[str, Json]:
    """Return target → share for requests that meet exactly these conditions."""
    parts = tuple(range(len(route.steps))) if route.parts is None else route.parts
    closed: set[int] = set()
    for one in conditionals(parts):
        if when_text(one.when) not in met:
            closed.update(positions(one.parts))
    return _by_name((route.steps[step].target.name, share) for step, share in first_choices(parts, closed).items())


def of_keys(names: Sequence[str]) -> dict[str, Json]:
    """Return key → share of the calls, for keys that are used in turn."""
    return _by_name((name, 1 / len(names)) for name in names)


def _by_name(shares: Iterable[tuple[str, float]]) -> dict[str, Json]:
    found: dict[str, float] = {}
    for name, share in shares:
        found[name] = found.get(name, 0.0) + share
    return {name: round(share, 9) for name, share in found.items()}
