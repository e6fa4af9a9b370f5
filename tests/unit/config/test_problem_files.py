"""The files of bad configs, each beside its problems.

`python -m tests.unit.config.test_problem_files` rewrites the problems; read every line of the difference afterwards.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gateway.config.compiler.compiler import Compiler
from tests.paths import CASES

FOLDER = CASES / "invalid"
FILES = sorted(FOLDER.glob("*.yaml"))
LINE = re.compile(r"(?:warning: )?([\w-]+\.yaml):([0-9]+):([0-9]+): ([a-z0-9-]+): (?:\S+: )?(.+)")


def test_every_bad_file_has_its_problems_beside_it() -> None:
    assert {file.stem for file in FILES} == {file.stem for file in FOLDER.glob("*.problems")}
    assert len(FILES) > 50


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_problem_is_one_line_in_our_words_within_the_file(file: Path) -> None:
    printed = file.with_suffix(".problems").read_text(encoding="utf-8").splitlines()
    length = len(file.read_bytes().splitlines())
    places = []
    assert printed
    for line in printed:
        match = LINE.fullmatch(line)
        assert match is not None, line
        name, number, column, _, message = match.groups()
        assert name == file.name
        assert 1 <= int(number) <= length
        assert not message.endswith(".")
        assert not re.search(r"is not of type|does not match|is a required property|while parsing|sk-hidden", line)
        places.append((int(number), int(column)))
    assert places == sorted(places)


def _write_anew() -> None:
    os.chdir(FOLDER)
    for file in FILES:
        compiler = Compiler(environ={}, strict_env=file.stem.endswith("-strict"))
        problems = compiler.compile(file.read_bytes(), source=file.name).problems
        lines = [f"{'warning: ' if problem.severity == 'warning' else ''}{problem}\n" for problem in problems]
        file.with_suffix(".problems").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    _write_anew()
