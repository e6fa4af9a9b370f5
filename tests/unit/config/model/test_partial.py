"""prune: a document without the entries that have problems."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.config.document.document import parse
from gateway.config.model.partial import Pruned, prune
from gateway.policy.problem import Problem
from gateway.wire.json import Json

TEXT = b"""version: 1
defaults: {retries: x}
providers: {openai: {}, "odd.name": {kind: 3}}
models:
  fast: openai/a
  faster: openai/b
  "team/*": 3
"""


def pruned(*paths: str, severity: str = "error") -> Pruned | None:
    plain = Problem(line=1, column=1, code="wrong-type", path="", message="")
    found = [replace(plain, path=path, severity="error" if severity == "error" else "warning") for path in paths]
    return prune(parse(TEXT, name="routes.yaml"), found)


def test_an_entry_with_a_problem_is_left_out_and_its_neighbours_stay() -> None:
    left = pruned("models.fast", 'models["team/*"]', 'providers["odd.name"].kind')
    assert left is not None
    assert left.document.value == {
        "version": 1,
        "defaults": {"retries": "x"},
        "providers": {"openai": {}},
        "models": {"faster": "openai/b"},
    }
    assert left.left_out == {("models", "fast"), ("models", "team/*"), ("providers", "odd.name")}


def test_a_block_without_entries_is_left_out_whole() -> None:
    left = pruned("defaults.retries")
    assert left is not None
    assert set(left.document.value or ()) == {"version", "providers", "models"}
    assert left.left_out == frozenset()


def test_places_of_what_is_left_stay_the_same() -> None:
    left = pruned("models.fast")
    assert left is not None
    assert left.document.key_position(("models", "faster")) == (6, 3)


def part_of(text: str, *paths: str) -> Json:
    """Return the remaining value of the alias `fast`."""
    plain = Problem(line=1, column=1, code="wrong-type", path="", message="")
    left = prune(parse(f"models: {{fast: {text}}}".encode(), name="x"), [replace(plain, path=path) for path in paths])
    assert left is not None
    assert ("models", "fast") in left.left_out or "fast" in (left.document.value or {})["models"]
    return (left.document.value or {})["models"].get("fast")


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("{chain: [a/b], x: 1}", "x", {"chain": ["a/b"]}),
        ("{chain: [a/b], params: {x: 1, y: 2}}", "params.x", {"chain": ["a/b"], "params": {"y": 2}}),
        ("{chain: [a/b], retry_on: [x, y]}", "retry_on[0]", {"chain": ["a/b"]}),
        ("{chain: [a/b, c]}", "chain[0]", {"chain": ["mock/refused", "c"]}),
        ("{chain: [{target: b, x: 1}, c]}", "chain[0].x", {"chain": [{"target": "b"}, "c"]}),
        ("{chain: [{target: b}, c]}", "chain[0].target", {"chain": ["mock/refused", "c"]}),
        ("{chain: 3}", "chain", None),
        ("{chain: [a/b], x: 1}", "", None),
        ("3", "deeper", None),
    ],
)
def test_of_an_alias_only_what_is_refused_is_left_out(text: str, path: str, expected: Json) -> None:
    assert part_of(text, f"models.fast.{path}".removesuffix(".")) == expected


def test_steps_of_a_plain_list_keep_their_places() -> None:
    assert part_of("[a/b, c, d/e]", "models.fast[1]") == ["a/b", "mock/refused", "d/e"]


def test_a_missing_version_and_missing_models_are_put_in() -> None:
    left = prune(parse(b"providers: {}\n", name="x"), [])
    assert left is not None
    assert left.document.value == {"providers": {}, "version": 1, "models": {}}


def test_a_warning_leaves_nothing_out() -> None:
    left = pruned("models.fast", severity="warning")
    assert left is not None
    assert left.left_out == frozenset()


def test_nothing_is_left_of_a_text_that_is_no_mapping_or_has_very_many_faults() -> None:
    assert prune(parse(b"- 1\n", name="routes.yaml"), []) is None
    assert pruned(*(f"models.a{number}" for number in range(200))) is None
