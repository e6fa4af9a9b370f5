"""Which caches can never keep an answer: those whose every request is a bypass."""

from __future__ import annotations

import pytest

from gateway.engine.cache.keepable import is_repeatable
from gateway.engine.cache.keys import overrides_of
from gateway.engine.cache.never import never_kept
from gateway.operations import OPERATIONS
from tests.compiling import route

UP = 'providers: {up: {kind: openai, base_url: "http://127.0.0.1:9/v1", wires: [WIRES]}}\n'


@pytest.mark.parametrize(
    ("wires", "chain", "why"),
    [
        ("chat", "[up/a]", None),
        ("responses", "[up/a]", None),
        ("speech, embeddings", "[up/a]", None),
        ("speech", "[up/a]", "its targets take speech only, and no answer to that is ever kept"),
        ("chat", "[up/a, {target: up/b, params: {store: true}}]", "it has `store: true`, so the upstream keeps it"),
        ("chat", "[{target: up/b, params: {store: null}}]", None),
        ("responses", "[{target: up/b, params: {store: null}}]", "it does not write `store: false`"),
        ("responses", "[{target: up/b, params: {background: true}}]", "it has `background`, so the upstream keeps it"),
        (
            "chat, embeddings",
            "[{target: up/b, params: {tools: [{type: web_search}]}}]",
            "a tool that the upstream runs",
        ),
        ("chat", "[{target: up/b, params: {tools: [{type: function, function: {name: f}}]}}]", None),
    ],
)
def test_it_says_why_nothing_is_kept(wires: str, chain: str, why: str | None) -> None:
    found = route(f"{UP.replace('WIRES', wires)}models: {{fast: {{chain: {chain}, cache: 1h}}}}")
    said = never_kept(found)
    assert said is None if why is None else why in (said or "")
    carried = {name for step in found.steps for name in step.target.endpoint.adapters}
    bodies = [{**OPERATIONS[name].example, **more} for name in carried for more in ({}, {"store": False})]
    kept = [is_repeatable(name, body, overrides_of(found.steps)) for name in carried for body in bodies]
    assert any(kept) == (why is None)
