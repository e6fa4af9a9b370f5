"""Pieces of HTML: escaped texts, points in time, shares, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape
from typing import Final

from gateway.wire.json import Json
from gateway.words import as_share, printable

NOTHING: Final = "–"
"""What a cell has that has no value."""


_is_plain: Final = re.compile(r"[A-Za-z0-9 ./:_+*-]*").fullmatch
"""Matches a text with nothing to escape, as nearly all are: to escape one takes ten times as long."""


def text(value: Json) -> str:
    """Return a value as text of HTML, also within a quoted attribute; control characters can be seen."""
    shown = str(value)
    if _is_plain(shown):
        return shown
    if not shown.isprintable():
        shown = "\n".join(map(printable, shown.split("\n")))
    return escape(shown)


def moment(at: str, show: str = "ago") -> str:
    """Return a point in time, RFC 3339, as the server's clock has it. `show`: what a script makes of it.

    `ago`, `clock`, `left` until then, or `free`: in how long.
    """
    before = {"left": "until ", "free": "at "}.get(show, "")
    return f'<time datetime="{text(at)}" data-show="{show}">{before}{text(at[11:19])} UTC</time>'


def share(part: float | None) -> str:
    """Return a share from 0 to 1 in percent."""
    return NOTHING if part is None else as_share(round(part, 3))


def milliseconds(time_ms: float | None) -> str:
    """Return `250 ms`; a dash where there is no time."""
    return NOTHING if time_ms is None else f"{time_ms:g} ms"


def joined(pieces: Iterable[str]) -> str:
    """Return pieces of HTML as one."""
    return "".join(pieces)


def table(heads: Sequence[str], rows: Sequence[str], *, empty: str) -> str:
    """Return a table; `empty` as a sentence without any row.

    A head may begin with letters and a colon: `n` for numbers, `w` for what gets the room that is left, `t` and `b`
    for names and words that get room enough, `s` for what narrow screens show without its head.
    """
    if not rows:
        return f'<p class="dim">{escape(empty)}</p>'
    cells = joined(f'<th scope="col" class="{_class(head)}">{escape(_name(head))}</th>' for head in heads)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{joined(rows)}</tbody></table>"


def row(heads: Sequence[str], cells: Iterable[str], *, attributes: str = "") -> str:
    """Return a row of pieces of HTML, each with its head, which narrow screens show beside it."""
    begins = _begins(tuple(heads))
    made = [f"{begin[cell == NOTHING]}{cell}</td>" for begin, cell in zip(begins, cells, strict=True)]
    return f"<tr{attributes}>{joined(made)}</tr>"


def bar(part: float, tone: str) -> str:
    """Return a share from 0 to 1 as a bar, beside a text that says the same."""
    return (
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="6"/><rect class="{tone}" width="{part * 100:.1f}" height="6"/></svg>'
    )


@lru_cache(maxsize=32)  # of the tables in our code
def _begins(heads: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return how each column's cells begin, and its empty ones."""
    begins = [f'<td data-head="{escape(_name(head))}" class="{_class(head)}' for head in heads]
    return [(f'{begin}">', f'{begin} none">') for begin in begins]


def _name(head: str) -> str:
    return head.rpartition(":")[2]


def _class(head: str) -> str:
    """Return the classes of a column's cells: one for each letter, and `text` for what may break anywhere."""
    letters = head.rpartition(":")[0]
    return " ".join([*letters, *([] if "n" in letters else ["text"])])
