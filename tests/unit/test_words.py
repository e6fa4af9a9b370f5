"""The closest name: what a message suggests."""

from __future__ import annotations

import pytest

from gateway.words import did_you_mean

MANY = [f"alias-{number}" for number in range(5000)]


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("opnai", ["groq", "openai"], "; did you mean 'openai'?"),
        ("opnai", iter(["groq", "openai"]), "; did you mean 'openai'?"),
        ("something-else", ["groq", "openai"], ""),
        ("", ["groq"], ""),
        ("anything", [], ""),
        ("alais-17", [*MANY, "zzz"], "; did you mean 'alias-17'?"),
        ("x" * 1_000_000, MANY, ""),
    ],
)
def test_the_closest_name_is_suggested_when_there_is_one(name: str, known: list[str], expected: str) -> None:
    assert did_you_mean(name, known) == expected
