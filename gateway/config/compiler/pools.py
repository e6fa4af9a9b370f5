"""The shape of a chain: which of its steps are in a pool or have a condition, as the parts of its route."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.config.compiler.conditions import header_fault
from gateway.config.document.yaml_tree import Where
from gateway.config.model.specs import NO_LIMITS, LimitsSpec, MemberSpec, StepSpec
from gateway.config.problems import Report
from gateway.policy.conditions import When
from gateway.policy.pools import Conditional, Member, Part, Pool, StickyKey


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of a chain, or one member of its pool, and its place."""

    spec: StepSpec
    place: Where
    from_code: bool = False
    """Whether a program added it: then its target may be a bare name, if those are allowed."""
    is_key: bool = False
    """Whether the target is the key of its place: a member of a pool that is a mapping."""
    outer: LimitsSpec = NO_LIMITS
    """The limits of the pool around it."""

    @property
    def name_place(self) -> Where:
        """Place of the target or of the alias' name."""
        if self.from_code or self.is_key:
            return self.place
        return (*self.place, "target" if self.spec.alias is None else "alias")


def leaves(link: Link) -> tuple[Link, ...]:
    """Return the targets and aliases of an entry: those of a pool's members, else the entry itself."""
    pool = link.spec.pool
    if pool is None:
        return (link,)
    return tuple(
        [
            Link(
                member.step,
                (*link.place, "pool", member.step.target if pool.is_mapping and member.step.target else number),
                is_key=pool.is_mapping,
                outer=link.spec.limits,
            )
            for number, member in enumerate(pool.members)
        ]
    )


def name_of(member: MemberSpec) -> str:
    """Return the text by which a pool knows a member."""
    return member.step.target or member.step.alias or ""


def shape(links: Sequence[Link], condition: Callable[[Link], When | None]) -> tuple[Part, ...] | None:
    """Return the parts of a chain over the positions of its leaves; None without pools and conditions.

    `condition` compiles the `when` of an entry that has one.
    """
    if not any(link.spec.pool is not None or link.spec.when is not None for link in links):
        return None
    parts: list[Part] = []
    position = 0
    for link in links:
        pool, part = link.spec.pool, position
        position += 1 if pool is None else len(pool.members)
        made: Part = part if pool is None else _pool(link, part)
        when = condition(link) if link.spec.when is not None else None
        parts.append(made if when is None else Conditional(when=when, parts=(made,)))
    return tuple(parts)


def _pool(link: Link, first: int) -> Pool:
    spec = link.spec.pool
    assert spec is not None, "only a pool has members"
    members = [
        Member(name=name_of(one), parts=(position,), weight=one.weight, is_alias=one.step.alias is not None)
        for position, one in enumerate(spec.members, start=first)
    ]
    key = spec.key
    if key is not None and key.header is not None:
        key = StickyKey(header=key.header.lower())
    return Pool(members=tuple(members), pick=spec.pick or "weighted", key=key)


def check_pool(link: Link, report: Report) -> bool:
    """Report members that a pool has twice, and a key that cannot be; return whether there were any."""
    spec = link.spec.pool
    assert spec is not None, "only a pool has members"
    faults = 0
    seen: set[str] = set()
    for member, leaf in zip(spec.members, leaves(link), strict=True):
        name = name_of(member)
        if name in seen:
            message = f"the pool has {name} already; give the one member both weights"
            report(leaf.name_place, "repeated-target", message)
            faults += 1
        seen.add(name)
    if spec.key is not None and spec.pick != "sticky":
        message = f"a key counts with 'pick: sticky' only, and this pool picks {spec.pick or 'weighted'}"
        report((*link.place, "key"), "bad-sticky-key", message, at_key=True)
        faults += 1
    if spec.key is not None and spec.key.header is not None and (fault := header_fault(spec.key.header)) is not None:
        report((*link.place, "key", "header"), fault.code, fault.message)
        faults += 1
    return faults > 0


def placed(parts: Sequence[Part], pieces: Sequence[Sequence[Part]]) -> tuple[Part, ...]:
    """Return parts with every position replaced by its piece: the step there, or the parts of an inserted chain."""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, int):
            found += pieces[part]
        elif isinstance(part, Conditional):
            found.append(replace(part, parts=placed(part.parts, pieces)))
        else:
            members = tuple([replace(member, parts=placed(member.parts, pieces)) for member in part.members])
            found.append(replace(part, members=members))
    return tuple(found)


def filled(spec: StepSpec, matched: str) -> StepSpec:
    """Return a step of a wildcard with `matched` for the star in its targets."""
    if spec.pool is not None:
        members = [replace(member, step=filled(member.step, matched)) for member in spec.pool.members]
        return replace(spec, pool=replace(spec.pool, members=tuple(members)))
    return replace(spec, target=spec.target and spec.target.replace("*", matched))
