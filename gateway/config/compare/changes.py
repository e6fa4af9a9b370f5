"""What differs between two policies, as values: changes and whom they affect, aliases and providers that one has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway.config.compare.lists import EditKind
from gateway.wire.json import Json

ChangeKind: TypeAlias = EditKind | Literal["changed"]


@dataclass(frozen=True, slots=True)
class Reach:
    """One alias that a change affects."""

    alias: str
    targets: tuple[str, ...] = ()
    """Targets of the affected steps; empty for all common steps of the two chains."""
    place: int | None = None
    """Position in the list, from 1, for a change of an ordered list."""
    steps: int = 0
    """Number of targets in the new table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference and the aliases that it affects. Contains no secrets."""

    field: str
    """In the config file's terms: `chain`, `retries`, `params.temperature`, `hooks.pre`, `providers.base_url`.

    `pools` are a chain's pools and conditions, as one text; so is `shadow`. `shares` are target → share of the requests
    that go there first, `shares.CONDITION` those of requests that meet it; `providers.shares` key → share of a
    provider's calls. `moves` is the share of a sticky pool's requests that another key may move, in `new` only. The
    values of `clients.limits` and `providers.limits` are bucket → amount and `then`.
    """
    kind: ChangeKind
    old: Json
    """Durations in seconds; None for `added`."""
    new: Json
    """None for `removed`."""
    providers: tuple[str, ...] = ()
    """The affected entries of `providers`; empty for all of them, or if the field is not a provider's."""
    group: str | None = None
    """The affected group of clients, where the field is one of `clients`."""
    reach: tuple[Reach, ...] = ()
    """In file order; empty for capabilities and groups of clients, which belong to no alias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """An alias that only one table has."""

    alias: str
    chain: tuple[str, ...]
    wildcard: str | None = None
    """The other table's wildcard that matches the name; None if the other table answers 404."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A provider that only one table calls."""

    provider: str
    kind: str
    adapter: str
    base_url: str | None
    api_key: str
    headers: tuple[str, ...]
    """Names only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All differences between two tables."""

    added: tuple[Presence, ...]
    removed: tuple[Presence, ...]
    changes: tuple[Change, ...]
    providers_added: tuple[Service, ...]
    providers_removed: tuple[Service, ...]
    chains: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """Old and new targets of each alias whose chain differs."""
    common: tuple[str, ...]
    """The aliases of both tables."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changes or self.providers_added or self.providers_removed)
