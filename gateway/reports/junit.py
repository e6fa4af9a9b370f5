"""JUnit's XML, which CI systems show: the problems that `validate` found, and the results of test cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from gateway.policy.problem import Problem
from gateway.reports.code_pages import how_to_explain
from gateway.reports.problems import Checked, as_text
from gateway.words import printable

if TYPE_CHECKING:
    from gateway.reports.test_report import FileResult


def checks_as_xml(files: Sequence[Checked], *, strict: bool) -> str:
    """Return one test suite for each file, with a case for each problem. Warnings pass; with `strict` they fail."""
    return _document("gateway validate", (_checks_suite(file, strict=strict) for file in files))


def tests_as_xml(files: Sequence[FileResult]) -> str:
    """Return one test suite for each file. A file that could not be run is a case of its own, with an error."""
    return _document("gateway test", map(_tests_suite, files))


def _checks_suite(file: Checked, *, strict: bool) -> ET.Element:
    failed = [strict or problem.severity == "error" for problem in file.problems]
    whole = _suite(
        file.file,
        tests=len(file.problems) or 1,
        failures=sum(failed) if file.readable else 0,
        errors=0 if file.readable else sum(failed),
    )
    for problem, is_fault in zip(file.problems, failed, strict=True):
        one = _case(whole, file.file, _name(problem), problem.line or 1)
        told = [*as_text(problem).split("\n"), how_to_explain(problem.code)]
        if is_fault:
            tag = "failure" if file.readable else "error"
            _fault(one, tag, message=problem.message, kind=problem.code, lines=told)
        else:
            ET.SubElement(one, "system-out").text = "\n".join(map(printable, told))
    if not file.problems:
        _case(whole, file.file, "no problems", 1)
    return whole


def _name(problem: Problem) -> str:
    return f"{problem.code}: {problem.path}" if problem.path else problem.code


def _tests_suite(file: FileResult) -> ET.Element:
    from gateway.reports.test_report import failure_text  # `validate` starts without it

    faults = [problem for problem in file.problems if problem.severity == "error"]
    whole = _suite(
        file.file,
        tests=len(file.results) + bool(faults),
        failures=len(file.results) - file.passed,
        errors=int(bool(faults)),
    )
    if faults:
        one = _case(whole, file.file, "the file can be run", 1)
        _fault(one, "error", message=str(faults[0]), kind=faults[0].code, lines=map(str, faults))
    for result in file.results:
        one = _case(whole, file.file, result.case.name, result.case.position[0])
        seconds = sum(played.observed.elapsed_s for played in result.played)
        one.set("time", "0")
        properties = ET.SubElement(one, "properties")
        ET.SubElement(properties, "property", name="virtual_seconds", value=f"{seconds:.3f}")
        if not result.ok:
            failed = [*result.mismatches, *(it for played in result.played for it in played.mismatches)]
            checks = ", ".join(dict.fromkeys(it.check for it in failed))
            told = failure_text(file.file, result).split("\n")
            _fault(one, "failure", message=f"not as expected: {checks}", kind="mismatch", lines=told)
    return whole


def _document(name: str, suites: Iterable[ET.Element]) -> str:
    """Return the whole report, with the suites' numbers added up."""
    root = ET.Element("testsuites", name=name)
    root.extend(suites)
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _suite(file: str, *, tests: int, failures: int, errors: int) -> ET.Element:
    """Return a suite for one file, without cases."""
    return ET.Element(
        "testsuite",
        name=printable(file),
        tests=str(tests),
        failures=str(failures),
        errors=str(errors),
        skipped="0",
    )


def _case(suite: ET.Element, file: str, name: str, line: int) -> ET.Element:
    """Add a case without a fault to a suite. XML cannot hold most control characters: all of them are escaped."""
    return ET.SubElement(
        suite, "testcase", classname=printable(file), name=printable(name), file=printable(file), line=str(line)
    )


def _fault(case: ET.Element, tag: str, *, message: str, kind: str, lines: Iterable[str]) -> None:
    """Add a fault to a case: `tag` is `failure`, or `error` for a case that could not be run."""
    ET.SubElement(case, tag, message=printable(message), type=kind).text = "\n".join(map(printable, lines))
