"""Text for people: counts, sizes, durations, suggestions, printable text."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Set
from decimal import Decimal
from difflib import get_close_matches
from itertools import groupby, pairwise
from typing import Final


def shown(duration_s: float) -> str:
    """Return `0s`, `250ms`, `1.5s`, `2m`, `1m30s`, `1h`: to the millisecond."""
    milliseconds = round(duration_s * 1000)
    if milliseconds < 60_000:
        return _in_seconds(milliseconds)
    whole, rest = divmod(milliseconds, 1000)
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m")) if number)
    return f"{text}{left + rest / 1000:g}s" if left or rest else text


def as_duration(duration_s: float) -> str:
    """Return a duration as a config file writes it, with one unit: `250ms`, `90s`, `2m`. To the millisecond."""
    milliseconds = round(duration_s * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m" if minutes and not rest else _in_seconds(milliseconds)


def as_share(share: float) -> str:
    """Return a share from 0 to 1 as a config file writes it: `50%`, `0.5%`."""
    return f"{round(share * 100, 7):g}%"


def as_number(number: float) -> str:
    """Return a number as a config file writes it: `50`, `1000000000`, `0.000001`. Without an exponent."""
    text = format(Decimal(str(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _in_seconds(milliseconds: int) -> str:
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"


def shown_size(size_bytes: int) -> str:
    """Return `32MiB`, `10MB`, `1000 bytes`: in the largest unit that says it exactly."""
    for unit, name in _SIZES:
        if size_bytes and size_bytes % unit == 0:
            return f"{size_bytes // unit}{name}"
    return count(size_bytes, "byte")


def rough_size(size_bytes: float) -> str:
    """Return `1.5MiB`, `34KiB`, `120 bytes`: with two or three digits, in the largest unit that it has one of."""
    for unit, name in _SIZES:
        if size_bytes >= unit and name.endswith("iB"):
            return f"{size_bytes / unit:.3g}{name}"
    return count(round(size_bytes), "byte")


_SIZES: Final = ((1 << 30, "GiB"), (10**9, "GB"), (1 << 20, "MiB"), (10**6, "MB"), (1 << 10, "KiB"))


def count(number: int, noun: str) -> str:
    """Return `1 problem`, `2 problems`; an `alias` becomes `aliases`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def with_repeats(texts: Iterable[str]) -> list[str]:
    """Return the texts with each run of equal ones as one: `a ×2`."""
    runs = ((text, len(list(run))) for text, run in groupby(texts))
    return [text if times == 1 else f"{text} ×{times}" for text, times in runs]


def cut(text: str, longest: int) -> str:
    """Return a text cut to at most `longest` characters, with an ellipsis at the end."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def printable(text: str) -> str:
    """Escape characters that control a terminal or a log viewer, such as escape codes and changes of direction."""
    return "".join(
        char if char.isprintable() or char == " " else char.encode("unicode_escape").decode() for char in text
    )


_MANY: Final = 128
"""Of more names only those one slip away from the wanted one are looked up, as comparing each takes too long."""
_COMPARED: Final = 10
"""So many names, those with the most pairs of letters in common, are compared in full."""
_LONGEST: Final = 64
_LONGEST_SLIP: Final = 32
"""Up to this length added and replaced characters are tried too."""
_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789-_./:"


def did_you_mean(name: str, known: Iterable[str], *, most: int = 1, alike: float = 0.6) -> str:
    """Return `; did you mean '…'?` with up to `most` of `known` that look like `name`; an empty text if none does.

    `alike` is the least share of equal text. It takes about a millisecond, also for a hostile name among very many.
    """
    names = known if isinstance(known, Mapping | Set) else tuple(known)
    wanted = name[:_LONGEST]
    if len(names) > _MANY:
        return meant(*_one_slip_away(name, names if isinstance(names, Mapping | Set) else frozenset(names), most))
    pairs = _pairs(wanted)
    likely = heapq.nlargest(
        _COMPARED, names, key=lambda other: 2 * len(pairs & _pairs(other[:_LONGEST])) - abs(len(other) - len(wanted))
    )
    near: dict[str, str] = {}
    for other in likely:
        near.setdefault(other[:_LONGEST], other)
    return meant(*(near[text] for text in get_close_matches(wanted, near, n=most, cutoff=alike)))


def _pairs(text: str) -> set[tuple[str, str]]:
    return set(pairwise(text))


def _one_slip_away(name: str, names: Container[str], most: int) -> list[str]:
    """Return the `names` that one slip makes `name`: case, a provider, an ending, or one or two swapped characters."""
    if len(name) > _LONGEST:
        return []
    found: dict[str, None] = {}
    for other in _slips(name):
        if other in names and other != name:
            found[other] = None
            if len(found) == most:
                break
    return list(found)


def _slips(name: str) -> Iterator[str]:
    """Yield what may have been meant, the likeliest first."""
    yield name.lower()
    yield name.strip()
    for swapped in ("-_", "_-", "./", ".-", "-."):
        yield name.replace(*swapped)
    places = range(len(name))
    for at in places:
        yield name[:at] + name[at + 1 :]
    for at in places[1:]:
        yield name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :]
    yield name.partition("/")[2]
    shorter = name
    while cut_at := max(shorter.rfind(mark) for mark in "-:@/") + 1:
        shorter = shorter[: cut_at - 1]
        yield shorter
    if len(name) <= _LONGEST_SLIP:
        for at in (*places, len(name)):
            before, rest, after = name[:at], name[at:], name[at + 1 :]
            for character in _CHARACTERS:
                yield before + character + rest
                yield before + character + after


def meant(*names: str) -> str:
    """Return `; did you mean 'a' or 'b'?` for these names; an empty text for none."""
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""


SUGGESTION: Final = re.compile(r"; did you mean ['\"].{0,400}['\"]\?")
"""The text that `meant` makes."""

_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|)")


def share_of(text: str | float) -> float:
    """Return a share, such as `5%` or a number from 0 to 1, as a number. Raises ValueError."""
    return float(text) if not isinstance(text, str) else round(float(text.removesuffix("%")) / 100, 9)


def seconds(duration: str | float) -> float:
    """Return a duration, such as `250ms`, `10s`, `2m`, `1h` or a number of seconds, in seconds. Raises ValueError."""
    if not isinstance(duration, str):
        return float(duration)
    match = _DURATION.fullmatch(duration)
    found_s = float(match[1]) * _UNIT_S[match[2]] if match else math.inf
    if not math.isfinite(found_s):
        raise ValueError(f"{duration!r} is no duration, such as 30s")
    return found_s
