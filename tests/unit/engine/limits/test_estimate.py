"""What a request is expected to use, and what that costs."""

from __future__ import annotations

import pytest

from gateway.adapters.base import Operation
from gateway.engine.limits.estimate import Prices, estimate
from gateway.operations import CHAT, OPERATIONS
from gateway.policy.limits import Price
from gateway.wire.json import JsonObject
from tests.compiling import route

HI: JsonObject = {"messages": [{"role": "user", "content": "x" * 80}]}


@pytest.mark.parametrize(
    ("operation", "params", "expected"),
    [
        ("chat", HI, (20, 1000)),
        ("chat", {**HI, "max_tokens": 7}, (20, 7)),
        ("chat", {**HI, "max_tokens": 7, "max_completion_tokens": 9, "n": 3}, (20, 27)),
        ("chat", {**HI, "max_tokens": 9, "max_completion_tokens": 7}, (20, 9)),  # some servers know the older one only
        ("chat", {**HI, "max_tokens": -1, "n": True}, (20, 1000)),  # without end, to vLLM and llama.cpp
        ("chat", {**HI, "max_tokens": 0, "n": -2}, (20, 1000)),
        ("completions", {"prompt": "x" * 80, "max_tokens": 7}, (20, 7)),
        ("completions", {"prompt": ["x" * 40, "x" * 40], "max_tokens": 7, "n": 2, "best_of": 3}, (20, 42)),
        ("completions", {"prompt": [[1, 2], [3]], "max_tokens": 7, "n": 2, "best_of": 1}, (3, 28)),
        ("completions", {"prompt": [1, 2, 3], "max_tokens": 7}, (3, 7)),
        ("completions", {"prompt": "", "max_tokens": 7}, (0, 7)),
        ("responses", {"input": "x" * 80, "max_output_tokens": 7}, (20, 7)),
        ("responses", {"input": "x" * 80}, (20, 1000)),
        ("input_tokens", {"input": "x" * 80}, (0, 0)),
        ("messages", {**HI, "max_tokens": 7}, (20, 7)),
        ("count_tokens", HI, (0, 0)),
        ("embeddings", {"input": ["x" * 40, "x" * 40]}, (20, 0)),
        ("rerank", {"query": "x" * 40, "documents": ["x" * 40]}, (20, 0)),
        ("moderations", {"input": "x" * 80}, (20, 0)),
        ("images", {"prompt": "x" * 80, "n": 2}, (20, 0)),
        ("speech", {"input": "x" * 80}, (20, 0)),
        ("transcriptions", {}, (0, 1000)),
    ],
)
def test_input_by_its_text_and_output_by_its_limit(
    operation: str, params: JsonObject, expected: tuple[int, int]
) -> None:
    asked: Operation = OPERATIONS[operation]
    assert estimate(asked, params) == expected


def test_base64_is_no_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 1000}}
    found = estimate(CHAT, {"messages": [{"role": "user", "content": [image]}]})
    assert isinstance(found, tuple), "it is not long"
    assert found[0] < 10


def test_a_target_that_a_chain_has_twice_costs_the_higher_of_its_prices() -> None:
    twice = "[{target: mock/a, price: {input: 3, output: 5}}, {target: mock/a, price: {input: 4, output: 1}}]"
    prices = Prices(route(f"models: {{fast: {twice}}}\n").steps, None)
    for target in (None, "mock/a"):
        assert prices.dollars(1_000_000, 1_000_000, target=target) == 9


def test_prices_are_a_step_s_own_or_the_data_s_and_mocks_cost_nothing() -> None:
    chain = route("models: {fast: [openai/gpt-4o, anthropic/claude-sonnet-4-5, mock/echo]}\n").steps
    data = Price(input=2, output=8, cached_input=1)
    prices = Prices(chain, lambda target: data if target.name == "openai/gpt-4o" else None)
    assert prices.unknown == {"anthropic/claude-sonnet-4-5"}
    million = 1_000_000
    assert prices.dollars(million, million) == 10, "at the dearest"
    assert prices.dollars(million, million, million // 2, target="openai/gpt-4o") == 1 + 0.5 + 8
    assert prices.dollars(million, 0, 5 * million, target="openai/gpt-4o") == 1, "no more is cached than there is"
    assert prices.dollars(million, million, target="mock/echo") == 0
    assert Prices(chain, None).unknown == {"openai/gpt-4o", "anthropic/claude-sonnet-4-5"}
    assert Prices(chain, None).dollars(1, 1) == 0
