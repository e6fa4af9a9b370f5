"""Problems as GitHub's workflow commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.policy.problem import Problem
from gateway.reports.github import as_commands
from gateway.reports.problems import Checked
from tests.command_line import BAD, GOOD, KEYLESS, gateway, write

pytestmark = pytest.mark.usefixtures("clean_environment")

COMMAND = re.compile(r"::(error|warning) ([^:]*)::(.*)")
"""The parts of a line, as GitHub's runner splits it."""


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """Return a line's command, properties and text, unescaped as GitHub's runner does."""
    match = COMMAND.fullmatch(line)
    assert match is not None, line
    properties = dict(part.split("=", 1) for part in match[2].split(","))
    return match[1], {key: unescaped(value) for key, value in properties.items()}, unescaped(match[3])


def unescaped(text: str) -> str:
    for code, plain in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, plain)
    return text


def test_every_problem_is_a_command_at_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    names = [write("bad.yaml", BAD), write("keyless.yaml", KEYLESS), write("good.yaml", GOOD), "none.yaml"]
    assert main(["validate", "--format", "github", *names]) == 2
    out, err = capsys.readouterr()
    *commands, last = out.splitlines()
    assert (err, last) == ("", "3 problems, 1 warning in 4 files")
    assert commands[0].startswith(
        "::error file=bad.yaml,line=3,col=9,title=no-provider::models.fast: 'nowhere' names no "
    )
    assert commands[0].endswith("%0AMore: gateway validate --explain no-provider")
    told = [parsed(command) for command in commands]
    assert [(level, properties) for level, properties, _ in told] == [
        ("error", {"file": "bad.yaml", "line": "3", "col": "9", "title": "no-provider"}),
        ("error", {"file": "bad.yaml", "line": "4", "col": "21", "title": "no-provider"}),
        ("warning", {"file": "keyless.yaml", "line": "3", "col": "68", "title": "unset-variable"}),
        ("error", {"file": "none.yaml", "title": "unreadable-file"}),
    ]


def test_good_files_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--format", "github", write("a.yaml", GOOD), write("b.yaml", GOOD)]) == 0
    assert capsys.readouterr().out == "2 files ok\n"


def test_what_a_strangers_file_holds_stays_inside_its_command() -> None:
    hostile = "a,line=9::b%0A%\r\n::error::\x1b]0;x\x07##[group]c"
    problem = Problem(line=1, column=1, code="bad-name", path=hostile, message=hostile, source="x")
    first, last = as_commands([Checked(file=hostile, problems=(problem,))])
    assert not re.search(r"[\r\n\x1b\x07]", first)
    level, properties, text = parsed(first)
    shown = "a,line=9::b%0A%\\r\\n::error::\\x1b]0;x\\x07##[group]c"
    assert (level, properties) == ("error", {"file": shown, "line": "1", "col": "1", "title": "bad-name"})
    assert text == f"{shown}: {shown}\nMore: gateway validate --explain bad-name"
    assert last == "1 problem in 1 file"


def test_standard_input_has_no_file_and_the_place_in_its_text() -> None:
    done = gateway("validate", "-", "--format", "github", stdin=BAD)
    assert done.returncode == 1
    _, properties, text = parsed(done.stdout.splitlines()[0])
    assert properties == {"title": "no-provider"}
    assert text.startswith("<stdin>:3:9: models.fast: 'nowhere' names no provider")


def test_a_file_is_named_from_the_top_of_the_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    (tmp_path / "deploy").mkdir()
    monkeypatch.chdir(tmp_path / "deploy")
    main(["validate", "--format", "github", write("bad.yaml", BAD)])
    assert "::error file=deploy/bad.yaml,line=3," in capsys.readouterr().out
