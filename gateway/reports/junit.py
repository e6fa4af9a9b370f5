"""JUnit's XML for CI systems: the problems of `validate`, and the results of test cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from gateway.reports.code_pages import how_to_explain
from gateway.reports.problems import Checked, as_text, shown_name
from gateway.words import printable

if TYPE_CHECKING:
    from gateway.reports.test_report import FileResult


def checks_as_xml(files: Sequence[Checked], *, strict: bool) -> str:
    """Return one test suite for each file, with a case for each problem. Warnings fail only with `strict`."""
    return _document("gateway validate", (_checks_suite(file, strict=strict) for file in files))


def tests_as_xml(files: Sequence[FileResult]) -> str:
    """Return one test suite for each file. The problems of a file are one more case, with an error."""
    return _document("gateway test", map(_tests_suite, files))


def _checks_suite(file: Checked, *, strict: bool) -> ET.Element:
    failed = [strict or problem.severity == "error" for problem in file.problems]
    failures, errors = (sum(failed), 0) if file.readable else (0, sum(failed))
    source = shown_name(file.file)
    suite = _suite(source, tests=len(file.problems) or 1, failures=failures, errors=errors)
    for problem, is_fault in zip(file.problems, failed, strict=True):
        name = f"{problem.code}: {problem.path}" if problem.path else problem.code
        case = _case(suite, shown_name(file.place(problem)), name, problem.line or 1)
        lines = [*as_text(problem).split("\n"), how_to_explain(problem.code)]
        if is_fault:
            tag = "failure" if file.readable else "error"
            _fault(case, tag, message=problem.message, kind=problem.code, lines=lines)
        else:
            ET.SubElement(case, "system-out").text = "\n".join(map(printable, lines))
    if not file.problems:
        _case(suite, source, "no problems", 1)
    return suite


def _tests_suite(file: FileResult) -> ET.Element:
    from gateway.reports.test_report import failure_text  # not at the top: `validate` does not need it

    faults = [problem for problem in file.problems if problem.severity == "error"]
    count, has_faults = len(file.results), bool(faults)
    suite = _suite(file.file, tests=count + has_faults, failures=count - file.passed, errors=int(has_faults))
    if faults:
        case = _case(suite, file.file, "the file can be run", 1)
        _fault(case, "error", message=str(faults[0]), kind=faults[0].code, lines=map(str, faults))
    for result in file.results:
        case = _case(suite, file.file, result.case.name, result.case.position[0])
        case.set("time", "0")
        seconds = sum(played.observed.elapsed_s for played in result.played)
        properties = ET.SubElement(case, "properties")
        ET.SubElement(properties, "property", name="virtual_seconds", value=f"{seconds:.3f}")
        if not result.ok:
            failed = [*result.mismatches, *(it for played in result.played for it in played.mismatches)]
            message = f"not as expected: {', '.join(dict.fromkeys(it.check for it in failed))}"
            lines = failure_text(file.file, result).split("\n")
            _fault(case, "failure", message=message, kind="mismatch", lines=lines)
    return suite


def _document(name: str, suites: Iterable[ET.Element]) -> str:
    """Return the whole document. Its numbers are the sums of the suites' numbers."""
    root = ET.Element("testsuites", name=name)
    root.extend(suites)
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _suite(file: str, *, tests: int, failures: int, errors: int) -> ET.Element:
    """Return a suite for one file, without cases."""
    numbers = {"tests": tests, "failures": failures, "errors": errors, "skipped": 0}
    return ET.Element("testsuite", {"name": printable(file)} | {key: str(number) for key, number in numbers.items()})


def _case(suite: ET.Element, file: str, name: str, line: int) -> ET.Element:
    """Add a case that passes. XML cannot hold most control characters: all of them are escaped."""
    file = printable(file)
    return ET.SubElement(suite, "testcase", classname=file, name=printable(name), file=file, line=str(line))


def _fault(case: ET.Element, tag: str, *, message: str, kind: str, lines: Iterable[str]) -> None:
    """Add a fault to a case: `tag` is `failure`, or `error` for a case that could not be run."""
    ET.SubElement(case, tag, message=printable(message), type=kind).text = "\n".join(map(printable, lines))
