"""Test results in JUnit's XML, which CI systems show."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from gateway.cli.render import printable
from gateway.cli.testreport import FileResult, failure_text


def as_xml(files: Sequence[FileResult]) -> str:
    """Return one test suite for each file; a file that was not run is an error of a case of its own."""
    root = ET.Element("testsuites", name="gateway test")
    for file in files:
        root.append(_suite(file))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _suite(file: FileResult) -> ET.Element:
    faults = [problem for problem in file.problems if problem.severity == "error"]
    suite = ET.Element(
        "testsuite",
        name=printable(file.file),
        tests=str(len(file.results) + bool(faults)),
        failures=str(len(file.results) - file.passed),
        errors=str(int(bool(faults))),
        skipped="0",
    )
    if faults:
        case = _case(suite, file.file, "the file can be run", 1)
        error = ET.SubElement(case, "error", message=printable(str(faults[0])), type=faults[0].code)
        error.text = "\n".join(printable(str(problem)) for problem in faults)
    for result in file.results:
        case = _case(suite, file.file, result.case.name, result.case.position[0])
        seconds = sum(played.observed.elapsed_s for played in result.played)
        case.set("time", "0")
        properties = ET.SubElement(case, "properties")
        ET.SubElement(properties, "property", name="virtual_seconds", value=f"{seconds:.3f}")
        if not result.ok:
            failed = [*result.mismatches, *(one for played in result.played for one in played.mismatches)]
            checks = ", ".join(dict.fromkeys(one.check for one in failed))
            failure = ET.SubElement(case, "failure", message=printable(f"not as expected: {checks}"), type="mismatch")
            failure.text = failure_text(file.file, result)
    return suite


def _case(suite: ET.Element, file: str, name: str, line: int) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", classname=printable(file), name=printable(name), file=printable(file), line=str(line)
    )
