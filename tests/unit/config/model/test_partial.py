"""prune: a document without the places that have problems."""

from __future__ import annotations

import pytest

from gateway.config.document.document import parse
from gateway.config.document.yaml_tree import Where
from gateway.config.model.partial import NOTHING, Pruned, prune
from gateway.wire.json import Json

TEXT = b"""version: 1
defaults: {retries: x, timeout: 3s}
providers: {openai: {}, "odd.name": {kind: 3}, keyed: {kind: openai, api_key: 3}}
models:
  fast: openai/a
  faster: openai/b
  "team/*": 3
"""


def pruned(*places: Where, text: bytes = TEXT) -> Pruned:
    left = prune(parse(text, name="routes.yaml"), places)
    assert left is not None
    return left


def value(*places: Where, text: bytes = TEXT) -> Json:
    return pruned(*places, text=text).document.value


def test_an_entry_with_a_problem_is_left_out_and_its_neighbours_stay() -> None:
    places: list[Where] = [("models", "fast"), ("models", "team/*"), ("providers", "odd.name", "kind")]
    assert value(*places) == {
        "version": 1,
        "defaults": {"retries": "x", "timeout": "3s"},
        "providers": {"openai": {}, "keyed": {"kind": "openai", "api_key": 3}},
        "models": {"faster": "openai/b"},
    }
    assert pruned(*places).left_out.names == {"models": {"fast", "team/*"}, "providers": {"odd.name"}}


def test_a_key_that_no_rule_about_others_needs_is_left_out_alone() -> None:
    left = value(("defaults", "retries"), ("providers", "keyed", "api_key"))
    assert isinstance(left, dict)
    assert left["defaults"] == {"timeout": "3s"}
    assert left["providers"]["keyed"] == {"kind": "openai"}


def test_a_block_of_another_type_is_left_out_whole_and_its_names_are_not_known() -> None:
    left = pruned(("providers",))
    assert set(left.document.value or ()) == {"version", "defaults", "models"}
    assert left.left_out.has("providers", "anything")
    assert not left.left_out.has("models", "anything")


def test_places_of_what_is_left_stay_the_same() -> None:
    assert pruned(("models", "fast")).document.key_position(("models", "faster")) == (6, 3)


def part_of(text: str, *places: Where) -> Json:
    """Return the remaining value of the alias `fast`."""
    left = pruned(*[("models", "fast", *place) for place in places], text=f"models: {{fast: {text}}}".encode())
    models = (left.document.value or {})["models"]
    assert ("fast" in models) is not left.left_out.has("models", "fast")
    return models.get("fast")


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("{chain: [a/b], x: 1}", ("x",), {"chain": ["a/b"]}),
        ("{chain: [a/b], params: {x: 1, y: 2}}", ("params", "x"), {"chain": ["a/b"], "params": {"y": 2}}),
        ("{chain: [a/b], retry_on: [x, y]}", ("retry_on", 0), {"chain": ["a/b"]}),
        ("{chain: [a/b, c]}", ("chain", 0), {"chain": ["mock/refused", "c"]}),
        ("[a/b, c, d/e]", (1,), ["a/b", "mock/refused", "d/e"]),
        ("{chain: [{target: b, x: 1}, c]}", ("chain", 0, "x"), {"chain": [{"target": "b"}, "c"]}),
        ("{chain: [{target: b}, c]}", ("chain", 0, "target"), {"chain": ["mock/refused", "c"]}),
        ("{chain: 3}", ("chain",), None),
        ("{chain: [a/b], x: 1}", (), None),
        ("3", ("deeper",), None),
        ("[{pool: [a/b, 3]}]", (0, "pool", 1), [{"pool": ["a/b", "mock/refused"]}]),
        ("[{pool: {a/b: 1, c: x}}]", (0, "pool", "c"), [{"pool": {"a/b": 1}}]),
        (
            "[{pool: [a/b], pick: x, key: client}]",
            (0, "pick"),
            [{"pool": ["a/b"], "pick": "sticky", "key": "client"}],
        ),
        (
            "[{target: a/b, when: {stream: true, not: {tools: true, images: 3}}}]",
            (0, "when", "not", "images"),
            [{"target": "a/b", "when": {"stream": True}}],
        ),
        (
            "{chain: [a/b], hooks: {pre: [3, x.y]}}",
            ("hooks", "pre", 0),
            {"chain": ["a/b"], "hooks": {"pre": ["refused", "x.y"]}},
        ),
        (
            "{chain: [a/b], shadow: {target: c, share: x}}",
            ("shadow", "share"),
            {"chain": ["a/b"], "shadow": {"target": "c", "share": 1}},
        ),
        (
            "{chain: [a/b], cache: {ttl: x, scope: shared}}",
            ("cache", "ttl"),
            {"chain": ["a/b"], "cache": {"scope": "shared", "ttl": 3600}},
        ),
    ],
)
def test_of_an_alias_only_what_is_refused_is_left_out(text: str, place: Where, expected: Json) -> None:
    assert part_of(text, place) == expected


def test_a_place_in_a_refused_one_changes_nothing() -> None:
    expected = {"chain": ["mock/refused", "c"]}
    assert part_of("{chain: [{target: 3}, c]}", ("chain", 0), ("chain", 0, "target")) == expected
    assert part_of("{chain: [{target: 3}, c]}", ("chain", 0, "target"), ("chain", 0)) == expected


def test_a_missing_version_and_missing_models_are_put_in() -> None:
    left = pruned(text=b"providers: {}\n")
    assert left.document.value == {"providers": {}, "version": 1, "models": {}}
    assert left.left_out.has("models", "any")


def test_nothing_is_left_of_a_text_that_is_no_mapping() -> None:
    assert prune(parse(b"- 1\n", name="routes.yaml"), []) is None


def test_what_is_left_out_has_the_names_that_a_misspelt_block_has() -> None:
    left_out = pruned(("provider",), text=b"version: 1\nprovider: {own: {}}\nmodels: {a: own/b}\n").left_out
    assert left_out.has("providers", "own")
    assert not left_out.has("providers", "other")
    assert pruned(("provider",), text=b"version: 1\nprovider: [own]\nmodels: {}\n").left_out.has("providers", "own")


def test_a_wildcard_that_is_left_out_takes_what_it_matches() -> None:
    left_out = pruned(("models", "team/*")).left_out
    assert left_out.has("models", "team/x")
    assert not left_out.has("models", "team")
    assert left_out.has_beginning("models", "te")
    assert not left_out.has_beginning("models", "x")


def test_a_place_is_taken_by_one_around_it_and_touched_by_one_in_it() -> None:
    left_out = pruned(("models", "a", 1, "price"), text=b"models: {a: [x/y, {target: x/z, price: x}]}").left_out
    assert left_out.takes(("models", "a", "chain", 1, "price", "input"))
    assert not left_out.takes(("models", "a", "chain", 1))
    assert left_out.touches(("models", "a", "chain", 1))
    assert not left_out.touches(("models", "a", "chain", 0))
    assert not NOTHING.takes(("models",))
    assert not NOTHING.touches(("models",))
