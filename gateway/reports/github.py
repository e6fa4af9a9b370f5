"""Problems as GitHub's workflow commands: Actions shows each at its line of the pull request.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from gateway.policy.problem import Problem
from gateway.reports.code_pages import how_to_explain
from gateway.reports.problems import STDIN, Checked, in_repository, tally
from gateway.words import count, printable

_DATA: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY: Final = _DATA | str.maketrans({":": "%3A", ",": "%2C"})
"""Escapes in the text and in the properties of a command, as in GitHub's own toolkit."""


def as_commands(files: Sequence[Checked]) -> Iterator[str]:
    """Yield one command for each problem, then how many there are.

    The last line names no file: a name that begins with `::` would be read as a command.
    """
    yield from (_command(file, problem) for file in files for problem in file.problems)
    tallied = tally(problem for file in files for problem in file.problems)
    number = count(sum(1 + len(file.included) for file in files), "file")
    yield f"{tallied} in {number}" if tallied else f"{number} ok"


def _command(file: Checked, problem: Problem) -> str:
    places: dict[str, str | int] = {}
    path = f"{problem.path}: " if problem.path else ""
    name = file.place(problem)
    if name != STDIN:
        places["file"] = printable(in_repository(name))
        if problem.line:
            places.update(line=problem.line, col=problem.column)
    elif problem.line:  # a command without a file has no line of its own
        path = f"{problem.source}:{problem.line}:{problem.column}: {path}"
    places["title"] = problem.code
    properties = ",".join(f"{key}={str(value).translate(_PROPERTY)}" for key, value in places.items())
    text = f"{printable(f'{path}{problem.message}')}\nMore: {how_to_explain(problem.code)}"
    return f"::{problem.severity} {properties}::{text.translate(_DATA)}"
