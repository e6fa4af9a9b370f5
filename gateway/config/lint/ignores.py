"""Comments that ignore warnings: `# gateway: ignore[code]` for a place, `# gateway: ignore-file[code]` for a file.

Behind a value it applies to that line; on its own line, to the entry below and all lines indented under that entry. A
comment for the whole file must be above the first key.
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
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#\s*gateway:\s*(ignore(?:-file)?)\s*(?:\[([^\]\[]*)\]|$)")
_NO_CONTENT: Final = re.compile(r"\s*+(?:(?:#.*|---|%.*)\s*)?")


@dataclass(slots=True, kw_only=True)
class Silence:
    """One comment."""

    position: Position
    codes: tuple[str, ...]
    first: int
    """First line that it applies to, from 1."""
    last: int | None
    """Last line that it applies to; None for the whole file."""
    fault: str | None = None
    """Why it cannot ignore anything."""
    used: set[str] = field(default_factory=set)
    """Codes of the warnings that it ignored."""


class Silences:
    """The comments of a document, each for its own file."""

    def __init__(self, document: Document) -> None:
        self._all = [(file, one) for file in document.files for one in _find(file.lines)]
        self._of_file: dict[str, list[Silence]] = {}
        self._of_line: dict[tuple[str, int], list[Silence]] = {}
        for file, one in self._all:
            if one.last is None:
                self._of_file.setdefault(file.name, []).append(one)
            for line in range(one.first, (one.last or 0) + 1):
                self._of_line.setdefault((file.name, line), []).append(one)

    def not_ignored(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return the problems that no comment ignores. Notes the used codes in each comment."""
        left = []
        for problem in problems:
            around: list[Silence] = []
            if problem.severity == "warning":
                around += self._of_file.get(problem.source, ())
                around += self._of_line.get((problem.source, problem.line), ())
            ignoring = [one for one in around if problem.code in one.codes and one.fault is None]
            for one in ignoring:
                one.used.add(problem.code)
            if not ignoring:
                left.append(problem)
        return left

    def unused(self, *, known: Collection[str], judged: Collection[str]) -> Iterator[Problem]:
        """Yield a warning for each code of a comment that ignores nothing.

        `known` are the codes of all warnings, `judged` those of the rules that ran.
        """
        for file, one in self._all:
            faults = [one.fault] if one.fault else []
            for code in () if one.fault else one.codes:
                if code not in known:
                    faults.append(unfit(code, known))
                elif code in judged and code not in one.used:
                    faults.append(f"there is no {code} here to silence; take it out")
            for fault in faults:
                yield file.problem_at(one.position, "unused-ignore", fault, severity="warning")


def unfit(code: str, known: Collection[str]) -> str:
    """Return why a code that is not among `known` cannot be ignored."""
    if code in codes():
        return f"{code} is an error, and only warnings can be silenced"
    hint = did_you_mean(code, known) or f"; they are {', '.join(sorted(known))}"
    return f"{code!r} is no code of a warning{hint}"


def _find(lines: tuple[str, ...]) -> list[Silence]:
    """Return the comments of a text in file order."""
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
    """Return the Silence of a comment in line `number`, from 0. The first key is in line `content`."""
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
    """Return the first and last line of the entry below a comment's line, from 0."""
    first = next((below for below in range(number + 1, len(lines)) if not _is_blank(lines[below])), number)
    last, indent, is_item = first, _indent(lines[first]), _is_item(lines[first])
    for below in range(first + 1, len(lines)):
        line = lines[below]
        if not _is_blank(line):
            # The items of a list may have the indentation of their key.
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
    """Return start and end of the scalars in each of `lines`, all from 0."""
    found: dict[int, list[tuple[Position, Position]]] = {}
    last = max(lines)
    try:
        for event in events(text):
            kind, start, end = type(event), event.start_mark, event.end_mark
            if start.line > last:
                break
            if kind is yaml.ScalarEvent:
                # A comment may follow a block scalar's `|`; its text begins in the next line.
                begin = (start.line + 1, 0) if event.style in ("|", ">") else (start.line, start.column)
                for line in range(start.line, min(end.line, last) + 1):
                    if line in lines:
                        found.setdefault(line, []).append((begin, (end.line, end.column)))
    except yaml.YAMLError:
        pass
    return found
