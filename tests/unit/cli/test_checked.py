"""The check of one file, and its path for CI services."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.cli.checked import check
from gateway.reports.problems import in_repository
from tests.command_line import KEYLESS, write

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_a_warning_keeps_a_file_from_being_good_when_checked_strictly() -> None:
    write("a.yaml", KEYLESS)
    plain = check("a.yaml", skip_hooks=False, strict_env=False)
    strict = check("a.yaml", skip_hooks=False, strict_env=False, strict=True)
    assert (plain.ok, strict.ok, strict.readable, strict.aliases) == (True, False, True, 1)
    assert plain.problems == strict.problems


def test_a_folder_is_no_file_and_the_message_says_how_to_name_what_is_in_it() -> None:
    Path("routes").mkdir()
    found = check("routes", skip_hooks=False, strict_env=False)
    assert not found.readable
    assert [problem.message for problem in found.problems] == [
        "this is a folder; name a file in it, or all of them with 'routes/*.yaml'"
    ]


def test_a_path_begins_at_the_top_of_the_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert in_repository("./sub/../a.yaml") == "a.yaml"
    assert in_repository(str(tmp_path / "sub" / "a.yaml")) == "sub/a.yaml"
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert in_repository("a.yaml") == "a.yaml"
    assert in_repository("../a.yaml") == f"{tmp_path}/a.yaml"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert in_repository("a.yaml") == "sub/a.yaml"
    assert in_repository("../a.yaml") == "a.yaml"


HOOKED = "version: 1\nmodels: {a: mock/echo}\nhooks: {pre: [%s]}\n"


@pytest.mark.parametrize("module", ["check_hooks", "check_hooks/inner", "check_hooks/__init__"])
def test_each_folder_has_its_own_hooks_of_the_same_name(module: str) -> None:
    """A module, a module of a namespace package, a package."""
    path = f"{module.removesuffix('/__init__').replace('/', '.')}.run"
    for folder, defined in (("one", "def run(params): return params"), ("two", ""), ("three", "run = dict")):
        Path(folder, module).parent.mkdir(parents=True)
        Path(folder, f"{module}.py").write_text(defined)
        write(f"{folder}/routes.yaml", HOOKED % path)
    before, modules = sys.path[:], set(sys.modules)
    found = [check(f"{folder}/routes.yaml", skip_hooks=False, strict_env=False) for folder in ("one", "two", "three")]
    assert [[problem.code for problem in checked.problems] for checked in found] == [
        [],
        ["hook-missing"],
        ["hook-not-callable"],
    ]
    assert sys.path == before
    assert not {name for name in set(sys.modules) - modules if name.startswith("check_hooks")}


def test_what_hooks_print_is_no_part_of_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    write("talking_hooks.py", "print('hello')\ndef run(params): return params")
    write("a.yaml", HOOKED % "talking_hooks.run")
    assert check("a.yaml", skip_hooks=False, strict_env=False).ok
    assert capsys.readouterr() == ("", "hello\n")
