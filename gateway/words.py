"""Words for people: counts, durations, suggestions, and text that is safe to print."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final


def shown(duration_s: float) -> str:
    """Return `0s`, `250ms`, `1.5s`, `2m`, `1m30s`, `1h`: to the millisecond."""
    milliseconds = round(duration_s * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    whole, rest = divmod(milliseconds, 1000)
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m")]
    text = "".join(f"{number}{unit}" for number, unit in parts if number)
    return f"{text}{left + rest / 1000:g}s" if left or rest else text


def count(number: int, noun: str) -> str:
    """Return `1 problem`, `2 problems`; an `alias` becomes `aliases`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def printable(text: str) -> str:
    """Escape what a terminal or a log viewer would obey: control characters and those that turn the direction."""
    return "".join(
        char if char.isprintable() or char == " " else char.encode("unicode_escape").decode() for char in text
    )


_MANY: Final = 1000


_FAR: Final = 4
"""Among very many names only those that begin alike and are about as long are compared: it is slow work."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean '…'?` when one of `known` looks like `name`, else nothing."""
    names = list(known)
    if len(names) > _MANY:
        names = [other for other in names if other[:1] == name[:1] and abs(len(other) - len(name)) < _FAR]
    close = get_close_matches(name[:128], names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str | float) -> float:
    """Return a duration that the schema took in seconds."""
    if isinstance(duration, str):
        number, unit = duration[:-1], duration[-1:]
        if duration.endswith("ms"):
            number, unit = duration[:-2], "ms"
        return float(number) * _UNIT_S[unit]
    return float(duration)
