"""Problems in JUnit's XML."""

from __future__ import annotations

import io
import sys
from xml.etree import ElementTree as ET

import pytest

from gateway.cli import main
from gateway.policy.problem import Problem
from gateway.reports.junit import checks_as_xml
from gateway.reports.problems import Checked
from tests.command_line import BAD, GOOD, KEYLESS, write

pytestmark = pytest.mark.usefixtures("clean_environment")


def report(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, ET.Element]:
    code = main(["validate", "--format", "junit", *argv])
    return code, ET.fromstring(capsys.readouterr().out)  # noqa: S314 - our own


def test_there_is_a_suite_for_each_file_and_a_case_for_each_problem(capsys: pytest.CaptureFixture[str]) -> None:
    names = [write("bad.yaml", BAD), write("good.yaml", GOOD), write("keyless.yaml", KEYLESS), "none.yaml"]
    code, root = report(capsys, *names)
    assert code == 2
    assert root.attrib == {"name": "gateway validate", "tests": "5", "failures": "2", "errors": "1"}
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in root] == [
        ("bad.yaml", "2", "2", "0"),
        ("good.yaml", "1", "0", "0"),
        ("keyless.yaml", "1", "0", "0"),
        ("none.yaml", "1", "0", "1"),
    ]
    first = root[0][0]
    assert (first.get("name"), first.get("file"), first.get("line")) == ("no-provider: models.fast", "bad.yaml", "3")
    failure = first.find("failure")
    assert failure is not None
    assert failure.get("type") == "no-provider"
    assert failure.text is not None
    assert failure.text.splitlines()[1:] == [
        "  3 |   fast: nowhere",
        "    |         ^",
        "gateway validate --explain no-provider",
    ]
    assert (root[1][0].get("name"), len(root[1][0])) == ("no problems", 0)
    assert root[2][0].findtext("system-out", "").startswith("keyless.yaml:3:68: warning: unset-variable: ")
    assert root[3][0].find("error") is not None


def test_standard_input_is_named_as_in_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    _, root = report(capsys, "-")
    assert [(suite.get("name"), suite[0].get("file"), suite[0].get("line")) for suite in root] == [
        ("<stdin>", "<stdin>", "3")
    ]


def test_a_warning_is_a_failure_when_warnings_count(capsys: pytest.CaptureFixture[str]) -> None:
    code, root = report(capsys, "--strict", write("keyless.yaml", KEYLESS))
    assert (code, root.get("failures")) == (1, "1")
    assert root.find("testsuite/testcase/failure[@type='unset-variable']") is not None


def test_what_xml_cannot_hold_is_escaped() -> None:
    hostile = 'a\x00\x1b\ud800\ufffe]]><x & "y"\x85'
    problem = Problem(line=1, column=1, code="bad-name", path=hostile, message=hostile, excerpt=hostile, source=hostile)
    root = ET.fromstring(checks_as_xml([Checked(file=hostile, problems=(problem,))], strict=False))  # noqa: S314 - our own
    shown = 'a\\x00\\x1b\\ud800\\ufffe]]><x & "y"\\x85'
    assert root[0].get("name") == shown
    assert root[0][0].get("name") == f"bad-name: {shown}"
    failure = root[0][0].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.text.splitlines()[1].endswith(shown)
