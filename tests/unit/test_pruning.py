"""What is left of a document without the entries that have problems."""

from __future__ import annotations

from dataclasses import replace

from gateway.pruning import Pruned, prune
from gateway.source import parse
from gateway.types import Problem

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
    left = pruned("models.fast.chain[0]", 'models["team/*"]', 'providers["odd.name"].kind')
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


def test_a_warning_leaves_nothing_out() -> None:
    left = pruned("models.fast", severity="warning")
    assert left is not None
    assert left.left_out == frozenset()


def test_nothing_is_left_of_a_text_that_is_no_mapping_or_has_very_many_faults() -> None:
    assert prune(parse(b"- 1\n", name="routes.yaml"), []) is None
    assert pruned(*(f"models.a{number}" for number in range(200))) is None
