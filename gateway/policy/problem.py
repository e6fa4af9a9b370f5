"""One fault found in a config file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gateway.wire.json import JsonObject
from gateway.words import count

MOST_LISTED: Final = 1_000
"""Problems of one file that are listed, warnings among them; the others are counted."""

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault found in a config file."""

    line: int
    """From 1; 0 if the fault has no position in the file."""
    column: int
    """From 1, in characters."""
    code: str
    """Never changes once released, for instance `unknown-target`."""
    path: str
    """Path in the document, for instance `models.fast.chain[1]`."""
    message: str
    """Lower case, no full stop: what was found and what would be right. Never holds a secret."""
    severity: Severity = "error"
    source: str = "routes.yaml"
    """The file's name as it was given."""
    excerpt: str | None = None
    """The line as the file has it, secrets masked."""
    caret: int | None = None
    """The column of `column` in the masked and shortened excerpt, from 1; None if unknown."""
    not_listed: int = 0
    """Number of faults that are not listed, where this is what tells so; 0 for a fault of its own."""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.source}:{self.line}:{self.column}: {self.code}: {where}{self.message}"

    def as_json(self) -> JsonObject:
        """Return the form for `validate --format json` and the server's admin paths."""
        return {
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "severity": self.severity,
            "path": self.path,
            "message": self.message,
            "source": self.source,
            "excerpt": self.excerpt,
            "text": str(self),
        }


Problems: TypeAlias = Sequence[Problem]


class Told(str):
    """The problems of a refused file as a field of a log line: their text, which keeps what it was made of."""

    __slots__ = ("listed", "more")

    listed: Sequence[Problem]
    """Those that are told one by one."""
    more: str
    """How many others there are; empty without any."""

    def __new__(cls, problems: Sequence[Problem], *, most: int) -> Told:
        left = sum(problem.not_listed or 1 for problem in problems[most:])
        more = f"and {left} more" if left else ""
        self = super().__new__(cls, "\n".join([*map(str, problems[:most]), *([more] if more else [])]))
        self.listed, self.more = problems[:most], more
        return self


def number_of(problems: Iterable[Problem], severity: Severity) -> int:
    """Return the number of faults of a severity, those that are not listed among them."""
    return sum(problem.not_listed or 1 for problem in problems if problem.severity == severity)


def listed(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return the problems of one file up to MOST_LISTED, errors before warnings, in the order that they come in.

    Behind them stands one for the errors and one for the warnings that are left out.
    """
    if len(problems) <= MOST_LISTED:
        return tuple(problems)
    room = MOST_LISTED - sum(problem.severity == "error" for problem in problems)
    left = {"error": MOST_LISTED, "warning": max(0, room)}
    kept: list[Problem] = []
    for problem in problems:
        if left[problem.severity]:
            left[problem.severity] -= 1
            kept.append(problem)
    return (*kept, *_more(problems, kept, "error"), *_more(problems, kept, "warning"))


def _more(problems: Sequence[Problem], kept: Sequence[Problem], severity: Severity) -> list[Problem]:
    """Return a problem that tells how many of a severity are left out; none if none are."""
    number = number_of(problems, severity) - number_of(kept, severity)
    if not number:
        return []
    noun = "more problem" if severity == "error" else "more warning"
    message = f"{count(number, noun)} {'is' if number == 1 else 'are'} not listed; correct the first {MOST_LISTED}"
    source = problems[0].source
    return [
        Problem(
            line=0,
            column=0,
            code="more-problems",
            path="",
            message=message,
            severity=severity,
            source=source,
            not_listed=number,
        )
    ]
