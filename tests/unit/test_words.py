"""Suggestions, durations and counts in words: each has one form, whoever says it."""

from __future__ import annotations

import time
from collections.abc import Callable
from difflib import get_close_matches

import pytest

from gateway.cli.settings import duration_s, size
from gateway.importers.litellm.values import duration
from gateway.simulation.walk import walk
from gateway.words import as_duration, as_number, did_you_mean, seconds, shown, shown_size, with_repeats
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


HOSTILE = ("team-3/gpt-4o-mini-abc", "x" * 256, "e" * 64, "gpt-4o-" * 9, "team-3/gpt-4o-mino-3", "-" * 32)


@pytest.mark.parametrize("count_of_names", [100, 128, 10_000, 100_000])
def test_a_suggestion_takes_about_a_millisecond_in_a_table_of_any_size(count_of_names: int) -> None:
    known = dict.fromkeys(f"team-{number % 97}/gpt-4o-mini-{number}" for number in range(count_of_names))
    for name in HOSTILE:
        took_s = []
        for _ in range(5):
            before_s = time.thread_time()
            did_you_mean(name, known, most=3)
            took_s.append(time.thread_time() - before_s)
        assert min(took_s) < 0.005, name  # 1 ms on an idle machine; 0.3 s by comparing all of 10,000


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Alias-17", "alias-17"), ("alias_17", "alias-17"), ("alias17", "alias-17"), ("aliass-17", "alias-17"),
        ("alais-17", "alias-17"), ("alaas-17", "alias-17"), ("openai/alias-17", "alias-17"),
        ("alias-17-2026-01-01", "alias-17"), ("alias-17:free", "alias-17"), (" alias-17", "alias-17"),
    ],
)  # fmt: skip
def test_one_slip_is_recognized_among_very_many(name: str, meant: str) -> None:
    assert did_you_mean(name, MANY) == f"; did you mean '{meant}'?"


def test_a_small_table_still_gets_what_a_full_comparison_suggests() -> None:
    known = [
        f"{vendor}/{model}" for vendor in ("openai", "azure", "groq") for model in ("gpt-4o", "llama-3", "o3-mini")
    ]
    for name in ("opnai/gpt4o", "azure/lama3", "groq/o3mini", "gpt-4o", "azur/gpt-5", "zzz"):
        best = get_close_matches(name, known, n=1)
        assert did_you_mean(name, known) == (f"; did you mean {best[0]!r}?" if best else "")


@pytest.mark.parametrize(
    ("number", "text"), [(50, "50"), (50.0, "50"), (1e9, "1000000000"), (1e-6, "0.000001"), (-0.5, "-0.5"), (0.0, "0")]
)
def test_a_number_is_written_without_an_exponent(number: float, text: str) -> None:
    assert as_number(number) == text
