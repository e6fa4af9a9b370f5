"""JUnit's XML, which CI systems show: what reports of every sort are made of."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from gateway.reports.problems import printable


def document(name: str, suites: Iterable[ET.Element]) -> str:
    """Return the whole report, with the suites' numbers added up."""
    root = ET.Element("testsuites", name=name)
    root.extend(suites)
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def suite(file: str, *, tests: int, failures: int, errors: int) -> ET.Element:
    """Return a suite for one file, still without its cases."""
    return ET.Element(
        "testsuite",
        name=printable(file),
        tests=str(tests),
        failures=str(failures),
        errors=str(errors),
        skipped="0",
    )


def case(suite: ET.Element, file: str, name: str, line: int) -> ET.Element:
    """Add a case, passed so far, to a suite. XML cannot hold most control characters: all of them are escaped."""
    return ET.SubElement(
        suite, "testcase", classname=printable(file), name=printable(name), file=printable(file), line=str(line)
    )


def fault(case: ET.Element, tag: str, *, message: str, kind: str, lines: Iterable[str]) -> None:
    """Let a case end in `tag`: a `failure`, or an `error` that kept it from being run."""
    ET.SubElement(case, tag, message=printable(message), type=kind).text = "\n".join(map(printable, lines))
