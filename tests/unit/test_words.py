"""Suggestions, durations and counts in words: each has one form, whoever says it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.cli.settings import duration_s, size
from gateway.importers.litellm.values import duration
from gateway.simulation.walk import walk
from gateway.words import as_duration, did_you_mean, seconds, shown, shown_size, with_repeats
from tests.compiling import route

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


def test_several_names_are_suggested_where_asked_for_the_best_first() -> None:
    known = ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4", "claude"]
    assert did_you_mean("gpt-4o-", known, most=3) == "; did you mean 'gpt-4o' or 'gpt-4' or 'gpt-4o-mini'?"
    assert did_you_mean("x" * 100_000, known, most=3) == ""


@pytest.mark.parametrize("text", ["32MiB", "2GiB", "10MB", "3GB", "512KiB"])
def test_a_size_is_shown_as_it_was_written(text: str) -> None:
    assert shown_size(size(text)) == text


@pytest.mark.parametrize(("size_bytes", "text"), [(0, "0 bytes"), (1, "1 byte"), (1001, "1001 bytes")])
def test_a_size_of_no_unit_is_shown_in_bytes(size_bytes: int, text: str) -> None:
    assert shown_size(size_bytes) == text


def test_equal_texts_in_a_row_are_counted() -> None:
    assert with_repeats(["a", "a", "b", "a"]) == ["a ×2", "b", "a"]
    assert with_repeats([]) == []


DURATIONS = [
    (0.0, "0s", "0s"),
    (0.25, "250ms", "250ms"),
    (1.5, "1.5s", "1.5s"),
    (60, "1m", "1m"),
    (90, "1m30s", "90s"),
    (90.5, "1m30.5s", "90.5s"),
    (3600, "1h", "60m"),
    (5400, "1h30m", "90m"),
]
"""Seconds, as people read them, and as a file writes them."""


@pytest.mark.parametrize(("value_s", "words", "written"), DURATIONS)
def test_a_duration_is_read_as_it_is_written(value_s: float, words: str, written: str) -> None:
    assert (shown(value_s), as_duration(value_s)) == (words, written)
    assert seconds(written) == value_s
    assert duration(value_s) == (written if value_s else None)


def _slow(text: str) -> float:
    """Return the seconds that a mock model of this name takes."""

    def suppose(*_: object) -> None:
        return None

    return walk(route(f"models: {{fast: [{{target: mock/slow-{text}, timeout: 5m}}]}}"), suppose).ended_s


@pytest.mark.parametrize("read", [seconds, duration_s, _slow])
@pytest.mark.parametrize(("text", "value_s"), [("250ms", 0.25), ("1.5s", 1.5), ("2m", 120.0)])
def test_the_file_flags_and_mocks_read_durations_alike(read: Callable[[str], float], text: str, value_s: float) -> None:
    assert read(text) == value_s


@pytest.mark.parametrize("text", ["", "s", "1d", "-1s", "1m30s", "1e5", "inf", "nan", "9" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    for read in (seconds, duration_s):
        with pytest.raises(ValueError, match="duration, such as 30s"):
            read(text)
