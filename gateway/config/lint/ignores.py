"""Comments that silence warnings: `# gateway: ignore[code]` for a place, `# gateway: ignore-file[code]` for a file.

Behind a value the comment is for its line. On a line of its own it is for the entry below: that line and what is
indented under it. For the whole file it stands above the first key.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from gateway.config.document.document import Document
from gateway.config.document.yaml_tree import Position, events
from gateway.config.problems import codes
from gateway.policy.problem import Problem
from gateway.words import did_you_mean

_MARK: Final = "gateway:"
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#\s*gateway:\s*(ignore(?:-file)?)\s*(?:\[([^\]]*)\]|$)")
_NO_CONTENT: Final = re.compile(r"\s*(?:#.*|---|%.*)?\s*")


@dataclass(slots=True, kw_only=True)
class Silence:
    """One comment."""

    position: Position
    codes: tuple[str, ...]
    first: int
    """The lines it is for, from 1, both included."""
    last: int | None
    """None when it is for the whole file."""
    fault: str | None = None
    """Why it can silence nothing."""
    used: set[str] = field(default_factory=set)


class Silences:
    """All of one document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._all = _find(document.lines)
        self._of_file = [one for one in self._all if one.last is None]
        self._of_line: dict[int, list[Silence]] = {}
        for one in self._all:
            for line in range(one.first, (one.last or 0) + 1):
                self._of_line.setdefault(line, []).append(one)

    def heard(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return the problems that no comment silences, and note in each comment what it was of use for."""
        return [problem for problem in problems if not self._is_silenced(problem)]

    def _is_silenced(self, problem: Problem) -> bool:
        silenced = False
        if problem.severity == "warning":
            for one in (*self._of_file, *self._of_line.get(problem.line, ())):
                if problem.code in one.codes and one.fault is None:
                    one.used.add(problem.code)
                    silenced = True
        return silenced

    def unused(self, *, known: Collection[str], judged: Collection[str]) -> Iterator[Problem]:
        """Yield a warning for each code that a comment names in vain.

        `known` are all codes of warnings; `judged` are those whose rules ran: what they did not find is not there.
        """
        for one in self._all:
            faults = [one.fault] if one.fault else [_in_vain(code, one, known, judged) for code in one.codes]
            for fault in faults:
                if fault is not None:
                    yield self._document.problem_at(one.position, "unused-ignore", fault, severity="warning")


def _in_vain(code: str, silence: Silence, known: Collection[str], judged: Collection[str]) -> str | None:
    if code not in known:
        return unfit(code, known)
    if code in silence.used or code not in judged:
        return None
    return f"there is no {code} here to silence; take it out"


def unfit(code: str, known: Collection[str]) -> str:
    """Say why a code that is not among `known` silences nothing."""
    if code in codes():
        return f"{code} is an error, and only warnings can be silenced"
    hint = did_you_mean(code, known) or f"; they are {', '.join(sorted(known))}"
    return f"{code!r} is no code of a warning{hint}"


def _find(lines: tuple[str, ...]) -> list[Silence]:
    """Return the comments of a text in its order."""
    marked = {number for number, line in enumerate(lines) if _MARK in line and _COMMENT.search(line)}
    if not marked:
        return []
    scalars = _scalars("\n".join(lines), marked)
    content = next((number for number, line in enumerate(lines) if not _NO_CONTENT.fullmatch(line)), len(lines))
    found = []
    for number in sorted(marked):
        for match in _COMMENT.finditer(lines[number]):
            at = (number, match.start())
            if not any(start <= at < end for start, end in scalars.get(number, ())):
                found.append(_silence(lines, number, match, content))
                break
    return found


def _silence(lines: tuple[str, ...], number: int, match: re.Match[str], content: int) -> Silence:
    """Make one of a comment in line `number`. All lines count from 0; the first key is in line `content`."""
    named = tuple(dict.fromkeys(code.strip() for code in (match[2] or "").split(",") if code.strip()))
    fault = None if named else f"it names no code; write `# gateway: {match[1]}[code]`"
    of_file = match[1] == "ignore-file"
    if of_file and number > content:
        fault = "for the whole file it must stand above the first key"
    first, last = _below(lines, number) if lines[number].lstrip().startswith("#") else (number, number)
    return Silence(
        position=(number + 1, match.start() + 1),
        codes=named,
        first=first + 1,
        last=None if of_file else last + 1,
        fault=fault,
    )


def _below(lines: tuple[str, ...], number: int) -> tuple[int, int]:
    """Return the lines of the entry below a comment's line: the next one with content and what belongs to it."""
    first = next((below for below in range(number + 1, len(lines)) if not _is_blank(lines[below])), number)
    last, indent, is_item = first, _indent(lines[first]), _is_item(lines[first])
    for below in range(first + 1, len(lines)):
        line = lines[below]
        if not _is_blank(line):
            # The items of a list may stand right under their key.
            if _indent(line) < indent or (_indent(line) == indent and (is_item or not _is_item(line))):
                break
            last = below
    return first, last


def _is_blank(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _is_item(line: str) -> bool:
    return line.lstrip().startswith("- ") or line.strip() == "-"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _scalars(text: str, lines: Collection[int]) -> dict[int, list[tuple[Position, Position]]]:
    """Return from where to where the scalars in each of `lines` go, all from 0."""
    found: dict[int, list[tuple[Position, Position]]] = {}
    last = max(lines)
    try:
        for event in events(text):
            kind, start, end = type(event), event.start_mark, event.end_mark
            if start.line > last:
                break
            if kind is yaml.ScalarEvent:
                # Behind a block scalar's `|` there may be a comment; its text begins in the next line.
                begin = (start.line + 1, 0) if event.style in ("|", ">") else (start.line, start.column)
                for line in range(start.line, min(end.line, last) + 1):
                    if line in lines:
                        found.setdefault(line, []).append((begin, (end.line, end.column)))
    except yaml.YAMLError:
        pass
    return found
