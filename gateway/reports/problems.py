"""Problems as text, with the line at fault and a caret; and the result of checking a file."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TextIO

from gateway.policy.problem import Problem, number_of
from gateway.policy.secrets import STARS
from gateway.wire.json import JsonObject
from gateway.words import count, printable

EXCERPT_COLUMNS: Final = 120
"""Longest excerpt; of a longer line only the part around its caret is shown."""
CARET_CONTEXT: Final = 40
"""Characters before the caret in a shortened line."""

_RED, _YELLOW, _GREEN, _BOLD, _RESET = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[0m"


class Painter:
    """Adds terminal colours to text, if they are on."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> Painter:
        """Return a painter for a stream: colours on terminals only, and not with NO_COLOR (https://no-color.org).

        FORCE_COLOR, unless it is 0, asks for them elsewhere too (https://force-color.org); NO_COLOR goes before it.
        """
        forced = environ.get("FORCE_COLOR")
        if environ.get("NO_COLOR") or forced == "0":
            return cls(colour=False)
        return cls(colour=bool(forced) or (stream.isatty() and environ.get("TERM") != "dumb"))

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

    A warning has the word `warning` before its code. Control characters are escaped: the file may not be trusted.
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
    """Return the numbers of problems and warnings: `2 problems, 1 warning`. Empty without any."""
    found = list(problems)
    numbers = {"problem": number_of(found, "error"), "warning": number_of(found, "warning")}
    return ", ".join(count(number, noun) for noun, number in numbers.items() if number)


def problem_lines(problems: Sequence[Problem], painter: Painter) -> Iterator[str]:
    """Yield the text of each problem, then how many problems each file has."""
    yield from (as_text(problem, painter) for problem in problems)
    yield from tallies(problems, painter)


def complain(message: str) -> None:
    """Print a one-line error message to standard error."""
    print(f"gateway: {printable(message)}", file=sys.stderr)


def tallies(problems: Iterable[Problem], painter: Painter = PLAIN) -> Iterator[str]:
    """Yield how many problems each file has, in the order of their first."""
    found = list(problems)
    for name in dict.fromkeys(problem.source for problem in found):
        numbers = tally(problem for problem in found if problem.source == name)
        yield f"{painter.error(numbers)} in {printable(name)}"


def report(problems: Sequence[Problem]) -> None:
    """Print the problems of a config file, and how many there are in each file, to standard error."""
    painter = Painter.of(sys.stderr, os.environ)
    for problem in problems:
        print(as_text(problem, painter), file=sys.stderr)
    print(end="".join(f"{line}\n" for line in tallies(problems)), file=sys.stderr, flush=True)


def silence(stream: TextIO) -> None:
    """Redirect a closed pipe to the null device, so that the interpreter's last flush raises no error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _excerpt(line: str, column: int) -> tuple[str, str]:
    """Return the line, shortened if it is long, and a caret padded to stand under `column`."""
    at = min(max(column - 1, 0), len(line))
    start = max(0, min(at - CARET_CONTEXT, len(line) - EXCERPT_COLUMNS))
    end = start + EXCERPT_COLUMNS
    before = printable(f"{'…' if start else ''}{line[start:at]}".expandtabs(4))
    after = printable(f"{line[at:end]}{'…' if end < len(line) else ''}".expandtabs(4))
    # On a terminal East Asian wide characters take two columns, combining ones none.
    visible = [unicodedata.east_asian_width(char) for char in before if not unicodedata.combining(char)]
    return before + after, " " * sum(2 if width in "WF" else 1 for width in visible) + "^"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The result of checking one file. Its fields are those of `validate --format json`, in order."""

    file: str
    """As it was given."""
    ok: bool = False
    readable: bool = True
    digest: str | None = None
    aliases: int = 0
    targets: int = 0
    hooks_skipped: int = 0
    included: tuple[str, ...] = ()
    """The files that it includes, in order."""
    client_keys: int | None = None
    """Number of its keys where it is a file of client keys, else None."""
    problems: tuple[Problem, ...] = ()

    def place(self, problem: Problem) -> str:
        """Return the name of a problem's file: an included one's, or this one's as it was given."""
        return problem.source if problem.source in self.included else self.file

    def as_json(self) -> JsonObject:
        """Return the file's object in `validate --format json`."""
        problems = [problem.as_json() for problem in self.problems]
        return asdict(self) | {"problems": problems, "not_listed": sum(problem.not_listed for problem in self.problems)}


def in_repository(name: str) -> str:
    """Return a file's path relative to the top of the repository, with slashes; an absolute path if it is not below.

    The top is GITHUB_WORKSPACE, else the current folder.
    """
    path, top = Path(os.path.abspath(name)), os.path.abspath(os.environ.get("GITHUB_WORKSPACE") or ".")
    return (path.relative_to(top) if path.is_relative_to(top) else path).as_posix()


STDIN: Final = "-"
"""The name of standard input on a command line."""


def shown_name(name: str) -> str:
    """Return the name of a file in outputs: `<stdin>` for standard input, else its own."""
    return "<stdin>" if name == STDIN else name
