"""Problems as a person reads them, with the line at fault and a caret, and as JSON."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from gateway.policy.problem import Problem
from gateway.policy.secrets import STARS
from gateway.wire.json import JsonObject
from gateway.words import count, printable

EXCERPT_COLUMNS: Final = 120
"""A longer line is cut down to what stands around its caret."""
CARET_CONTEXT: Final = 40
"""Characters that stay before the caret of a line that is cut."""

_RED, _YELLOW, _GREEN, _BOLD, _RESET = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[0m"


class Painter:
    """Puts colours around text, or leaves it alone."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> Painter:
        """Return one that paints on terminals only, and not where NO_COLOR is set (https://no-color.org)."""
        return cls(colour=stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")

    def error(self, text: str) -> str:
        """Paint a fault."""
        return self._paint(_RED, text)

    def warning(self, text: str) -> str:
        """Paint a warning."""
        return self._paint(_YELLOW, text)

    def good(self, text: str) -> str:
        """Paint a success."""
        return self._paint(_GREEN, text)

    def place(self, text: str) -> str:
        """Paint a place in a file."""
        return self._paint(_BOLD, text)

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour else text


PLAIN: Final = Painter(colour=False)


def as_text(problem: Problem, painter: Painter = PLAIN) -> str:
    """Return `file:line:column: code: path: message`, and below it the line of the file with a caret.

    A warning has the word `warning` before its code. Control characters are escaped: the file may be a stranger's.
    """
    where = f"{problem.source}:{problem.line}:{problem.column}:" if problem.line else f"{problem.source}:"
    paint = painter.error if problem.severity == "error" else painter.warning
    code = f"{problem.code}:" if problem.severity == "error" else f"warning: {problem.code}:"
    path = f"{printable(problem.path)}: " if problem.path else ""
    head = f"{painter.place(printable(where))} {paint(code)} {path}{printable(problem.message)}"
    number, excerpt = str(problem.line), (problem.excerpt or "").rstrip("\r\n")
    if not problem.line or not excerpt.strip():
        return head
    at = problem.caret or problem.column
    if problem.caret is None and (STARS in excerpt[: at + 1] or "…" in excerpt):
        return f"{head}\n  {number} | {printable(excerpt)}"
    line, caret = _excerpt(excerpt, at)
    return f"{head}\n  {number} | {line}\n  {' ' * len(number)} | {paint(caret)}"


def tally(problems: Iterable[Problem]) -> str:
    """Return what kinds of problems there are: `2 problems, 1 warning`. Empty when there are none."""
    severities = [problem.severity for problem in problems]
    errors, warnings = severities.count("error"), severities.count("warning")
    parts = [count(errors, "problem")] if errors else []
    if warnings:
        parts.append(count(warnings, "warning"))
    return ", ".join(parts)


def problem_lines(problems: Sequence[Problem], painter: Painter) -> Iterator[str]:
    """Yield the text of each problem, then how many problems each file has."""
    yield from (as_text(problem, painter) for problem in problems)
    for name in dict.fromkeys(problem.source for problem in problems):
        yield f"{painter.error(tally(one for one in problems if one.source == name))} in {printable(name)}"


def complain(message: str) -> None:
    """Print one line about a wrong command line or environment to standard error."""
    print(f"gateway: {printable(message)}", file=sys.stderr)


def report(problems: Sequence[Problem]) -> None:
    """Print the problems of a config file that was to be used, and how many there are, to standard error."""
    painter = Painter.of(sys.stderr, os.environ)
    for problem in problems:
        print(as_text(problem, painter), file=sys.stderr)
    if problems:
        print(f"{tally(problems)} in {printable(problems[0].source)}", file=sys.stderr, flush=True)


def silence(stream: TextIO) -> None:
    """Send what is still in a closed pipe's buffer nowhere, so that the interpreter's last flush says nothing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _excerpt(line: str, column: int) -> tuple[str, str]:
    """Return the line, cut down if it is long, and a caret that stands under `column`."""
    at = min(max(column - 1, 0), len(line))
    start = max(0, min(at - CARET_CONTEXT, len(line) - EXCERPT_COLUMNS))
    before, after = line[start:at], line[at : start + EXCERPT_COLUMNS]
    if start:
        before = f"…{before}"
    if start + EXCERPT_COLUMNS < len(line):
        after = f"{after}…"
    before, after = printable(before.expandtabs(4)), printable(after.expandtabs(4))
    return before + after, " " * _width(before) + "^"


def _width(text: str) -> int:
    """Return how many columns of a terminal `text` takes: East Asian wide ones take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of one file."""

    file: str
    """As it was given."""
    readable: bool = True
    ok: bool = False
    problems: tuple[Problem, ...] = ()
    digest: str | None = None
    aliases: int = 0
    targets: int = 0
    hooks_skipped: int = 0

    def as_json(self) -> JsonObject:
        """Return what `--format json` shows of the file."""
        return {
            "file": self.file,
            "ok": self.ok,
            "readable": self.readable,
            "digest": self.digest,
            "aliases": self.aliases,
            "targets": self.targets,
            "hooks_skipped": self.hooks_skipped,
            "problems": [problem.as_json() for problem in self.problems],
        }


def in_repository(name: str) -> str:
    """Return a file's path from the top of the repository as a CI service counts it, with slashes.

    GitHub says where it is with GITHUB_WORKSPACE; without it the current folder is the top. A file elsewhere keeps its
    absolute path.
    """
    path, top = Path(os.path.abspath(name)), os.path.abspath(os.environ.get("GITHUB_WORKSPACE") or ".")
    return (path.relative_to(top) if path.is_relative_to(top) else path).as_posix()


STDIN: Final = "-"
"""The name that stands for standard input."""
