"""The rule that judges what a client makes of a break, and the reader of forms: what the other tests rely on."""

from __future__ import annotations

import pytest

from tests.wires import breaks
from tests.wires.lab import SECOND_TEXT
from tests.wires.play import TEXT, Part, read_form


@pytest.mark.parametrize(
    ("said", "error", "place", "wrong"),
    [
        (SECOND_TEXT, None, 4, None),
        (TEXT, None, 4, "no fallback: 'one two three'"),
        ("", "broke off", 4, "no fallback: 'broke off'"),
        ("", "broke off", 5, None),
        (TEXT, None, 5, None),
        ("one ", None, 5, "the client believes 'one '"),
        ("one ", "broke off", 5, None),
        (f"one {SECOND_TEXT}", None, 5, "the client believes 'one seven eight nine'"),
    ],
)
def test_a_client_has_a_whole_answer_or_an_error(said: str, error: str | None, place: int, wrong: str | None) -> None:
    assert breaks.fault(said, error, place=place, first_content=4) == wrong


def test_there_is_a_place_before_and_behind_every_part() -> None:
    assert [list(breaks.places(how, 2)) for how in ("cut_after", "cut_inside")] == [[0, 1, 2], [0, 1]]


def test_a_form_is_read_in_order_with_its_bytes() -> None:
    value = b"\x00\r\n--b\r\n\r\n"
    raw = (
        b'--bb\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + value
        + b'\r\n--bb\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--bb--\r\n'
    )
    assert read_form(raw, 'multipart/form-data; boundary="bb"') == [
        Part("file", value, "a.png", "image/png"),
        Part("model", b"m", None, None),
    ]
    assert read_form(raw, "application/json") == []
