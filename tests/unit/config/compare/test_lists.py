"""Edits between two lists of names, as few as possible."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.compare.lists import Edit, compare


def told(edit: Edit) -> str:
    return f"{edit.kind} {''.join(edit.old)}>{''.join(edit.new)}@{edit.place}"


@pytest.mark.parametrize(
    ("old", "new", "edits"),
    [
        ("", "", []),
        ("abc", "abc", []),
        ("", "a", ["added >a@1"]),
        ("a", "", ["removed a>@1"]),
        ("a", "b", ["replaced a>b@1"]),
        ("abc", "abcd", ["added >d@4"]),
        ("abc", "ac", ["removed b>@2"]),
        ("abc", "xabc", ["added >x@1"]),
        ("abc", "axc", ["replaced b>x@2"]),
        ("abcd", "axyd", ["replaced b>x@2", "replaced c>y@3"]),
        ("abcd", "axd", ["removed b>@2", "removed c>@3", "added >x@2"]),
        ("ab", "ba", ["swapped ab>ba@1"]),
        ("abcd", "adcb", ["swapped bd>db@2"]),
        ("abcd", "dabc", ["moved d>d@1"]),
        ("abcd", "bcda", ["moved a>a@4"]),
        ("abcd", "badc", ["reordered abcd>badc@1"]),
        ("abcd", "dcb", ["swapped bd>db@1", "removed a>@1"]),
        ("aa", "a", ["removed a>@2"]),
        ("aba", "aab", ["swapped ba>ab@2"]),
    ],
)
def test_edits(old: str, new: str, edits: list[str]) -> None:
    assert [told(edit) for edit in compare(old, new).edits] == edits


@given(st.text("abcd", max_size=8), st.text("abcd", max_size=8))
def test_every_name_is_paired_added_or_removed_and_equal_lists_alone_have_no_edit(old: str, new: str) -> None:
    found = compare(old, new)
    assert bool(found.edits) == (old != new)
    removed = sum(edit.kind == "removed" for edit in found.edits)
    added = sum(edit.kind == "added" for edit in found.edits)
    assert (len(old), len(new)) == (len(found.pairs) + removed, len(found.pairs) + added)
    assert distinct([pair[0] for pair in found.pairs])
    assert distinct([pair[1] for pair in found.pairs])
    replaced = sum(edit.kind == "replaced" for edit in found.edits)
    assert sum(old[before] != new[after] for before, after in found.pairs) == replaced


def distinct(numbers: Sequence[int]) -> bool:
    return len({*numbers}) == len(numbers)
