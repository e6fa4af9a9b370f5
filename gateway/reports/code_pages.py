"""`gateway validate --explain`: the pages of the problem codes, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill, indent
from typing import Final

from gateway.config.problems import CONFIG, Example, Page, codes, page
from gateway.errors import UsageError
from gateway.reports.problems import Painter
from gateway.words import did_you_mean

ALL: Final = "all"
"""What asks for the list of all codes."""

_COLUMNS: Final = 88


def explain(code: str, painter: Painter) -> str:
    """Return the page of a code, or the list of all of them. Raises UsageError when there is no such code."""
    if code == ALL:
        return "\n".join(_summaries(painter))
    found = page(code)
    if found is None:
        hint = did_you_mean(code.lower(), codes())
        raise UsageError(f"there is no problem code {code!r}{hint}; the codes are {', '.join(codes())}")
    return "\n".join(_lines(found, painter))


def how_to_explain(code: str) -> str:
    """Return the command that shows the page of a code."""
    return f"gateway validate --explain {code}"


def _summaries(painter: Painter) -> Iterator[str]:
    width = max(map(len, codes()))
    for code in codes():
        found = page(code)
        if found is not None:
            yield f"{painter.place(code)}{' ' * (width - len(code))}  {found.summary}"


def _lines(found: Page, painter: Painter) -> Iterator[str]:
    yield f"{painter.place(found.code)}: {found.summary}"
    for paragraph in found.meaning.split("\n\n"):
        yield ""
        yield fill(paragraph, width=_COLUMNS, break_on_hyphens=False, break_long_words=False)
    for title, examples in ((painter.error("bad"), found.bad), (painter.good("good"), found.good)):
        for number, example in enumerate(examples):
            yield ""
            yield f"{title if number == 0 else 'with'}{_named(example)}:"
            yield indent(example.text.rstrip("\n"), "  ")


def _named(example: Example) -> str:
    shown = "" if example.name == CONFIG else example.name
    return f" {shown}" if shown else ""
