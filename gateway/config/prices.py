"""What targets cost: a step's own price is in the table, these are the others', by LiteLLM's price data."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from gateway.concurrency.pacing import paced
from gateway.config.model_data import HOSTED, entries, is_at_vendor
from gateway.policy.limits import FREE, Price
from gateway.policy.target import Target
from gateway.wire.json import Json, JsonObject


class Prices:
    """Prices by target."""

    def __init__(self, entries: Iterable[tuple[str, Json]]) -> None:
        """`entries` are names and values as LiteLLM's file has them; of a vendor's equal names the first one counts."""
        self._prices: dict[str, dict[str, Price]] = {}
        """By vendor in the data's words, and by model."""
        for key, entry in entries:
            provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
            price = _price(entry) if isinstance(provider, str) else None
            if price is None or not isinstance(provider, str):
                continue
            vendor = provider.partition("-")[0]  # such as `vertex_ai-language-models`
            name = key.removeprefix("bedrock/" if vendor == "bedrock_converse" else f"{vendor}/")
            self._prices.setdefault(vendor, {}).setdefault(name, price)

    def of(self, target: Target) -> Price | None:
        """Return a target's price; None for a model that the data does not price, for Azure and for own servers."""
        if target.endpoint.kind == "mock":
            return FREE
        return self.of_model(target.endpoint.kind, target.model) if _is_at_vendor(target) else None

    def of_model(self, kind: str, model: str) -> Price | None:
        """Return the price of a model at its vendor's address, likewise."""
        if "*" in model or model.startswith("ft:"):
            return None
        found = (self._prices.get(vendor, {}).get(model) for vendor in _vendors(kind))
        return next((price for price in found if price is not None), None)

    def may_price(self, target: Target) -> bool:
        """Tell whether some model of a wildcard target may have a price."""
        if target.endpoint.kind == "mock":
            return True
        return _is_at_vendor(target) and any(vendor in self._prices for vendor in _vendors(target.endpoint.kind))


@cache
def load_prices() -> Prices | None:
    """Return the prices of the installed LiteLLM; None without LiteLLM, or if its file has another form."""
    try:
        return Prices(paced(entries()))
    except (OSError, ValueError):
        return None


def _is_at_vendor(target: Target) -> bool:
    """Tell whether a target is at its vendor's address. Azure's deployments have the user's own names."""
    return is_at_vendor(target.endpoint) and not target.endpoint.kind.startswith("azure")


def _vendors(kind: str) -> tuple[str, ...]:
    return HOSTED.get(kind, (kind,))


def _price(entry: JsonObject) -> Price | None:
    """Return the price by tokens; None for a model without one, or one that is paid by something else."""
    paid, output = _per_million(entry, "input_cost_per_token"), _per_million(entry, "output_cost_per_token")
    if output is None and entry.get("mode") == "embedding":
        output = 0.0
    if paid is None or output is None:
        return None
    if not paid and not output and any(map(_is_paid, entry.items())):
        return None
    cached = _per_million(entry, "cache_read_input_token_cost")
    return Price(input=paid, output=output, cached_input=paid if cached is None else cached)


def _per_million(entry: JsonObject, key: str) -> float | None:
    value = entry.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        return None
    return round(value * 1_000_000, 9)


def _is_paid(item: tuple[str, Json]) -> bool:
    """Tell whether an entry's field is a price above zero, such as `input_cost_per_query`."""
    name, value = item
    return "cost" in name and isinstance(value, int | float) and value > 0
