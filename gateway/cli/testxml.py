"""The results of test cases in JUnit's XML."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from gateway.reports import junit
from gateway.reports.test_report import FileResult, failure_text


def as_xml(files: Sequence[FileResult]) -> str:
    """Return one test suite for each file; a file that was not run is an error of a case of its own."""
    return junit.document("gateway test", map(_suite, files))


def _suite(file: FileResult) -> ET.Element:
    faults = [problem for problem in file.problems if problem.severity == "error"]
    suite = junit.suite(
        file.file,
        tests=len(file.results) + bool(faults),
        failures=len(file.results) - file.passed,
        errors=int(bool(faults)),
    )
    if faults:
        case = junit.case(suite, file.file, "the file can be run", 1)
        junit.fault(case, "error", message=str(faults[0]), kind=faults[0].code, lines=map(str, faults))
    for result in file.results:
        case = junit.case(suite, file.file, result.case.name, result.case.position[0])
        seconds = sum(played.observed.elapsed_s for played in result.played)
        case.set("time", "0")
        properties = ET.SubElement(case, "properties")
        ET.SubElement(properties, "property", name="virtual_seconds", value=f"{seconds:.3f}")
        if not result.ok:
            failed = [*result.mismatches, *(one for played in result.played for one in played.mismatches)]
            checks = ", ".join(dict.fromkeys(one.check for one in failed))
            told = failure_text(file.file, result).split("\n")
            junit.fault(case, "failure", message=f"not as expected: {checks}", kind="mismatch", lines=told)
    return suite
