"""What targets cost: a step's own price is in the table, these are the others', by LiteLLM's price data."""

from __future__ import annotations

from typing import Final

from gateway.config.model_data import HOSTED, ModelData
from gateway.policy.limits import Price
from gateway.policy.target import Target

FREE: Final = Price(input=0.0, output=0.0, cached_input=0.0)


class Prices:
    """Prices by target."""

    def __init__(self, data: ModelData) -> None:
        self._data = data

    def of(self, target: Target) -> Price | None:
        """Return a target's price; None for a model that the data does not price, for Azure and for own servers."""
        if target.endpoint.kind == "mock":
            return FREE
        model = self._data.find(target)
        return model.price if model is not None else None


def may_have_price(target: Target) -> bool:
    """Tell whether the data may have prices for models of a wildcard target."""
    return target.endpoint.kind == "mock" or (target.endpoint.kind in HOSTED and not target.endpoint.own_base_url)
