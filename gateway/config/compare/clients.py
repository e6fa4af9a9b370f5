"""Compare the groups of clients of two tables, and lists of limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from gateway.config.compare.changes import Change
from gateway.policy.limits import DEFAULT_GROUP, CachePolicy, ClientGroup, Limit, Price
from gateway.policy.table import RoutingTable
from gateway.wire.json import Json, JsonObject


def group_changes(old: RoutingTable, new: RoutingTable) -> Iterator[Change]:
    """Yield what changes for the clients of each group. Aliases that the new table lacks are told elsewhere."""
    before, after = ({DEFAULT_GROUP: ClientGroup(name=DEFAULT_GROUP), **table.clients} for table in (old, new))
    for name in dict.fromkeys((*before, *after)):
        one, other = before.get(name), after.get(name)
        if one is None and other is not None:
            yield Change(field="clients", kind="added", old=None, new=_whole(other), group=name)
        elif one is not None and other is None:
            yield Change(field="clients", kind="removed", old=_whole(one), new=None, group=name)
        elif one is not None and other is not None:
            for field, was, now in _differences(one, other, new):
                yield Change(field=f"clients.{field}", kind="changed", old=was, new=now, group=name)


def _differences(old: ClientGroup, new: ClientGroup, table: RoutingTable) -> Iterator[tuple[str, Json, Json]]:
    before, after = old.models, new.models
    if before is not None:
        before = frozenset(name for name in before if name.rstrip("*") in _names(table))
    if before != after:
        yield "models", _sorted(before), _sorted(after)
    was, now = limit_changes(old.limits, new.limits)
    if was or now:
        yield "limits", was, now
    if old.is_shared != new.is_shared and new.limits:
        yield "share", old.is_shared, new.is_shared


def _names(table: RoutingTable) -> set[str]:
    return {*table.routes, *table.wildcards}


def _sorted(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _whole(group: ClientGroup) -> JsonObject:
    return {"models": _sorted(group.models), "limits": limit_changes((), group.limits)[1], "share": group.is_shared}


def limit_changes(old: Sequence[Limit], new: Sequence[Limit]) -> tuple[JsonObject, JsonObject]:
    """Return the limits that differ, before and after, by bucket."""
    before, after = ({limit.bucket: limit for limit in limits} for limits in (old, new))
    changed = [bucket for bucket in dict.fromkeys((*before, *after)) if before.get(bucket) != after.get(bucket)]
    one, other = (
        {bucket: _limit(limits[bucket]) for bucket in changed if bucket in limits} for limits in (before, after)
    )
    return one, other


def _limit(limit: Limit) -> JsonObject:
    return {"amount": limit.amount} | ({"then": limit.then} if limit.then is not None else {})


def price_of(price: Price | None) -> Json:
    """Return a price with its keys of the file, or None."""
    return None if price is None else asdict(price)


def cache_of(cache: CachePolicy | None) -> Json:
    """Return a cache with its keys of the file, durations in seconds, or None."""
    if cache is None:
        return None
    return {"ttl": cache.ttl_s, "scope": cache.scope, "stale_if_error": cache.stale_if_error_s}
