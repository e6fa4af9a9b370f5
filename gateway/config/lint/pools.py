"""Rules for pools that pick nothing, keys that decide nothing, and chains that conditions may leave without a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

from gateway.config.compiler.implied import are_exhaustive, implies
from gateway.config.lint.subject import Chain, Finding, Item, Policy
from gateway.policy.conditions import When
from gateway.policy.pools import Conditional, Part, Pool, StickyKey

_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers of one connection only (RFC 9110, section 7.6.1)."""
_WITH_METADATA: Final = frozenset({"chat", "responses", "messages"})
"""Operations whose requests have `metadata`."""


def pools_of_one(policy: Policy) -> Iterator[Finding]:
    """Find pools with one member. Of a sticky one `sticky_alone` tells."""
    for _, item, pool in _pools(policy):
        if len(pool.members) == 1 and pool.pick != "sticky":
            name = pool.members[0].name
            message = (
                f"the pool has one member, {name}: there is nothing to pick; write it without a pool, or add others"
            )
            yield item.finding("pool-of-one", message)


def zero_weights(policy: Policy) -> Iterator[Finding]:
    """Find pools none of whose members has a weight."""
    for _, item, pool in _pools(policy):
        if not _picked(pool):
            message = "all weights are 0, for members to which requests only fall over: none can be picked first"
            yield item.finding("zero-weights", message)


def sticky_alone(policy: Policy) -> Iterator[Finding]:
    """Find sticky pools that have one member to pick."""
    for _, item, pool in _pools(policy):
        names = _picked(pool)
        if pool.pick == "sticky" and len(names) == 1:
            message = f"{names[0]} is the only member with a weight: every key leads to it"
            yield Finding(code="sticky-alone", place=(*item.place, "pick"), message=message, at_key=True)


def sticky_without_key(policy: Policy) -> Iterator[Finding]:
    """Find keys of sticky pools that no request can have."""
    for _, item, pool in _pools(policy):
        why = _why_never(pool.key, item.when) if pool.key is not None else None
        if why is not None:
            message = f"no request can have this key: {why}; all are drawn by weight"
            yield Finding(code="sticky-no-key", place=(*item.place, "key"), message=message, at_key=True)


def chains_left_empty(policy: Policy) -> Iterator[Finding]:
    """Find chains all of whose steps a request may miss, so that it is answered 400."""
    for chain in policy.chains:
        parts = chain.route.parts
        if parts is not None and _may_be_empty(parts):
            last = chain.items[-1]
            message = (
                "a request that meets no condition of the chain is refused with 400; leave out the last step's "
                "condition, or add a step without one"
            )
            if last.when is None:
                yield last.finding("no-step-left", message)
            else:
                yield Finding(code="no-step-left", place=(*last.place, "when"), message=message, at_key=True)


def _pools(policy: Policy) -> Iterator[tuple[Chain, Item, Pool]]:
    return (
        (chain, item, item.pool)
        for chain in policy.chains
        if chain.route.parts is not None
        for item in chain.items
        if item.pool is not None
    )


def _picked(pool: Pool) -> list[str]:
    """Return the names of the members that may be picked first."""
    return [member.name for member in pool.members if member.weight > 0]


def _why_never(key: StickyKey, when: When | None) -> str | None:
    if key.header is not None:
        if key.header in _HOP_BY_HOP:
            return f"{key.header} is about a connection, not about a request"
        inverse = when.inverse if when is not None else None
        if inverse is not None and implies(When(headers={key.header: ("*",)}), inverse):
            return f"its condition keeps away requests with {key.header}"
    if key.metadata is not None and when is not None and when.operations and not when.operations & _WITH_METADATA:
        return f"there is no metadata in {', '.join(sorted(when.operations))}"
    return None


def _may_be_empty(parts: Sequence[Part]) -> bool:
    """Tell whether a request may miss the conditions of all these parts."""
    whens: list[When] = []
    for part in parts:
        if isinstance(part, int):
            return False
        if isinstance(part, Conditional):
            if not _may_be_empty(part.parts):
                whens.append(part.when)
        elif not all(_may_be_empty(member.parts) for member in part.members):
            return False
    return not any(are_exhaustive(one, other) for one, other in combinations(whens, 2))
