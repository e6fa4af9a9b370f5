"""Limits, buckets and groups in a line, and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from gateway.engine.limits.estimate import PriceOf
from gateway.engine.limits.memory import MemoryStore
from gateway.engine.limits.store import Bucket, bucket
from gateway.policy.limits import ClientGroup, Limit
from gateway.policy.table import RoutingTable


def limit(text: str, **more: Any) -> Limit:
    """Return the limit of a text such as `60 requests/minute` or `20 concurrent`."""
    amount, _, rest = text.partition(" ")
    unit, _, per = rest.partition("/")
    return Limit(unit=unit, amount=float(amount), per=per or None, text=text, **more)  # type: ignore[arg-type]  # words of the test


def buckets(*texts: str, of: str = "ann") -> list[Bucket]:
    return [bucket("client", of, limit(text)) for text in texts]


@dataclass
class Clock:
    """Both clocks of a store, moved by hand."""

    now_s: float = 1000.0
    epoch_s: float = 1_796_000_000.0 // 86400 * 86400
    """Of `now_s` 0, at midnight."""

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.epoch_s + self.now_s

    def store(self) -> MemoryStore:
        return MemoryStore(clock=self.monotonic, wall_clock=self.wall)


def group(name: str, *texts: str | Limit, models: Collection[str] | None = None, share: bool = False) -> ClientGroup:
    limits = tuple([limit(text) if isinstance(text, str) else text for text in texts])
    return ClientGroup(name=name, limits=limits, models=None if models is None else frozenset(models), is_shared=share)


def with_groups(table: RoutingTable, *groups: ClientGroup, price_of: PriceOf | None = None) -> RoutingTable:
    """Return the table with these groups, of which `default` always is one."""
    found = {"default": ClientGroup(name="default")} | {each.name: each for each in groups}
    return replace(table, clients=MappingProxyType(found), price_of=price_of)
