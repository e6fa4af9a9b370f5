"""What `gateway validate` found, in JUnit's XML."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from gateway.cli.checked import Checked
from gateway.reports import junit
from gateway.reports.code_pages import how_to_explain
from gateway.reports.problems import as_text, printable
from gateway.types import Problem


def as_xml(files: Sequence[Checked], *, strict: bool) -> str:
    """Return one test suite for each file, with a case for each problem. JUnit knows no warnings: they pass, or with
    `strict` fail."""
    return junit.document("gateway validate", (_suite(file, strict=strict) for file in files))


def _suite(file: Checked, *, strict: bool) -> ET.Element:
    failed = [strict or problem.severity == "error" for problem in file.problems]
    suite = junit.suite(
        file.file,
        tests=len(file.problems) or 1,
        failures=sum(failed) if file.readable else 0,
        errors=0 if file.readable else sum(failed),
    )
    for problem, is_fault in zip(file.problems, failed, strict=True):
        case = junit.case(suite, file.file, _name(problem), problem.line or 1)
        told = [*as_text(problem).split("\n"), how_to_explain(problem.code)]
        if is_fault:
            tag = "failure" if file.readable else "error"
            junit.fault(case, tag, message=problem.message, kind=problem.code, lines=told)
        else:
            ET.SubElement(case, "system-out").text = "\n".join(map(printable, told))
    if not file.problems:
        junit.case(suite, file.file, "no problems", 1)
    return suite


def _name(problem: Problem) -> str:
    return f"{problem.code}: {problem.path}" if problem.path else problem.code
