"""Conditions of steps (`when`): what a request must be like for a step to be taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from gateway.wire.json import EMPTY, Json

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of the week as the file names them, Monday first."""

Sign: TypeAlias = Literal[">", ">=", "<", "<="]


class Threshold(NamedTuple):
    """A comparison with a number, such as `> 100k`."""

    sign: Sign
    number: int

    def holds(self, value: int) -> bool:
        """Tell whether `value` passes."""
        match self.sign:
            case ">":
                return value > self.number
            case ">=":
                return value >= self.number
            case "<":
                return value < self.number
            case "<=":
                return value <= self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class During:
    """A time of the week. An end before the begin, or equal to it, is on the next day."""

    text: str
    """As written: `mon-fri 08:00-18:00 Europe/Berlin`."""
    days: frozenset[int]
    """0 for Monday; the days on which it begins."""
    begin_min: int
    """Minutes since midnight."""
    end_min: int
    zone: tzinfo

    def holds(self, at: datetime) -> bool:
        """Tell whether a moment, given with its zone, lies in it."""
        local = at.astimezone(self.zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.begin_min < self.end_min:
            return day in self.days and self.begin_min <= minute < self.end_min
        return (day in self.days and minute >= self.begin_min) or ((day - 1) % 7 in self.days and minute < self.end_min)


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """A `when` block. All of it must hold; of a list of values, one."""

    features: Mapping[str, bool] = field(default_factory=lambda: EMPTY)
    """`stream`, `tools`, `images`, `audio` or `files` → whether the request has it."""
    tokens: Threshold | None = None
    """Of an estimate of the request's input."""
    max_tokens: Threshold | None = None
    """Of the wire's own limit of the output; does not hold for a request without one."""
    operations: frozenset[str] = frozenset()
    """Empty for any."""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    """Lower-case name → values; one that ends in `*` is a prefix."""
    metadata: Mapping[str, tuple[Json, ...]] = field(default_factory=lambda: EMPTY)
    clients: frozenset[str] = frozenset()
    """Empty for any, also for none."""
    params: Mapping[str, tuple[Json, ...]] = field(default_factory=lambda: EMPTY)
    """Name of a request's field → values."""
    during: During | None = None
    inverse: When | None = None
    """`not`: this must not hold."""


class Facts(Protocol):
    """What conditions ask of a request. Each is found out once, when it is first asked for."""

    @property
    def operation(self) -> str: ...

    @property
    def client(self) -> str | None: ...

    @property
    def at(self) -> datetime:
        """The time of arrival, with its zone."""

    @property
    def params(self) -> Mapping[str, Json]:
        """The fields of the request, as the asked alias' pre hooks leave them."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The client's header fields, names in lower case."""

    @property
    def metadata(self) -> Mapping[str, Json]: ...

    @property
    def tokens(self) -> int:
        """An estimate of the input."""

    @property
    def max_tokens(self) -> int | None: ...

    def has(self, feature: str) -> bool:
        """Tell whether it asks for a stream, or has tools, images, audio or files."""


def unmet(when: When, facts: Facts) -> str | None:
    """Return the first part of a condition that a request does not meet, such as `tokens`; None if it meets all."""
    for feature, wanted in when.features.items():
        if facts.has(feature) is not wanted:
            return feature
    if when.operations and facts.operation not in when.operations:
        return "operation"
    if when.clients and facts.client not in when.clients:
        return "client"
    for name, values in when.headers.items():
        if not _matches(facts.headers.get(name), values):
            return f"header {name}"
    for name, wanted_values in when.metadata.items():
        if not _is_among(facts.metadata.get(name), wanted_values):
            return f"metadata {name}"
    for name, wanted_values in when.params.items():
        if not _is_among(facts.params.get(name), wanted_values):
            return f"param {name}"
    if when.during is not None and not when.during.holds(facts.at):
        return "during"
    if when.max_tokens is not None and (facts.max_tokens is None or not when.max_tokens.holds(facts.max_tokens)):
        return "max_tokens"
    if when.tokens is not None and not when.tokens.holds(facts.tokens):
        return "tokens"
    if when.inverse is not None and unmet(when.inverse, facts) is None:
        return "not"
    return None


def _matches(value: str | None, wanted: tuple[str, ...]) -> bool:
    return value is not None and any(
        value.startswith(one[:-1]) if one.endswith("*") else value == one for one in wanted
    )


def _is_among(value: Json, wanted: tuple[Json, ...]) -> bool:
    """Tell whether a value is one of `wanted`; true is not 1, but 1.0 is."""
    return any(type(value) is type(one) and value == one for one in wanted) or (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and any(isinstance(one, int | float) and not isinstance(one, bool) and value == one for one in wanted)
    )
