"""The limits of which something is used, the fullest first."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from heapq import nlargest
from itertools import islice
from typing import Final, NamedTuple, cast

from gateway.config.model.limit_texts import limit_text
from gateway.engine.limits.store import Fill, OwnerKind, Store
from gateway.policy.limits import Unit, Window
from gateway.policy.table import RoutingTable
from gateway.telemetry.logs import timestamp
from gateway.wire.json import JsonObject

MAX_FILLS: Final = 200
"""Limits that are told; the rest is counted."""
AT_ONCE: Final = 200
"""Buckets in one turn of the event loop: at most a millisecond."""


class Fills(NamedTuple):
    """The fullest buckets of one process, or of several."""

    rows: Sequence[Fill]
    number: int
    """Of all in which something is used; of several processes, of the one with the most."""


class Owner(NamedTuple):
    """Whose bucket it is, and which."""

    kind: OwnerKind
    name: str
    """Empty for requests without a client key."""
    text: str
    """The limit, as the file has it."""


NO_FILLS: Final = Fills((), 0)


class ServedLimits:
    """The limits of the table that serves: a bucket has the amount of its last request, before an edit maybe."""

    def __init__(self, table: RoutingTable) -> None:
        self.table = table
        amounts: dict[tuple[str, str, str], set[float]] = {}
        for endpoint in {target.endpoint.provider: target.endpoint for target in table.targets}.values():
            for limit in endpoint.limits:
                amounts.setdefault(("provider", endpoint.provider, limit.bucket), set()).add(limit.amount)
        for group in table.clients.values():
            owner = ("group", group.name) if group.is_shared else ("client", "")
            for limit in group.limits:
                amounts.setdefault((*owner, limit.bucket), set()).add(limit.amount)
        self._amounts = amounts
        """By kind and name of the owner, without that of a client, and its bucket."""

    def of(self, fill: Fill) -> Fill | None:
        """Return a bucket with the amount that the table has for it; None if it has no such limit.

        A client's group is not known here: where several have such a limit, the bucket stays as it is.
        """
        owner, _, bucket = fill.key.rpartition(" ")
        kind, _, name = owner.partition("/")
        amounts = self._amounts.get((kind, "" if kind == "client" else name, bucket))
        if amounts is None:
            return None
        if fill.amount in amounts or len(amounts) > 1:
            return fill
        return fill._replace(amount=next(iter(amounts)))


async def fullest(store: Store, limits: ServedLimits) -> Fills:
    """Return the fullest of a process' buckets, giving way to requests meanwhile."""
    rows: list[Fill] = []
    number, left = 0, iter(store.look())
    while some := list(islice(left, AT_ONCE)):
        shown = [served for fill in some if (served := limits.of(fill)) is not None]
        number += len(shown)
        rows = nlargest(MAX_FILLS, [*rows, *shown], key=share)
        await asyncio.sleep(0)
    return Fills(rows, number)


def joined_fills(parts: Iterable[Fills]) -> Fills:
    """Return several processes' buckets as one's: of each bucket the fullest, which is the first to refuse."""
    found: dict[str, Fill] = {}
    number = 0
    for rows, in_use in parts:
        number = max(number, in_use)
        for fill in rows:
            known = found.get(fill.key)
            if known is None or share(known) < share(fill):
                found[fill.key] = fill
    return Fills(nlargest(MAX_FILLS, found.values(), key=share), max(number, len(found)))


def share(fill: Fill) -> float:
    """Return the part of a bucket that is used; above 1 if more was used than it holds."""
    return fill.used / fill.amount


def owner_of(fill: Fill) -> Owner:
    """Return whose bucket it is."""
    owner, _, bucket = fill.key.rpartition(" ")
    kind, _, name = owner.partition("/")
    return Owner(cast("OwnerKind", kind), name, _text(bucket, fill.amount))


@lru_cache(maxsize=1024)
def _text(bucket: str, amount: float) -> str:
    unit, _, per = bucket.partition("/")
    return limit_text(cast("Unit", unit), amount, cast("Window", per) if per else None)


def _free_at(fill: Fill, at_s: float) -> str:
    """Return the second in which nothing of a bucket is used any more.

    Days and months end with a second; `at_s` misses it by the time since the bucket was looked at, on either side.
    """
    is_budget = fill.key.endswith(("/day", "/month"))
    return timestamp(round(at_s) if is_budget else math.ceil(at_s))


def as_json(fill: Fill, *, now: float) -> JsonObject:
    """Return a row of the state. `now` is in seconds since the epoch."""
    kind, name, text = owner_of(fill)
    return {
        "owner": kind,
        "name": name or None,
        "limit": text,
        "amount": fill.amount,
        "used": round(fill.used, 6),
        "share": round(share(fill), 4),
        "free_at": None if fill.free_in_s is None else _free_at(fill, now + fill.free_in_s),
        "reservations": fill.reservations,
    }
