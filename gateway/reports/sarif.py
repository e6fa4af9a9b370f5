"""Problems in SARIF 2.1.0, for code scanning services and editors.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway._version import __version__
from gateway.config.problems import page
from gateway.policy.problem import Problem
from gateway.reports.code_pages import explain, how_to_explain
from gateway.reports.problems import PLAIN, STDIN, Checked, in_repository
from gateway.wire.json import JsonObject
from gateway.words import printable

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def as_log(files: Sequence[Checked]) -> JsonObject:
    """Return one run with a result for each problem, and a rule for each code among them."""
    codes = sorted({problem.code for file in files for problem in file.problems})
    rules = list(map(_rule, codes))
    run = {
        "tool": {"driver": {"name": "gateway validate", "semanticVersion": __version__, "rules": rules}},
        "invocations": [{"executionSuccessful": all(file.readable for file in files)}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(file, problem, codes.index(problem.code)) for file in files for problem in file.problems],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> JsonObject:
    rule: JsonObject = {"id": code}
    found = page(code)
    if found is not None:
        rule["shortDescription"] = {"text": found.summary}
        rule["fullDescription"] = {"text": found.meaning}
        markdown = f"{found.markdown}\n\nOn the command line: `{how_to_explain(code)}`"
        rule["help"] = {"text": f"{explain(code, PLAIN)}\n\n{how_to_explain(code)}", "markdown": markdown}
    return rule


def _result(file: Checked, problem: Problem, index: int) -> JsonObject:
    path = f"{problem.path}: " if problem.path else ""
    identity = f"{problem.code}\0{problem.path}".encode(errors="surrogatepass")
    result: JsonObject = {
        "ruleId": problem.code,
        "ruleIndex": index,
        "level": problem.severity,
        "message": {"text": printable(f"{path}{problem.message}")},
        # Without the line: a result keeps its identity when lines are added above it.
        "partialFingerprints": {"codeAndPath/v1": hashlib.sha256(identity).hexdigest()[:32]},
    }
    place: JsonObject = {"artifactLocation": _artifact(file.place(problem))}
    if problem.line:
        place["region"] = {"startLine": problem.line, "startColumn": problem.column}
    result["locations"] = [{"physicalLocation": place}]
    return result


def _artifact(name: str) -> JsonObject:
    """Return a file's address: relative to the repository, else absolute. Code scanning refuses a result without one.

    https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support
    """
    if name == STDIN:
        return {"uri": "stdin"}
    path = in_repository(name)
    if os.path.isabs(path):
        return {"uri": Path(path).as_uri()}
    return {"uri": quote(os.fsencode(path)), "uriBaseId": "%SRCROOT%"}
