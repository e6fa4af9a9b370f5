"""Where streams are broken, and what a client may make of it: one rule for all clients."""

from __future__ import annotations

from typing import Final

from tests.wires.lab import SECOND_TEXT
from tests.wires.play import TEXT

BREAKS: Final = ("cut_after", "cut_inside", "end_after", "error_after")
"""Fields of `Play`: the connection ends between two events, or within one; a clean end; the wire's own error."""
FIRST_CONTENT: Final = {"responses": 4, "messages": 3, "chat": 1, "completions": 0, "gemini": 0}
"""By wire: index of the first part of a stream of words that has content."""


def places(how: str, part_count: int) -> range:
    """Return the places at which a stream of so many parts can be broken so."""
    return range(part_count + (how != "cut_inside"))


def fault(
    said: str, error: str | None, *, place: int, first_content: int, whole: str = TEXT, second: str = SECOND_TEXT
) -> str | None:
    """Return what is wrong with what a client made of a break; None if nothing is.

    Before the first content the second target answers, and the client notices nothing. From there on there is an error,
    or the whole of the first target's answer: then all of it had come, or the client has asked again itself.
    """
    if place <= first_content:
        return None if error is None and said == second else f"no fallback: {error or said!r}"
    return None if error is not None or said == whole else f"the client believes {said!r}"
