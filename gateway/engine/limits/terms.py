"""What the requests of one owner of limits take from: its buckets, and what has to be counted for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.engine.limits.store import Bucket, OwnerKind, bucket
from gateway.policy.limits import Limit


@dataclass(frozen=True, slots=True)
class Terms:
    """The buckets of one owner."""

    buckets: tuple[Bucket, ...]
    counts_tokens: bool
    """Tokens or spend are limited."""
    counts_spend: bool


def terms_of(kind: OwnerKind, owner: str, limits: Sequence[Limit]) -> Terms:
    """Return the terms of an owner with these limits."""
    units = {limit.unit for limit in limits}
    return Terms(
        tuple([bucket(kind, owner, limit) for limit in limits]),
        not units.isdisjoint({"tokens", "spend"}),
        "spend" in units,
    )
