"""Prices by LiteLLM's data, for targets without a price of their own."""

from __future__ import annotations

import pytest

from gateway.config.prices import Prices, load_prices
from gateway.policy.limits import FREE, Price
from gateway.wire.json import JsonObject
from tests.compiling import step

COSTS = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
PRICES = Prices(
    (name, {"litellm_provider": provider, **COSTS})
    for name, provider in (
        ("gpt-9", "openai"),
        ("azure/gpt-9", "azure"),
        ("ft:gpt-9", "openai"),
        ("gemini-9", "vertex_ai-language-models"),
        ("us.anthropic.claude-9", "bedrock_converse"),
        ("openrouter/meta/llama-9", "openrouter"),
        ("ollama/llama-9", "ollama"),
        ("odd", None),
    )
)
ONE = Price(input=1, output=2, cached_input=1)


@pytest.mark.parametrize(
    ("target", "entry", "price", "may"),
    [
        ("openai/gpt-9", "openai: {}", ONE, True),
        ("openai/gpt-8", "openai: {}", None, True),
        ("openai/ft:gpt-9", "openai: {}", None, True),
        ("mock/gpt-9", "openai: {}", FREE, True),
        ("vertex_ai/gemini-9", "openai: {}", ONE, True),
        ("bedrock/us.anthropic.claude-9", "openai: {}", ONE, True),
        ("openrouter/meta/llama-9", "openai: {}", ONE, True),
        ("mistral/gpt-9", "openai: {}", None, False),
        ("az/gpt-9", "az: {kind: azure, base_url: 'https://a.example.com'}", None, False),
        ("openai/gpt-9", "openai: {base_url: 'https://a.example.com'}", None, False),
        ("two/gpt-9", "two: {kind: openai, base_url: 'https://api.openai.com/v1/'}", ONE, True),
        ("two/gpt-9", "two: {kind: openai, base_url: 'https://api.openai.com.evil.example/v1'}", None, False),
        ("own/llama-9", "own: {kind: ollama, base_url: 'http://127.0.0.1:11434'}", None, False),
        ("mine/gpt-9", "mine: {kind: mock}", FREE, True),
        ("ollama/llama-9", "openai: {}", ONE, True),
    ],
)
def test_a_target(target: str, entry: str, price: Price | None, may: bool) -> None:
    found = step(f"providers: {{{entry}}}\nmodels: {{fast: '{target}'}}\n").target
    assert PRICES.of(found) == price
    assert PRICES.may_price(found) == may


@pytest.mark.parametrize(
    ("entry", "price"),
    [
        (
            {"input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05},
            Price(input=1.25, output=10, cached_input=1.25),
        ),
        (
            {"input_cost_per_token": 3e-07, "output_cost_per_token": 2.5e-06, "cache_read_input_token_cost": 3e-08},
            Price(input=0.3, output=2.5, cached_input=0.03),
        ),
        ({"mode": "embedding", "input_cost_per_token": 2e-08}, Price(input=0.02, output=0, cached_input=0.02)),
        ({"mode": "chat", "input_cost_per_token": 2e-08}, None),
        ({"input_cost_per_token": 0, "output_cost_per_token": 0.0}, FREE),
        ({"input_cost_per_token": 0, "output_cost_per_token": 0, "input_cost_per_query": 0.002}, None),
        ({"input_cost_per_token": True, "output_cost_per_token": 1e-05}, None),
        ({"input_cost_per_token": -1e-06, "output_cost_per_token": 1e-05}, None),
        ({"input_cost_per_token": "1", "output_cost_per_token": 1e-05}, None),
    ],
)
def test_a_price_is_in_dollars_per_million_tokens(entry: JsonObject, price: Price | None) -> None:
    prices = Prices([("gpt-9", {"litellm_provider": "openai", **entry})])
    assert prices.of(step("models: {fast: openai/gpt-9}").target) == price


def test_litellms_own_file_has_prices() -> None:
    prices = load_prices()
    assert prices is not None
    assert prices is load_prices()
    for target, price in (
        ("openai/gpt-4o-mini", Price(input=0.15, output=0.6, cached_input=0.075)),
        ("gemini/gemini-2.5-pro", Price(input=1.25, output=10, cached_input=0.125)),
        ("openai/text-embedding-3-small", Price(input=0.02, output=0, cached_input=0.02)),
    ):
        assert prices.of(step(f"models: {{fast: {target}}}").target) == price
