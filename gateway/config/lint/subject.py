"""What the rules look at: a compiled file's chains, entry by entry, with the steps that each entry comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from gateway.config.compiler.compiler import Compiled
from gateway.config.document.yaml_tree import Where
from gateway.config.lint.model_data import ModelData, is_listed
from gateway.config.model.specs import AliasSpec, Config
from gateway.policy.table import Route, RoutingTable, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the rules need to know and the file does not say."""

    today: date
    untried: Callable[[Route], int | None]
    """Tells the first step that is never tried when every call takes its whole limit; None when each has its turn."""
    models: Callable[[], ModelData | None]
    """Reads what is known of models; None when that is not to be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One warning, at a place that is written in full."""

    code: str
    place: Where
    message: str
    at_key: bool = False
    """Point at the key of the place instead of its value."""
    dormant: bool = False
    """It does not hold today: nobody is told, but a comment that silences it is of use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a chain."""

    place: Where
    alias: str | None
    """What an `{alias: …}` names."""
    first: int
    """The position of its first step in the whole chain."""
    steps: tuple[Step, ...]
    """One for a target, all of the other chain's for an alias."""

    @property
    def value_place(self) -> Where:
        """Where its target's or its alias' name stands."""
        return (*self.place, "target" if self.alias is None else "alias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One alias of the file."""

    spec: AliasSpec
    route: Route
    entries: tuple[Entry, ...]

    @property
    def place(self) -> Where:
        """Where the alias stands."""
        return ("models", self.spec.name)

    @property
    def targets(self) -> Iterator[tuple[Entry, Step]]:
        """The entries that are targets of their own."""
        return ((entry, entry.steps[0]) for entry in self.entries if entry.alias is None)

    def entry_of(self, step: int) -> Entry:
        """Return the entry that brings the step at a position."""
        return next(entry for entry in reversed(self.entries) if entry.first <= step)


class Policy:
    """A file that compiled."""

    def __init__(self, compiled: Compiled, config: Config, table: RoutingTable, outside: Outside) -> None:
        self.config = config
        self.outside = outside
        self.hooks_skipped = compiled.skipped_hooks > 0
        self._table = table

    @cached_property
    def models(self) -> ModelData | None:
        """What is known of models; read only when a target is at a vendor whose models are listed."""
        wanted = any(is_listed(target) for target in self._table.targets)
        return self.outside.models() if wanted else ModelData({})

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """Every alias, in file order."""
        wildcards = {route.alias: route for route in self._table.wildcards.values()}
        routes = {**self._table.routes, **wildcards}
        return tuple(
            Chain(spec=spec, route=routes[name], entries=tuple(self._entries(spec, routes[name])))
            for name, spec in self.config.models.items()
        )

    def _entries(self, spec: AliasSpec, route: Route) -> Iterator[Entry]:
        first = 0
        for number, step in enumerate(spec.chain):
            meant = self._table.find(step.alias) if step.alias is not None else None
            steps = route.steps[first : first + (len(meant.steps) if meant else 1)]
            place: Where = ("models", spec.name, "chain", number)
            yield Entry(place=place, alias=step.alias, first=first, steps=steps)
            first += len(steps)
