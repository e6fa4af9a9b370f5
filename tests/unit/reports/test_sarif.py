"""Problems in SARIF 2.1.0, validated by the part of its schema that we use."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.cli import main
from gateway.config.problems import codes
from gateway.policy.problem import Problem
from gateway.reports.problems import Checked
from gateway.reports.sarif import as_log
from gateway.wire.json import JsonObject
from tests.command_line import BAD, GOOD, KEYLESS, gateway, write
from tests.paths import CASES

pytestmark = pytest.mark.usefixtures("clean_environment")

SCHEMA = json.loads((CASES / "sarif-2.1.0.subset.schema.json").read_text())


def run_of(log: Any) -> JsonObject:
    """Return the only run of a log after validating the log."""
    faults = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(log)]
    assert faults == []
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [result["ruleId"] for result in run["results"]]
    assert isinstance(run, dict)
    return run


def places(run: JsonObject) -> list[Any]:
    """Return (address, line, column) of each result."""
    found = []
    for result in run["results"]:
        for location in result.get("locations", [{"physicalLocation": {}}]):
            physical = location["physicalLocation"]
            region = physical.get("region", {})
            uri = physical.get("artifactLocation", {}).get("uri")
            found.append((uri, region.get("startLine"), region.get("startColumn")))
    return found


def problem(code: str = "bad-name", **changes: Any) -> Problem:
    values: dict[str, Any] = {"line": 3, "column": 9, "code": code, "path": "models.fast", "message": "no such {0}"}
    return Problem(**{**values, **changes})


def test_every_problem_is_a_result_of_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    names = [write("bad.yaml", BAD), write("good.yaml", GOOD), write("keyless.yaml", KEYLESS), "none.yaml"]
    assert main(["validate", "--format", "sarif", *names]) == 2
    run = run_of(json.loads(capsys.readouterr().out))
    assert [(result["ruleId"], result["level"]) for result in run["results"]] == [
        ("no-provider", "error"),
        ("no-provider", "error"),
        ("unset-variable", "warning"),
        ("unreadable-file", "error"),
    ]
    assert places(run) == [
        ("bad.yaml", 3, 9),
        ("bad.yaml", 4, 21),
        ("keyless.yaml", 3, 68),
        ("none.yaml", None, None),
    ]
    assert run["results"][0]["message"]["text"].startswith("models.fast: 'nowhere' names no provider; ")
    assert (run["columnKind"], run["invocations"]) == ("unicodeCodePoints", [{"executionSuccessful": False}])


def test_a_rule_says_what_its_page_says_and_how_to_see_it() -> None:
    run = run_of(as_log([Checked(file="a", problems=(problem(),))]))
    (rule,) = run["tool"]["driver"]["rules"]
    assert rule["shortDescription"]["text"] == "A name holds what such a name cannot hold"
    for help_text in rule["help"].values():
        assert "gateway validate --explain bad-name" in help_text
        assert "fast-model: openai/gpt-4o-mini" in help_text


def test_every_code_makes_a_valid_rule_within_the_lengths_that_github_shows() -> None:
    run = run_of(as_log([Checked(file="a", problems=tuple(problem(code) for code in codes()))]))
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(codes())
    assert max(len(rule["fullDescription"]["text"]) for rule in rules) <= 1024


def test_good_files_make_an_empty_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--format", "sarif", write("a.yaml", GOOD)]) == 0
    run = run_of(json.loads(capsys.readouterr().out))
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])
    assert run["invocations"] == [{"executionSuccessful": True}]


def test_a_result_is_known_again_when_its_line_moves() -> None:
    told = (problem(), problem(line=30, column=1), problem(path="models.slow"), problem("bad-target"))
    prints = [
        tuple(result["partialFingerprints"].values())
        for result in run_of(as_log([Checked(file="a", problems=told)]))["results"]
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("./deploy//routes.yaml", "deploy/routes.yaml"),
        ("50% off: a,b #1?.yaml", "50%25%20off%3A%20a%2Cb%20%231%3F.yaml"),
        ("wärme/路由.yaml", "w%C3%A4rme/%E8%B7%AF%E7%94%B1.yaml"),
        (os.fsdecode(b"caf\xe9.yaml"), "caf%E9.yaml"),
        ("/etc/a b.yaml", "file:///etc/a%20b.yaml"),
    ],
)
def test_addresses_are_relative_and_encoded(name: str, uri: str) -> None:
    assert places(run_of(as_log([Checked(file=name, problems=(problem(),))]))) == [(uri, 3, 9)]


def test_standard_input_has_a_place_for_code_scanning_and_what_code_added_no_line() -> None:
    done = gateway("validate", "-", "--format", "sarif", stdin=BAD)
    assert places(run_of(json.loads(done.stdout))) == [("stdin", 3, 9), ("stdin", 4, 21)]
    assert places(run_of(as_log([Checked(file="a", problems=(problem(line=0, column=0),))]))) == [("a", None, None)]


def test_what_a_strangers_file_holds_is_escaped() -> None:
    hostile = "a\x00\x1b[31m\ud800\u202e\n"
    run = run_of(
        json.loads(json.dumps(as_log([Checked(file="a", problems=(problem(message=hostile, path=hostile),))])))
    )
    shown = "a\\x00\\x1b[31m\\ud800\\u202e\\n"
    assert run["results"][0]["message"]["text"] == f"{shown}: {shown}"
