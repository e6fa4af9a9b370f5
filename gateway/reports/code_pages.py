"""`gateway validate --explain`: the pages of the problem codes, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill, indent
from typing import Final

from gateway.config.problems import CONFIG, Page, codes, page
from gateway.errors import UsageError
from gateway.reports.problems import Painter
from gateway.words import did_you_mean

ALL: Final = "all"
"""Stands for all codes in place of one."""


def explain(code: str, painter: Painter) -> str:
    """Return the page of a code; for ALL, each code with its summary. Raises UsageError for an unknown code."""
    if code == ALL:
        width = max(map(len, codes()))
        pages = [found for each in codes() if (found := page(each)) is not None]
        return "\n".join(f"{painter.place(it.code)}{' ' * (width - len(it.code))}  {it.summary}" for it in pages)
    found = page(code)
    if found is None:
        hint = did_you_mean(code.lower(), codes())
        raise UsageError(f"there is no problem code {code!r}{hint}; the codes are {', '.join(codes())}")
    return "\n".join(_lines(found, painter))


def how_to_explain(code: str) -> str:
    """Return the command that shows the page of a code."""
    return f"gateway validate --explain {code}"


def _lines(found: Page, painter: Painter) -> Iterator[str]:
    yield f"{painter.place(found.code)}: {found.summary}"
    for paragraph in found.meaning.split("\n\n"):
        yield ""
        yield fill(paragraph, width=88, break_on_hyphens=False, break_long_words=False)
    for title, examples in ((painter.error("bad"), found.bad), (painter.good("good"), found.good)):
        for number, example in enumerate(examples):
            name = f" {example.name}" if example.name and example.name != CONFIG else ""
            yield ""
            yield f"{title if number == 0 else 'with'}{name}:"
            yield indent(example.text.rstrip("\n"), "  ")
