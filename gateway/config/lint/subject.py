"""The input of the rules: a compiled file's chains, entry by entry, with the steps of each entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from gateway.config.compiler.compiler import Compiled
from gateway.config.document.yaml_tree import Where
from gateway.config.model.specs import AliasSpec, Config
from gateway.config.model_data import NO_MODELS, Model, ModelData, is_listed
from gateway.policy.packages import Package, is_installed
from gateway.policy.table import Route, RoutingTable, Step
from gateway.policy.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Facts that the rules need from outside the file."""

    today: date
    untried: Callable[[Route], int | None]
    """Returns the first step that is not tried if every call takes its whole limit; None if all are tried."""
    models: Callable[[], ModelData | None]
    """Reads the model data; None if there is none."""
    is_installed: Callable[[Package], bool] = is_installed
    """Tells whether a package is installed."""


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
    """One entry of a chain."""

    place: Where
    alias: str | None
    """The name in `{alias: …}`; None for a target."""
    first: int
    """Index of its first step in the whole chain."""
    steps: tuple[Step, ...]
    """One step for a target, the whole inserted chain for an alias."""

    @property
    def value_place(self) -> Where:
        """Place of its target or alias name."""
        return (*self.place, "target" if self.alias is None else "alias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One alias of the file."""

    spec: AliasSpec
    route: Route
    entries: tuple[Entry, ...]

    @property
    def place(self) -> Where:
        """Place of the alias."""
        return ("models", self.spec.name)

    @property
    def targets(self) -> Iterator[tuple[Entry, Step]]:
        """The entries that are targets, each with its step."""
        return ((entry, entry.steps[0]) for entry in self.entries if entry.alias is None)


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

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """Every alias, in file order."""
        routes = {route.alias: route for route in (*self._table.routes.values(), *self._table.wildcards.values())}
        return tuple(
            Chain(spec=spec, route=routes[name], entries=tuple(self._entries(spec, routes[name])))
            for name, spec in self.config.models.items()
        )

    def _entries(self, spec: AliasSpec, route: Route) -> Iterator[Entry]:
        first = 0
        for number, step in enumerate(spec.chain):
            inserted = self._table.find(step.alias) if step.alias is not None else None
            steps = route.steps[first : first + (len(inserted.steps) if inserted else 1)]
            place: Where = ("models", spec.name, "chain", number)
            yield Entry(place=place, alias=step.alias, first=first, steps=steps)
            first += len(steps)
