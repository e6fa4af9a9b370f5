"""Arranges the steps of a chain for one request: the order of its pools' members, and the steps that are skipped."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Protocol

from gateway.engine.facts import RequestFacts
from gateway.engine.health import Health
from gateway.engine.health_view import HealthView
from gateway.engine.limits.providers import Room
from gateway.engine.picks import Draw, first_shares, put_better_first, sticky, weighted
from gateway.policy.conditions import unmet
from gateway.policy.pools import Conditional, Part, Pool, positions
from gateway.policy.rendezvous import Rendezvous
from gateway.policy.table import Route, Step

_BY_LOAD: Final = frozenset({"least_busy", "fastest"})


class View(Protocol):
    """What the arrangement has to know of the targets' health. Steps are positions in the file's order."""

    @property
    def resting(self) -> Collection[int]:
        """The steps whose target is in cooldown, or whose provider has no room."""

    def in_flight(self, step: int) -> int:
        """Return the number of calls of a step's target that have not ended."""

    def expected_s(self, step: int, among: Sequence[int]) -> float:
        """Return the seconds to expect until the first content of a step's target, which is one among some."""

    def busy_s(self, step: int, among: Sequence[int]) -> float:
        """Return these seconds for each call in flight of a step's target, and for one more."""


@dataclass(slots=True)  # made for each request: a named tuple takes twice as long, a frozen class more
class Picked:
    """The order of one pool for a request. Never changed."""

    pool: Pool
    order: Sequence[int]
    """Members, by their places in the pool."""
    source: str | None = None
    """Of a sticky pool: where the key is from; None if the request has none and a draw decided."""


class Arrangement:
    """The order of a chain's steps for one request. Every step is in it, also one that is skipped or rests."""

    __slots__ = ("_draw", "_facts", "_view", "order", "picked", "skipped")

    order: Sequence[int]
    """All steps, by their positions in the file's order."""

    def __init__(self, parts: Sequence[Part], facts: RequestFacts, view: View, draw: Draw) -> None:
        """Ask facts, health and draws once, for all pools and conditions of these parts."""
        self._facts = facts
        self._view = view
        self._draw = draw
        self.skipped: dict[int, str] = {}
        """Position in the file's order → the first part of a condition that is not met: for steps that are not taken.
        """
        self.picked: list[Picked] = []
        """Pools from the outer to the inner, in file order."""
        self.order = self._ordered(parts)

    @property
    def source(self) -> str | None:
        """Where the key of the first sticky pool that has one is from."""
        for pick in self.picked:
            if pick.source is not None:
                return pick.source
        return None

    def _ordered(self, parts: Sequence[Part], failing: str | None = None) -> Sequence[int]:
        """Return the steps of these parts in order. `failing`: what an outer condition does not meet."""
        if len(parts) == 1 and type(parts[0]) is Pool:
            return self._of_pool(parts[0], failing)
        order: list[int] = []
        for part in parts:
            if type(part) is int:
                order.append(part)
                if failing is not None:
                    self.skipped[part] = failing
            elif type(part) is Pool:
                order += self._of_pool(part, failing)
            elif type(part) is Conditional:
                order += self._ordered(part.parts, failing or unmet(part.when, self._facts))
        return order

    def _of_pool(self, pool: Pool, failing: str | None) -> Sequence[int]:
        steps = pool.steps
        if steps is None or failing is not None or self.skipped or self._view.resting:
            return self._of_closed_or_long(pool, failing)
        order, source = self._drawn(pool)
        if pool.pick in _BY_LOAD and len(order) > 1:
            view, first, second = self._view, steps[order[0]], steps[order[1]]
            if pool.pick == "fastest":
                loads = view.busy_s(first, steps), view.busy_s(second, steps)
            else:
                loads = view.in_flight(first), view.in_flight(second)
            put_better_first(order, pool.weights, loads)
        self.picked.append(Picked(pool, order, source))
        return order if pool.is_whole else [steps[member] for member in order]

    def _of_closed_or_long(self, pool: Pool, failing: str | None) -> list[int]:
        """Return the order of a pool where some steps cannot be asked now, or a member has several."""
        place = len(self.picked)
        members: list[Sequence[int]] | None = None
        if pool.steps is None or failing is not None:
            members = [self._ordered(member.parts, failing) for member in pool.members]
        order, source = self._drawn(pool)
        asked = len(order)
        if self.skipped or self._view.resting:
            closed = frozenset([member for member in order if self._first_open(pool, members, member) is None])
            order.sort(key=closed.__contains__)
            asked -= len(closed)
        if pool.pick in _BY_LOAD and asked > 1:
            put_better_first(order, pool.weights, [self._load(pool, members, member) for member in order[:2]])
        self.picked.insert(place, Picked(pool, order, source))
        if members is None:
            steps = pool.steps
            assert steps is not None, "or there are members"
            return [steps[member] for member in order]
        return [step for member in order for step in members[member]]

    def _drawn(self, pool: Pool) -> tuple[list[int], str | None]:
        if pool.pick == "sticky" and (key := self._facts.sticky(pool.key)) is not None:
            return sticky(pool.rendezvous, pool.weights, key.key), key.source
        return weighted(pool.weights, self._draw), None

    def _first_open(self, pool: Pool, members: Sequence[Sequence[int]] | None, member: int) -> int | None:
        """Return the first of a member's steps that can be asked now."""
        for step in _steps_of(pool, members, member):
            if step not in self.skipped and step not in self._view.resting:
                return step
        return None

    def _load(self, pool: Pool, members: Sequence[Sequence[int]] | None, member: int) -> float:
        """Return a member's calls in flight; for `fastest`, one more times the seconds to expect."""
        view, steps = self._view, _steps_of(pool, members, member)
        load: float = view.in_flight(steps[0]) if len(steps) == 1 else sum(map(view.in_flight, steps))
        if pool.pick == "fastest":
            own = self._first_open(pool, members, member) if self.skipped or view.resting else steps[0]
            load = 0.0 if own is None else (1.0 + load) * view.expected_s(own, self._all_open(pool, members))
        return load

    def _all_open(self, pool: Pool, members: Sequence[Sequence[int]] | None) -> Sequence[int]:
        """Return the first step of each member that can be asked now."""
        if pool.steps is not None and not self.skipped and not self._view.resting:
            return pool.steps
        found = (self._first_open(pool, members, member) for member in range(len(pool.members)))
        return [step for step in found if step is not None]


def _steps_of(pool: Pool, members: Sequence[Sequence[int]] | None, member: int) -> Sequence[int]:
    """Return the steps of a member in their order. `members` is None where each has one."""
    if members is not None:
        return members[member]
    assert pool.steps is not None, "or there are members"
    return (pool.steps[member],)


@dataclass(slots=True)
class Arranged:
    """The steps of a route as one request takes them. Never changed."""

    steps: tuple[Step, ...]
    """In the order of the arrangement; all positions of the request's attempts are in this."""
    skipped: Mapping[int, str]
    """Position in `steps` → the first part of a condition that is not met."""
    made: Arrangement


def arranged(
    route: Route, facts: RequestFacts, health: Health, draw: Draw, *, now_s: float, room: Room | None = None
) -> Arranged:
    """Return the steps of a route that has pools or conditions, as one request takes them.

    `room`: what the providers have for it, where some have limits.
    """
    assert route.parts is not None, "other chains have one order"
    steps = route.steps
    view = HealthView(health, steps, (facts.operation, facts.is_stream), now_s=now_s, room=room)
    made = Arrangement(route.parts, facts, view, draw)
    order, skipped = made.order, made.skipped
    if skipped:
        skipped = {place: skipped[position] for place, position in enumerate(order) if position in skipped}
    return Arranged(itemgetter(*order)(steps) if len(order) > 1 else steps, skipped, made)


def stuck_keys(route: Route, made: Arrangement, facts: RequestFacts, step: Step) -> Sequence[Step] | None:
    """Return the order of `step.by_key` that the innermost sticky pool around a step has for a request's key.

    None where there is no such pool: the step's keys are used in turn. `step` is one of the route's.
    """
    position = next(place for place, one in enumerate(route.steps) if one is step)
    for pick in reversed(made.picked):
        if pick.source is not None and position in positions([pick.pool]):
            key = facts.sticky(pick.pool.key)
            assert key is not None, "or there is no source"
            keys = Rendezvous(
                [one.target.endpoint.api_key.name.encode("utf-8", "surrogatepass") for one in step.by_key]
            )
            return [step.by_key[place] for place in sticky(keys, [1.0] * len(step.by_key), key.key)]
    return None


def shares(parts: Sequence[Part], closed: Collection[int] = ()) -> dict[int, float]:
    """Return the part of all requests for which each step comes first; of `closed` steps none does.

    `closed` are steps that are skipped, rest, or cannot be asked. Pools count by their weights.
    """
    found: dict[int, float] = {}
    _share(parts, closed, 1.0, found)
    return found


def _share(parts: Sequence[Part], closed: Collection[int], whole: float, found: dict[int, float]) -> None:
    for part in parts:
        if all(step in closed for step in positions([part])):
            continue
        if isinstance(part, int):
            found[part] = found.get(part, 0.0) + whole
        elif isinstance(part, Conditional):
            _share(part.parts, closed, whole, found)
        else:
            for member, share in zip(part.members, member_shares(part, closed), strict=True):
                if share:
                    _share(member.parts, closed, whole * share, found)
        return


def member_shares(pool: Pool, closed: Collection[int] = ()) -> list[float]:
    """Return the part of a pool's requests for which each member comes first."""
    is_open = [any(step not in closed for step in positions(member.parts)) for member in pool.members]
    places = [place for place, opened in enumerate(is_open) if opened] or list(range(len(is_open)))
    found = [0.0] * len(is_open)
    for place, share in zip(places, first_shares([pool.members[place].weight for place in places]), strict=True):
        found[place] = share
    return found
