"""Pools and conditions as texts."""

from __future__ import annotations

import pytest

from gateway.config.compare.shapes import shape_of
from tests.compiling import route


@pytest.mark.parametrize(
    ("chain", "texts"),
    [
        ("[openai/a, groq/b]", []),
        ("[{pool: {openai/a: 9, groq/b: 0.5}}, groq/c]", ["[openai/a 9, groq/b 0.5] (weighted)"]),
        ("[{pool: [openai/a, groq/b], pick: least_busy}]", ["[openai/a 1, groq/b 1] (least_busy)"]),
        ("[{pool: [openai/a, groq/b], pick: sticky, key: client}]", ["[openai/a 1, groq/b 1] (sticky by client)"]),
        (
            "[{pool: [groq/c, groq/d], pick: sticky, key: {metadata: session}}]",
            ["[groq/c 1, groq/d 1] (sticky by metadata session)"],
        ),
        ("[{when: {tools: false}, alias: two}, groq/c]", ["openai/x then groq/y when no tools"]),
        (
            "[{pool: [{alias: two, weight: 2}, groq/c], when: {not: {max_tokens: '<= 1k'}}}, groq/c]",
            ["[(openai/x then groq/y) 2, groq/c 1] (weighted) when not (max_tokens <= 1000)"],
        ),
    ],
)
def test_each_pool_and_each_condition_is_a_text(chain: str, texts: list[str]) -> None:
    assert shape_of(route(f"models: {{fast: {chain}, two: [openai/x, groq/y]}}\n")) == texts
