"""Changes of a policy for a terminal, and as Markdown for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.config.compare.changes import Changes
from gateway.reports.diff_words import by_verdict, outcome_texts, rows
from gateway.reports.problems import PLAIN, Painter
from gateway.simulation.cases.compare import CaseChanges
from gateway.words import count, cut, printable

MAX_COLUMNS: Final = 110
"""Changes are listed below their audience when one line would be longer."""
MAX_CASES: Final = 3
"""Number of test cases that are named in one line."""
MAX_NAME: Final = 60
"""Characters of a case's name in that line."""
MAX_ROWS: Final = 60
"""Rows of one Markdown table: code hosts limit the size of a comment."""

_PLAIN_CODE: Final = re.compile(r"[^`|\\\s](?:[^`|\\\r\n\t]*[^`|\\\s])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A finished comparison of two policies."""

    old: str
    """Name of the old side."""
    new: str
    changes: Changes
    cases: CaseChanges | None
    notes: tuple[str, ...] = ()
    """Limits of this comparison."""

    def __bool__(self) -> bool:
        return bool(self.changes) or bool(self.cases and self.cases.changed)


def text_lines(difference: Difference, painter: Painter, *, verbose: bool) -> Iterator[str]:
    """Yield the report for a terminal: a line for each audience, and one for each verdict on test cases."""
    title, cases = f"{printable(difference.old)} → {printable(difference.new)}", difference.cases
    if difference:
        yield painter.place(title)
    else:
        yield f"{painter.place(title)}: no change in behaviour{f', and {_unchanged(cases)}' if cases else ''}"
    yield from change_lines(difference.changes, painter, verbose=verbose)
    for words, group in by_verdict(cases.changed) if cases else ():
        mark = painter.good("+") if "newly" in words else painter.warning("~")
        mark = painter.error("!") if "newly fail" in words else mark
        head = f"{mark} {len(group)} of {count(cases.played, 'test case') if cases else ''} {words}:"
        if verbose:
            yield head
            for case in group:
                before, after = outcome_texts(case, printable)
                yield f"    {printable(case.name)}" + (f": {before} → {after}" if before else "")
        else:
            names = [printable(cut(case.name, MAX_NAME)) for case in group[:MAX_CASES]]
            more = f"; and {len(group) - MAX_CASES} more" if len(group) > MAX_CASES else ""
            yield f"{head} {'; '.join(names)}{more}"
    for note in difference.notes:
        yield f"note: {printable(note)}"


def change_lines(changes: Changes, painter: Painter = PLAIN, *, verbose: bool = False) -> Iterator[str]:
    """Yield a line for each audience with what changes for it, or several where that would be too long."""
    for row in rows(changes, printable, every_name=verbose):
        mark = {"+": painter.good, "-": painter.error, "~": painter.warning}[row.mark](row.mark)
        line = f" {row.audience}: {'; '.join(row.changes)}"
        if len(row.changes) == 1 or len(line) <= MAX_COLUMNS:
            yield mark + line
        else:
            yield f"{mark} {row.audience}:"
            yield from (f"    {change}" for change in row.changes)


def _unchanged(cases: CaseChanges) -> str:
    return f"{count(cases.played, 'test case')} {'ends' if cases.played == 1 else 'end'} as before"


def markdown_lines(difference: Difference) -> Iterator[str]:
    """Yield the report as GitHub's and GitLab's Markdown. Names cannot end a table, make a link or mention a person."""
    yield f"### Routing policy: {code(difference.old)} → {code(difference.new)}"
    yield ""
    found = rows(difference.changes, code, every_name=False)
    if not difference:
        yield "No change in behaviour."
    elif found:
        yield "| | for whom | what changes |"
        yield "|---|---|---|"
        for row in found[:MAX_ROWS]:
            yield f"| {_MARKS[row.mark]} | {row.audience} | {'<br>'.join(row.changes)} |"
        if len(found) > MAX_ROWS:
            yield f"| | … and {len(found) - MAX_ROWS} more | |"
    if difference.cases is not None:
        yield ""
        yield from _cases(difference.cases)
    for note in difference.notes:
        yield ""
        yield f"<sub>{_escaped(note)}</sub>"


_MARKS: Final = {"+": "➕", "-": "➖", "~": "✏️"}


def _cases(cases: CaseChanges) -> Iterator[str]:
    if not cases.changed:
        yield f"{_unchanged(cases)}: {code(cases.file)}."
        return
    verdicts = ", ".join(f"{len(group)} {words}" for words, group in by_verdict(cases.changed))
    yield f"<details><summary>Of {count(cases.played, 'test case')}, {verdicts}</summary>"
    yield ""
    yield "| test case | | before | now |"
    yield "|---|---|---|---|"
    for case in cases.changed[:MAX_ROWS]:
        before, after = outcome_texts(case, code)
        yield f"| {code(case.name)} | {case.verdict} | {before} | {after} |"
    if len(cases.changed) > MAX_ROWS:
        yield f"| … and {len(cases.changed) - MAX_ROWS} more | | | |"
    yield ""
    yield "</details>"


def code(text: str) -> str:
    """Return any text as inline code that is safe in a table's cell."""
    text = printable(text)
    return f"`{text}`" if _PLAIN_CODE.fullmatch(text) else f"<code>{_escaped(text)}</code>"


def _escaped(text: str) -> str:
    """Return a text with each character that is special in Markdown or HTML as a numeric entity."""
    return "".join(char if char.isalnum() or char in " /.,:;-'→…" else f"&#{ord(char)};" for char in text)
