"""The README tells of every key of the file, every path of the server and every kind."""

from __future__ import annotations

import pytest

from gateway.config.model.read import schema
from gateway.policy.failures import Kind
from gateway.wire.json import Json
from tests.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def keys(value: Json) -> set[str]:
    """Return the names of all properties in a schema."""
    if isinstance(value, list):
        return {key for item in value for key in keys(item)}
    if not isinstance(value, dict):
        return set()
    own = set(value["properties"]) if isinstance(value.get("properties"), dict) else set()
    return own.union(*(keys(item) for item in value.values()))


@pytest.mark.parametrize("key", sorted(keys(schema())))
def test_every_key_of_the_file_is_in_the_readme(key: str) -> None:
    assert key in README


@pytest.mark.parametrize("kind", sorted(Kind))
def test_every_kind_is_in_the_readme(kind: Kind) -> None:
    assert f"| `{kind}` |" in README
