"""Build the specs of limits, groups of clients, prices and caches from values that the schema took."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.config.model.limit_texts import UNITS, amount_of, read_limit
from gateway.config.model.specs import ClientGroupSpec, LimitSpec
from gateway.policy.limits import CachePolicy, Price
from gateway.wire.json import Json, JsonObject
from gateway.words import seconds

_DAY_S: Final = 86_400.0


def groups_of(block: JsonObject) -> Mapping[str, ClientGroupSpec]:
    """Return the groups of a `clients` block."""
    return MappingProxyType(
        {
            name: ClientGroupSpec(
                name=name,
                models=tuple(entry["models"]) if "models" in entry else None,
                limits=limits_of(entry),
                share=entry.get("share", False),
            )
            for name, entry in block.items()
        }
    )


def limits_of(entry: JsonObject) -> tuple[LimitSpec, ...]:
    """Return the `limits` of a group or a provider."""
    return tuple([read_limit(one) if isinstance(one, str) else _long(one) for one in entry.get("limits", ())])


def _long(limit: JsonObject) -> LimitSpec:
    unit = next(unit for unit in UNITS if unit in limit)
    then = limit.get("then")
    return LimitSpec(
        unit=unit,
        amount=amount_of(limit[unit]),
        per=limit.get("per"),
        then=None if then is None else then["alias"],
    )


def price_of(value: Json) -> Price | None:
    """Return a `price`, be it a number or a mapping."""
    if value is None:
        return None
    if not isinstance(value, dict):
        value = {"input": value, "output": value}
    paid = float(value["input"])
    return Price(input=paid, output=float(value["output"]), cached_input=float(value.get("cached_input", paid)))


def cache_of(value: Json) -> CachePolicy | None:
    """Return a `cache`, be it a duration or a mapping."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return CachePolicy(ttl_s=_age_s(value))
    stale = value.get("stale_if_error")
    return CachePolicy(
        ttl_s=_age_s(value["ttl"]),
        scope=value.get("scope", "client"),
        stale_if_error_s=None if stale is None else _age_s(stale),
    )


def _age_s(age: str | float) -> float:
    """Return an age in seconds: a duration, or days such as `7d`."""
    if isinstance(age, str) and age.endswith("d"):
        return float(age.removesuffix("d")) * _DAY_S
    return seconds(age)
