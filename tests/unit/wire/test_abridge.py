"""A long answer that is shortened as it arrives is JSON where the whole is, with the same values but for long ones."""

from __future__ import annotations

import json
import random
from typing import Any, Final

import orjson
import pytest

from gateway.wire.abridge import LONG_BYTES, Abridged

LONG: Final = 4 * LONG_BYTES
PARTS: Final = (977, LONG_BYTES + 1, 3 * LONG_BYTES, 10**9)


def abridged(data: bytes, size: int) -> tuple[Any, int]:
    """Return the value, and the number of bytes it was decoded from."""
    taken = Abridged()
    for start in range(0, len(data), size):
        taken.feed(data[start : start + size])
    return taken.value(), sum(map(len, taken._kept))


def alike(short: Any, whole: Any) -> bool:
    """Tell whether two values are equal but for the middle of long texts and lists."""
    match whole:
        case dict():
            return short.keys() == whole.keys() and all(alike(short[name], whole[name]) for name in whole)
        case list() if len(whole) > 500:
            return isinstance(short, list) and 0 < len(short) <= len(whole) and short[0] == whole[0]
        case list():
            return len(short) == len(whole) and all(map(alike, short, whole))
        case str() if len(whole) > 1000:
            return isinstance(short, str) and bool(short) and (short[0], short[-1]) == (whole[0], whole[-1])
        case _:
            return bool(short == whole)


VALUES: Final[dict[str, Any]] = {
    "base64": "iVBORw0KGgo+/" * (LONG // 13),
    "prose": "It was a dark and stormy night;\nthe rain fell in torrents. " * (LONG // 60),
    "letters": "Ein Läufer, 走る人, un corredor 🏃. " * (LONG // 40),
    "quotes": 'He said "no" and \\ left. ' * (LONG // 24),
    "numbers in a text": "1, 2, 3, " * (LONG // 9),
    "floats": [0.0123456 * (-1) ** place for place in range(3000)],
    "tokens": list(range(100_000, 103_000)),
    "matrix": [[0.25, 0.5], [1e-7, -3]] * 1500,
    "empty lists": [[], {}] * 6000,
    "words": [True, False, None] * 3000,
    "short": ["a", 1, {"b": [2.5, None]}],
}


@pytest.mark.parametrize("size", PARTS)
@pytest.mark.parametrize(
    "dump", [orjson.dumps, lambda value: json.dumps(value, indent=1).encode()], ids=["tight", "wide"]
)
@pytest.mark.parametrize("name", VALUES)
def test_short_values_stay_and_long_ones_keep_their_type(name: str, dump: Any, size: int) -> None:
    value = {"id": "x1", "data": [{"at": 0, "it": VALUES[name]}, {"at": 1, "it": VALUES[name]}], "usage": {"total": 7}}
    short, _ = abridged(dump(value), size)
    assert short is None or alike(short, value)
    assert short is not None or name in ("matrix", "empty lists", "words", "letters", "prose")


@pytest.mark.parametrize("name", ["base64", "prose", "letters", "floats", "tokens", "numbers in a text"])
def test_little_is_kept_of_what_is_long(name: str) -> None:
    data = orjson.dumps([{"it": VALUES[name]}] * 20)
    short, kept = abridged(data, 250_000)
    assert short is not None
    assert kept < len(data) / 20


@pytest.mark.parametrize("size", PARTS)
def test_what_is_not_json_is_not_when_shortened_either(size: int) -> None:
    """But for a list of numbers, whose items are not looked at, and control characters that no server writes."""
    choose = random.Random(7)
    for number in range(300):
        name = choose.choice(["base64", "prose", "letters", "quotes", "short"])
        data = bytearray(orjson.dumps({"a": [VALUES[name], 1], "b": {"c": VALUES[name]}}))
        place = choose.randrange(len(data))
        data[place : place + choose.choice((0, 1))] = choose.choice(
            (b'"', b"\\", b"\n", b"\xff", b"\xc3", b"\t", b"}", b"\\u12", b"")
        )
        short, _ = abridged(bytes(data), size)
        try:
            whole = orjson.loads(bytes(data))
        except ValueError:
            assert short is None, (number, name, place)
        else:
            assert short is None or short.keys() == whole.keys()


def test_half_of_a_text_or_of_a_list_is_nothing() -> None:
    for name in ("base64", "prose", "floats"):
        data = orjson.dumps({"a": VALUES[name]})
        assert abridged(data[: len(data) // 2], 250_000)[0] is None


@pytest.mark.parametrize("size", PARTS)
@pytest.mark.parametrize("odd", ["nan", "-nan", "inf", "NAN", "1.#QNAN", ""])
def test_what_is_no_number_is_noticed_among_many(odd: str, size: int) -> None:
    """Servers written in C++ print what is no number as `nan` and `inf`."""
    numbers = ["0.125"] * LONG
    data = f'{{"data": [{",".join([*numbers, odd, *numbers])}]}}'.encode()
    assert abridged(data, size)[0] is None
