from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.responses.answer import input_of
from gateway.adapters.responses.asked import Called
from gateway.adapters.responses.free_text import FreeText

CUSTOM = Called("custom", "apply_patch")


def read(pieces: list[str]) -> tuple[str, str]:
    """Return all that was told, and the whole text at the end."""
    text = FreeText()
    told = "".join(text.feed(piece) for piece in pieces)
    arguments = "".join(pieces)
    whole, rest = text.end(arguments, input_of(CUSTOM, arguments))
    return told + rest, whole


def cut(text: str, places: list[int]) -> list[str]:
    marks = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(marks)]


@given(st.text(), st.lists(st.integers(0, 10_000)), st.booleans(), st.sampled_from([None, 1]))
def test_a_text_in_pieces_is_the_text(text: str, places: list[int], ascii_only: bool, indent: int | None) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=indent)
    assert read(cut(arguments, places)) == (text, text)


@given(st.text(), st.lists(st.integers(0, 10_000)), st.integers(0, 10_000))
def test_a_cut_text_is_its_beginning(text: str, places: list[int], end: int) -> None:
    arguments = json.dumps({"input": text})
    told, whole = read(cut(arguments[: end % len(arguments)], places))
    assert told == whole
    assert text.startswith(whole) or arguments.startswith(whole)


@given(st.text(), st.lists(st.integers(0, 10_000)))
def test_anything_else_is_told_once(text: str, places: list[int]) -> None:
    told, whole = read(cut(text, places))
    assert told == whole == input_of(CUSTOM, text)


def test_the_text_comes_as_soon_as_it_can_be_read() -> None:
    text = FreeText()
    pieces = ['{"input"', ': "a', "b\\", "n\\ud83d", '\\ude00"', "}"]
    assert [text.feed(piece) for piece in pieces] == ["", "a", "b", "\n", "😀", ""]


def test_line_breaks_may_stand_as_they_are() -> None:
    assert read(['{"input": "a', "\n", 'b"}']) == ("a\nb", "a\nb")


def test_what_cannot_be_decoded_is_not_tried_again_and_again() -> None:
    text = FreeText()
    assert [text.feed('{"input": "a\\q'), text.feed("x" * 12), text.feed('"}')] == ["a", "", ""]


def test_a_long_beginning_that_is_not_ours_is_not_read_again_and_again() -> None:
    text = FreeText()
    assert [text.feed("x" * 100), text.feed('{"input": "a"}')] == ["", ""]
