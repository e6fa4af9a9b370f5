"""The input of the rules: a compiled file's chains, entry by entry, with the steps of each entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from gateway.config.compiler.compiler import Compiled
from gateway.config.compiler.pools import Link, leaves
from gateway.config.document.yaml_tree import Where
from gateway.config.model.specs import AliasSpec, Config, LimitsSpec, StepSpec
from gateway.config.model_data import NO_MODELS, Model, ModelData, is_listed
from gateway.policy.conditions import When
from gateway.policy.limits import ClientGroups, Price
from gateway.policy.packages import Package, is_installed
from gateway.policy.pools import Conditional, Part, Pool, positions
from gateway.policy.table import Route, RoutingTable, Step
from gateway.policy.target import Endpoint, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClients:
    """The clients of the file of client keys."""

    names: frozenset[str]
    groups: frozenset[str]
    """DEFAULT_GROUP among them if a client has no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Facts that the rules need from outside the file."""

    today: date
    untried: Callable[[Route], int | None]
    """Returns the first step that is not tried if every call takes its whole limit; None if all are tried."""
    models: Callable[[], ModelData | None]
    """Reads the model data; None if there is none."""
    never_kept: Callable[[Route], str | None] = lambda _: None
    """Returns why no answer of a route is ever kept; None if some are."""
    is_installed: Callable[[Package], bool] = is_installed
    """Tells whether a package is installed."""
    clients: KnownClients | None = None
    """Of the file of client keys; None where none is given."""
    keeps_counts: bool = False
    """What is used of limits per day and month is kept when the process ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One warning, at a place written in full."""

    code: str
    place: Where
    message: str
    at_key: bool = False
    """Point at the key of the place instead of its value."""
    dormant: bool = False
    """It is not true yet, so it is not shown, but a comment that ignores it is not unused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One target or alias of a chain, be it a member of a pool."""

    place: Where
    alias: str | None
    """The name in `{alias: …}`; None for a target."""
    first: int
    """Index of its first step in the whole chain."""
    steps: tuple[Step, ...]
    """One step for a target, the whole inserted chain for an alias."""
    layers: tuple[tuple[Where, LimitsSpec], ...]
    """Where its limits may be written, its own first, then those of the pool around it."""
    is_key: bool = False
    """The target is the key of its place."""
    when: When | None = None
    """The condition of the item that it belongs to."""

    @property
    def value_place(self) -> Where:
        """Place of its target or alias name."""
        return self.place if self.is_key else (*self.place, "target" if self.alias is None else "alias")

    def finding(self, code: str, message: str, *, dormant: bool = False) -> Finding:
        """Return a warning at its target or alias name."""
        return Finding(code=code, place=self.value_place, message=message, at_key=self.is_key, dormant=dormant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One entry of the chain's list: a target, an alias or a pool."""

    place: Where
    spec: StepSpec
    entries: tuple[Entry, ...]
    parts: tuple[Part, ...]
    """Its parts of the route, without its own condition."""
    when: When | None
    pool: Pool | None

    def finding(self, code: str, message: str) -> Finding:
        """Return a warning at its `pool`, target or alias name."""
        if self.pool is None:
            return self.entries[0].finding(code, message)
        return Finding(code=code, place=(*self.place, "pool"), message=message, at_key=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One alias of the file."""

    spec: AliasSpec
    route: Route
    items: tuple[Item, ...]

    @property
    def entries(self) -> Iterator[Entry]:
        """The targets and aliases of all items, in file order."""
        return (entry for item in self.items for entry in item.entries)

    @property
    def place(self) -> Where:
        """Place of the alias."""
        return ("models", self.spec.name)

    @property
    def targets(self) -> Iterator[tuple[Entry, Step]]:
        """The entries that are targets, each with its step."""
        return ((entry, entry.steps[0]) for entry in self.entries if entry.alias is None)

    @property
    def start(self) -> int | None:
        """Position of the first step without a condition of its own; None if all entries have one."""
        return next((entry.first for entry in self.entries if entry.when is None), None)


class Policy:
    """A compiled file."""

    def __init__(self, compiled: Compiled, config: Config, table: RoutingTable, outside: Outside) -> None:
        self.config = config
        self.outside = outside
        self.hooks_skipped = compiled.skipped_hooks > 0
        self._table = table

    @cached_property
    def models(self) -> ModelData | None:
        """The model data, or None if there is none; empty, and not read, when no target is at a listed vendor."""
        is_needed = any(is_listed(target) for target in self._table.targets)
        return self.outside.models() if is_needed else NO_MODELS

    def model(self, target: Target) -> Model | None:
        """Return what is known of a target's model; None unless its vendor is listed."""
        return self.models.find(target) if self.models is not None and is_listed(target) else None

    @property
    def clients(self) -> ClientGroups:
        """The groups of `clients`."""
        return self._table.clients

    @cached_property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """The providers that some target has, by name."""
        return {target.endpoint.provider: target.endpoint for target in self._table.targets}

    def find(self, name: str) -> Route | None:
        """Return the route of a client's `name`."""
        return self._table.find(name)

    def price(self, step: Step) -> Price | None:
        """Return what is known of a step's price; of the data's only where somebody's spend is limited."""
        if step.price is not None or self._table.price_of is None:
            return step.price
        return self._table.price_of(step.target)

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """Every alias, in file order."""
        routes = {route.alias: route for route in (*self._table.routes.values(), *self._table.wildcards.values())}
        return tuple(
            Chain(spec=spec, route=routes[name], items=tuple(self._items(spec, routes[name])))
            for name, spec in self.config.models.items()
        )

    def _items(self, spec: AliasSpec, route: Route) -> Iterator[Item]:
        first = 0
        rest: list[Part] = list(range(len(route.steps)) if route.parts is None else route.parts)
        for number, step in enumerate(spec.chain):
            link = Link(step, ("models", spec.name, "chain", number))
            counts = [self._count(leaf) for leaf in leaves(link)]
            parts = _taken(rest, sum(counts))
            when = None
            if step.when is not None:
                (conditional,) = parts
                assert isinstance(conditional, Conditional), "a step with a condition is compiled to one"
                when, parts = conditional.when, conditional.parts
            entries: list[Entry] = []
            for leaf, count in zip(leaves(link), counts, strict=True):
                entries.append(
                    Entry(
                        place=leaf.place,
                        alias=leaf.spec.alias,
                        first=first,
                        steps=route.steps[first : first + count],
                        layers=((leaf.place, leaf.spec.limits), (link.place, leaf.outer)),
                        is_key=leaf.is_key,
                        when=when,
                    )
                )
                first += count
            pool = parts[0] if step.pool is not None and isinstance(parts[0], Pool) else None
            yield Item(place=link.place, spec=step, entries=tuple(entries), parts=parts, when=when, pool=pool)

    def _count(self, leaf: Link) -> int:
        """Return the number of steps of a target or an alias."""
        inserted = self._table.find(leaf.spec.alias) if leaf.spec.alias is not None else None
        return len(inserted.steps) if inserted is not None else 1


def _taken(rest: list[Part], count: int) -> tuple[Part, ...]:
    """Remove from the front of `rest` the parts of `count` steps, and return them."""
    parts: list[Part] = []
    while count > 0:
        parts.append(rest.pop(0))
        count -= len(positions(parts[-1:]))
    return tuple(parts)
