"""Prices by LiteLLM's data, for targets without a price of their own."""

from __future__ import annotations

import pytest

from gateway.config.model_data import ModelData
from gateway.config.prices import FREE, Prices, may_have_price
from gateway.policy.limits import Price
from tests.compiling import step

DATA = ModelData(
    [("gpt-9", {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6})]
)


@pytest.mark.parametrize(
    ("target", "entry", "price", "may"),
    [
        ("openai/gpt-9", "openai: {}", Price(input=1, output=2, cached_input=1), True),
        ("openai/gpt-8", "openai: {}", None, True),
        ("mock/gpt-9", "openai: {}", FREE, True),
        ("az/gpt-9", "az: {kind: azure, base_url: 'https://a.example.com'}", None, False),
        ("openai/gpt-9", "openai: {base_url: 'https://a.example.com'}", None, False),
        ("mine/gpt-9", "mine: {kind: mock}", FREE, True),
        ("ollama/gpt-9", "openai: {}", None, False),
    ],
)
def test_a_target(target: str, entry: str, price: Price | None, may: bool) -> None:
    found = step(f"providers: {{{entry}}}\nmodels: {{fast: {target}}}\n").target
    assert Prices(DATA).of(found) == price
    assert may_have_price(found) == may
