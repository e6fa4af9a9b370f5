"""What a client may ask for and how much of it, in compiled form: limits, groups of clients, prices, caches.

The buckets that the limits fill are in `gateway.engine`: they outlive a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Unit: TypeAlias = Literal["requests", "tokens", "spend", "concurrent"]
Window: TypeAlias = Literal["minute", "hour", "day", "month"]

DEFAULT_GROUP: Final = "default"
"""The group of clients whose lines name none, and of all requests where there are no client keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit of a group of clients, or of a provider."""

    unit: Unit
    amount: float
    """Above 0. Requests, tokens (input and output), dollars, or requests at once; a whole number but for dollars."""
    per: Window | None
    """Minutes and hours slide; days and months are the calendar's, in UTC. None for `concurrent` only."""
    then: str | None = None
    """The alias that a request goes to once the amount is used up; None: it is refused. Of tokens and spend per day or
    month, and of groups only."""
    text: str = field(compare=False)
    """For outputs, such as `60 requests/minute`, `20 concurrent` or `$50/day`."""

    @property
    def is_budget(self) -> bool:
        """It is one of a day or a month: once it is reached it stays so until that ends."""
        return self.per in {"day", "month"}

    @property
    def bucket(self) -> str:
        """Names its bucket among those of one client: a changed amount keeps what is used."""
        return self.unit if self.per is None else f"{self.unit}/{self.per}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientGroup:
    """What the clients of one group may ask for, and how much."""

    name: str
    models: frozenset[str] | None = None
    """Aliases as written in `models`, wildcards with their star; None for all."""
    limits: tuple[Limit, ...] = ()
    is_shared: bool = False
    """Its clients take from one set of buckets; else each has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of a model in dollars per million tokens."""

    input: float
    output: float
    cached_input: float
    """Of input tokens that the upstream read from its cache."""


FREE: Final = Price(input=0.0, output=0.0, cached_input=0.0)
"""What a mock costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """How an alias' answers are kept."""

    ttl_s: float
    scope: Literal["client", "shared"] = "client"
    """`shared`: clients get each other's answers."""
    stale_if_error_s: float | None = None
    """Seconds after the end of `ttl_s` in which an answer still serves when the whole chain fails."""


ClientGroups: TypeAlias = Mapping[str, ClientGroup]
"""By name. Empty where the file has no `clients`; else it always has DEFAULT_GROUP."""
