"""Pools and conditions of a chain: which steps a request takes, and in which order.

A chain without either has none of this: its steps are tried in the order of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from gateway.policy.conditions import When
from gateway.policy.rendezvous import Rendezvous

_OF_NONE: Final = Rendezvous(())

Pick: TypeAlias = Literal["weighted", "sticky", "least_busy", "fastest"]
"""How a pool orders its members for a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StickyKey:
    """Where the key of a sticky pool comes from. One of the three is set."""

    header: str | None = None
    """The client's header field of this lower-case name."""
    metadata: str | None = None
    """The field of this name in the request's `metadata`."""
    client: bool = False
    """The name of the client whose key was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of a pool: a target, or an alias with its whole chain."""

    name: str
    """Its text in the file: the target, or the alias' name. `sticky` hashes it."""
    parts: tuple[Part, ...]
    """Its steps. Tried one after the other before the next member."""
    weight: float = 1.0
    """Its share of the requests, beside the others' weights; 0 for a member that others only fall over to."""
    is_alias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One step with several targets."""

    members: tuple[Member, ...]
    """In file order; never empty."""
    pick: Pick = "weighted"
    key: StickyKey | None = None
    """For `sticky`; None for the first key there is of the usual ones."""
    weights: tuple[float, ...] = field(init=False, repr=False, compare=False)
    """Of the members."""
    rendezvous: Rendezvous = field(init=False, repr=False, compare=False)
    """Of the members' names, for `sticky`; of none for any other pick."""
    steps: tuple[int, ...] | None = field(init=False, repr=False, compare=False)
    """The one step of each member; None if a member has more, or a condition."""
    is_whole: bool = field(init=False, repr=False, compare=False)
    """Members and their steps have the same numbers: the pool is its chain's only part, or the first."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple([member.weight for member in self.members]))
        names = [member.name.encode() for member in self.members] if self.pick == "sticky" else []
        object.__setattr__(self, "rendezvous", Rendezvous(names) if names else _OF_NONE)
        only = [part for member in self.members for part in member.parts if isinstance(part, int)]
        is_plain = all(len(member.parts) == 1 for member in self.members) and len(only) == len(self.members)
        object.__setattr__(self, "steps", tuple(only) if is_plain else None)
        object.__setattr__(self, "is_whole", is_plain and only == [*range(len(only))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditional:
    """Steps that a request takes only if it meets a condition."""

    when: When
    parts: tuple[Part, ...]


Part: TypeAlias = int | Pool | Conditional
"""A part of a chain: the position of a step in `Route.steps`, or more."""


def shifted(parts: Sequence[Part], by: int) -> tuple[Part, ...]:
    """Return parts whose steps are `by` positions further on, as when a chain is inserted into another."""
    if not by:
        return tuple(parts)
    moved: list[Part] = []
    for part in parts:
        if isinstance(part, int):
            moved.append(part + by)
        elif isinstance(part, Conditional):
            moved.append(replace(part, parts=shifted(part.parts, by)))
        else:
            members = tuple([replace(member, parts=shifted(member.parts, by)) for member in part.members])
            moved.append(replace(part, members=members))
    return tuple(moved)


def positions(parts: Sequence[Part]) -> list[int]:
    """Return the positions of all steps of these parts, in file order."""
    found: list[int] = []
    for part in parts:
        if isinstance(part, int):
            found.append(part)
        elif isinstance(part, Conditional):
            found += positions(part.parts)
        else:
            for member in part.members:
                found += positions(member.parts)
    return found


def conditionals(parts: Sequence[Part]) -> Iterator[Conditional]:
    """Yield all conditions of these parts, from the outer to the inner, in file order."""
    for part in parts:
        if isinstance(part, Conditional):
            yield part
            yield from conditionals(part.parts)
        elif isinstance(part, Pool):
            for member in part.members:
                yield from conditionals(member.parts)


def pools(parts: Sequence[Part]) -> Iterator[Pool]:
    """Yield all pools of these parts, from the outer to the inner, in file order."""
    for part in parts:
        if isinstance(part, Conditional):
            yield from pools(part.parts)
        elif isinstance(part, Pool):
            yield part
            for member in part.members:
                yield from pools(member.parts)


def reads_body(parts: Sequence[Part]) -> bool:
    """Tell whether the conditions and sticky pools of these parts read what a pre hook can change: a request's body."""
    if any(pool.pick == "sticky" and (pool.key is None or pool.key.metadata is not None) for pool in pools(parts)):
        return True
    for conditional in conditionals(parts):
        when: When | None = conditional.when
        while when is not None:
            if when.features.keys() - {"stream"} or when.metadata or when.params:
                return True
            if when.tokens is not None or when.max_tokens is not None:
                return True
            when = when.inverse
    return False


def asked_facts(parts: Sequence[Part]) -> frozenset[str]:
    """Return the features that the conditions of these parts ask for, and `tokens` if one asks for that."""
    found: set[str] = set()
    for conditional in conditionals(parts):
        when: When | None = conditional.when
        while when is not None:
            found |= when.features.keys()
            found |= {"tokens"} if when.tokens is not None else set()
            when = when.inverse
    return frozenset(found)
