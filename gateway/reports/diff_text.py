"""Changes of a policy for a terminal, and as Markdown for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.config.compare.policies import Changes
from gateway.reports.diff_words import Row, differs, rows, verdicts
from gateway.reports.problems import Painter
from gateway.simulation.cases.compare import CaseChange, CaseChanges
from gateway.words import count, cut, printable

WIDE: Final = 110
"""Columns; what is said to an audience stands below it when the line would be longer."""
CASES: Final = 3
"""So many names of cases are listed."""
NAME: Final = 60
"""Characters of a case's name in such a list."""
MOST: Final = 60
"""Rows of one table of a comment, which must stay within what a code host takes."""

_PLAIN_CODE: Final = re.compile(r"[^`|\\\s](?:[^`|\\\r\n\t]*[^`|\\\s])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Everything there is to tell."""

    old: str
    """The name of the one side."""
    new: str
    changes: Changes
    cases: CaseChanges | None
    notes: tuple[str, ...] = ()
    """What the reader should know about how it was compared."""

    def __bool__(self) -> bool:
        return bool(self.changes) or bool(self.cases and self.cases.changed)


def text_lines(told: Difference, painter: Painter, *, verbose: bool) -> Iterator[str]:
    """Yield the report for a terminal: a line for each audience, a line for each sort of test case."""
    title = f"{printable(told.old)} → {printable(told.new)}"
    if not told:
        as_before = f", and {_as_before(told.cases)}" if told.cases else ""
        yield f"{painter.place(title)}: no change in behaviour{as_before}"
    else:
        yield painter.place(title)
    for row in rows(told.changes, printable, every_name=verbose):
        yield from _row(row, painter)
    for words, lot in verdicts(told.cases.changed if told.cases else ()):
        yield from _lot(words, lot, told.cases.played if told.cases else 0, painter, verbose=verbose)
    for note in told.notes:
        yield f"note: {printable(note)}"


def _as_before(cases: CaseChanges) -> str:
    return f"{count(cases.played, 'test case')} {'ends' if cases.played == 1 else 'end'} as before"


def _row(row: Row, painter: Painter) -> Iterator[str]:
    paint = {"+": painter.good, "-": painter.error, "~": painter.warning}[row.mark]
    whole = f" {row.whom}: {'; '.join(row.says)}"
    if len(row.says) == 1 or len(whole) <= WIDE:
        yield paint(row.mark) + whole
        return
    yield f"{paint(row.mark)} {row.whom}:"
    yield from (f"    {words}" for words in row.says)


def _lot(words: str, lot: Sequence[CaseChange], played: int, painter: Painter, *, verbose: bool) -> Iterator[str]:
    failing = "newly fail" in words
    mark = painter.error("!") if failing else painter.good("+") if "newly" in words else painter.warning("~")
    who = f"{len(lot)} of {count(played, 'test case')} {words}"
    if not verbose:
        names = [printable(cut(case.name, NAME)) for case in lot[:CASES]]
        more = f"; and {len(lot) - CASES} more" if len(lot) > CASES else ""
        yield f"{mark} {who}: {'; '.join(names)}{more}"
        return
    yield f"{mark} {who}:"
    for case in lot:
        before, after = differs(case, printable)
        yield f"    {printable(case.name)}" + (f": {before} → {after}" if before else "")


def markdown_lines(told: Difference) -> Iterator[str]:
    """Yield the report as GitHub's and GitLab's Markdown. Names cannot end a table, make a link or call a person."""
    yield f"### Routing policy: {code(told.old)} → {code(told.new)}"
    yield ""
    found = rows(told.changes, code, every_name=False)
    if not told:
        yield "No change in behaviour."
    elif found:
        yield "| | for whom | what changes |"
        yield "|---|---|---|"
        for row in found[:MOST]:
            yield f"| {_MARKS[row.mark]} | {row.whom} | {'<br>'.join(row.says)} |"
        if len(found) > MOST:
            yield f"| | … and {len(found) - MOST} more | |"
    if told.cases is not None:
        yield ""
        yield from _cases(told.cases)
    for note in told.notes:
        yield ""
        yield f"<sub>{_escaped(note)}</sub>"


_MARKS: Final = {"+": "➕", "-": "➖", "~": "✏️"}


def _cases(cases: CaseChanges) -> Iterator[str]:
    lots = list(verdicts(cases.changed))
    if not lots:
        yield f"{_as_before(cases)}: {code(cases.file)}."
        return
    told = ", ".join(f"{len(lot)} {words}" for words, lot in lots)
    yield f"<details><summary>Of {count(cases.played, 'test case')}, {told}</summary>"
    yield ""
    yield "| test case | | before | now |"
    yield "|---|---|---|---|"
    for case in cases.changed[:MOST]:
        before, after = differs(case, code)
        yield f"| {code(case.name)} | {case.verdict} | {before} | {after} |"
    if len(cases.changed) > MOST:
        yield f"| … and {len(cases.changed) - MOST} more | | | |"
    yield ""
    yield "</details>"


def code(text: str) -> str:
    """Return a text as code that a table's cell can hold, whatever is in it."""
    text = printable(text)
    return f"`{text}`" if _PLAIN_CODE.fullmatch(text) else f"<code>{_escaped(text)}</code>"


def _escaped(text: str) -> str:
    """Return a text with every character that means something to Markdown or HTML as a number."""
    return "".join(char if char.isalnum() or char in " /.,:;-'→…" else f"&#{ord(char)};" for char in text)
