"""Every problem code has a page, and the pages' examples give the problems that they show."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.config.compiler.compiler import Compiler
from gateway.config.lint import lint
from gateway.config.problems import Example, Page, codes, page
from gateway.policy.problem import Problem
from gateway.simulation.cases import file as cases
from tests.linting import OUTSIDE
from tests.paths import PACKAGE
from tests.unit.config.test_problem_files import FOLDER, LINE

CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
REPORTING = {
    "Fault",
    "Finding",
    "Misfit",
    "Problem",
    "fault",
    "finding",
    "note",
    "problem",
    "problem_at",
    "refuse",
    "report",
    "warn",
}
"""Names of functions and classes that take a problem's code, without a leading underscore."""

SHOWN_ONLY = {
    "bad-client-key",
    "file-too-large",
    "unknown-client",
    "unknown-group",
    "unreadable-file",
    "unused-group",
}
"""Codes whose bad example is a command."""
NOT_SHOWN = {"canary-failed", "internal-error", "last-good", "more-problems", "not-litellm", "too-many-files"}
"""Codes that no short example file can cause."""
RUN = sorted(set(codes()) - SHOWN_ONLY - NOT_SHOWN)


def raised() -> dict[str, str]:
    """Return every problem code in our source, with its file and line."""
    found: dict[str, str] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for value in parts(node):
                if isinstance(value, ast.Constant) and isinstance(value.value, str) and CODE.fullmatch(value.value):
                    found.setdefault(value.value, f"{path.name}:{value.lineno}")
    return found


def parts(node: ast.AST) -> list[ast.expr]:
    """Return the texts that may be codes: arguments of a reporting call, and items of a tuple with a sentence."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).rpartition(".")[2].lstrip("_")
        return [*node.args, *(keyword.value for keyword in node.keywords)] if name in REPORTING else []
    if isinstance(node, ast.Tuple) and any(isinstance(part, ast.JoinedStr) or is_sentence(part) for part in node.elts):
        return node.elts
    return []


def is_sentence(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value


def known(code: str) -> Page:
    found = page(code)
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to an empty folder; afterwards remove the modules imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def problems(example: tuple[Example, ...], folder: Path, *, is_budget: bool = False) -> tuple[Problem, ...]:
    """Write an example's files to a folder and return the problems of the first.

    For others than the code of budgets, the counts of limits are kept.
    """
    environ: dict[str, str] = {}
    for block in example:
        if block.language == "sh":
            words = shlex.split(block.text)
            assert words[0] == "export"
            environ.update((name, value) for name, _, value in (word.partition("=") for word in words[1:]))
        else:
            data = block.text.encode()
            if block.language == "bytes":
                data = re.sub(rb"\\x(..)", lambda match: bytes.fromhex(match[1].decode()), data)
            (folder / block.name).write_bytes(data)
    first = example[0]
    data = (folder / first.name).read_bytes()
    if first.name.endswith(".test.yaml"):
        return cases.read(data, name=first.name)[1]
    outside = replace(OUTSIDE, keeps_counts="GATEWAY_STATE_DIR" in environ) if is_budget else OUTSIDE
    return lint(Compiler(environ=environ).compile(data, source=first.name), outside)


def test_every_code_that_can_be_raised_has_a_page_and_every_page_a_code() -> None:
    places = raised()
    in_cases = {
        match[4]
        for file in FOLDER.glob("*.problems")
        for line in file.read_text(encoding="utf-8").splitlines()
        if (match := LINE.fullmatch(line))
    }
    assert not {code: place for code, place in places.items() if code not in codes()}, "write gateway/problems/CODE.md"
    assert not set(codes()) - places.keys(), "no problem has these codes any more"
    assert not in_cases - places.keys()


@pytest.mark.parametrize("code", codes())
def test_a_page_has_a_title_a_meaning_and_two_examples(code: str) -> None:
    found = known(code)
    assert CODE.fullmatch(code)
    assert re.fullmatch(r"\S.{10,90}[^. ]", found.summary)
    assert found.meaning.endswith(".")
    assert bool(found.bad) == bool(found.good) == (code not in NOT_SHOWN)
    assert all(len(line) <= 120 for line in found.markdown.splitlines())
    assert found.markdown.count("```") == 2 * len(found.bad + found.good)


@pytest.mark.parametrize("code", RUN)
def test_a_bad_example_has_exactly_this_problem(code: str, folder: Path) -> None:
    """A warning of another code may stand beside an error."""
    found = problems(known(code).bad, folder, is_budget=code == "budget-in-memory")
    assert code in {problem.code for problem in found}
    assert {problem.code for problem in found if problem.severity == "error"} <= {code}, list(map(str, found))


@pytest.mark.parametrize("code", RUN)
def test_a_good_example_has_no_problem_and_no_warning(code: str, folder: Path) -> None:
    found = problems(known(code).good, folder, is_budget=code == "budget-in-memory")
    assert [str(problem) for problem in found] == []


@pytest.mark.parametrize("code", sorted(SHOWN_ONLY))
def test_a_command_that_is_shown_prints_what_is_shown(
    code: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "routes.yaml").write_text("version: 1\nmodels:\n  fast: openai/gpt-4o-mini\n")
    with (folder / "core.dump").open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    for example in (*known(code).bad, *known(code).good):
        if example.name:
            (folder / example.name).write_text(example.text)
            continue
        command, _, output = example.text.partition("\n")
        main(shlex.split(command.removeprefix("$ gateway ")))
        assert capsys.readouterr().out == output


def test_there_is_no_page_of_a_code_that_is_none() -> None:
    assert page("no-such-code") is None
    assert page("../routes") is None
