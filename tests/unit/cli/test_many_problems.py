"""A file with thousands of faults, in one line or in many: linear time, and a bounded number of problems."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from gateway.cli import main
from gateway.cli.checked import linted
from gateway.cli.validate import FORMATS
from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.config.format.format import format_bytes
from gateway.policy.problem import MOST_LISTED, number_of
from gateway.simulation.cases import file as cases
from tests.command_line import write

pytestmark = pytest.mark.usefixtures("clean_environment")

MANY: Final = 2_000

KINDS: Final[dict[str, Callable[[int], str]]] = {
    "unknown-provider": lambda n: f"a{n}: [mok/x{n}]",
    "unknown-key": lambda n: f"a{n}: {{chain: [openai/x], retrys{n}: 1}}",
    "unknown-alias": lambda n: f"a{n}: [{{alias: b{n}}}]",
    "unset-variable": lambda n: f"a{n}: 'openai/${{NOPE{n}}}'",
    "duplicate-key": lambda n: f"a: openai/x{n}",
    "bad-name": lambda n: f"'a {n}': openai/x",
    "wrong-type": lambda n: f"a{n}: {n}",
    "bad-duration": lambda n: f"a{n}: {{chain: [openai/x], timeout: {n}q}}",
    "no-provider": lambda n: f"a{n}: x{n}",
}
"""By code, the entry of `models` that has it; with the number of the entry."""
LISTS: Final[dict[str, Callable[[int], str]]] = {
    "chain of unknown-provider": lambda n: f"a: [{', '.join(f'mok/x{number}' for number in range(n))}]",
    "bad-value": lambda n: f"a: {{chain: [openai/x], retry_on: [{', '.join(f'k{number}' for number in range(n))}]}}",
    "duplicate-item": lambda n: f"a: {{chain: [openai/x], retry_on: [{', '.join(f'k{i // 2}' for i in range(n))}]}}",
    "hook-arity": lambda n: f"a: {{chain: [openai/x], hooks: {{pre: [{', '.join(['json.dump'] * n)}]}}}}",
    "secrets": lambda n: f"a: {{chain: [openai/x], {', '.join(f'api_key{i}: sk-{i}-abcdefg' for i in range(n))}}}",
}
"""Entries of `models` with many faults in one list or mapping; with their number."""
LINT: Final = "p{n}: {{kind: openai, base_url: 'http://example.com/v1', api_key: sk-{n}-abcdefghijk}}"
"""A provider with two warnings, one of them for a secret that has to be hidden in each excerpt."""


def in_one_line(entries: list[str]) -> str:
    return f"version: 1\nmodels: {{{', '.join(entries)}}}\n"


def in_many_lines(entries: list[str]) -> str:
    return "version: 1\nmodels:\n" + "".join(f"  {entry}\n" for entry in entries)


SHAPES: Final = [in_one_line, in_many_lines]


def judged(text: str) -> tuple[float, Compiled]:
    """Return the processor's seconds for judging a text, its lint and all excerpts included, and what was compiled."""
    begun_s = time.thread_time()
    compiled = Compiler(environ={}).compile(text.encode(), source="a.yaml")
    linted(compiled, ignore=())
    return time.thread_time() - begun_s, compiled


def assert_linear(short: str, long: str) -> Compiled:
    """Fail unless the long text takes at most twice ten times as long as the short one; the best of three.

    Return the long one, compiled.
    """
    most_s = 0.1 + 20 * min(judged(short)[0] for _ in range(3))
    for _ in range(3):
        taken_s, compiled = judged(long)
        if taken_s <= most_s:
            return compiled
    raise AssertionError(f"{taken_s:.2f} s, and at most {most_s:.2f} s")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("code", KINDS)
def test_thousands_of_faults_are_judged_in_linear_time(code: str, shape: Callable[[list[str]], str]) -> None:
    texts = {number: shape([KINDS[code](n) for n in range(number)]) for number in (MANY // 10, MANY)}
    problems = assert_linear(texts[MANY // 10], texts[MANY]).problems
    assert len(problems) == MOST_LISTED + 1
    assert {problem.code for problem in problems} == {code, "more-problems"}
    assert number_of(problems, "error") in (MANY, MANY - 1)


@pytest.mark.parametrize("kind", LISTS)
def test_thousands_of_faults_in_one_list_are_judged_in_linear_time(kind: str) -> None:
    texts = {number: in_one_line([LISTS[kind](number)]) for number in (MANY // 10, MANY)}
    assert_linear(texts[MANY // 10], texts[MANY])


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_lists_the_first_and_tells_how_many_more_there_are(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.yaml", in_one_line([KINDS["no-provider"](n) for n in range(MANY)]))
    assert main(["validate", "--format", form, "a.yaml"]) == 1
    out = capsys.readouterr().out
    assert len(out) < 2_000_000
    more = "1000 more problems are not listed; correct the first 1000"
    if form == "json":
        (file,) = json.loads(out)["files"]
        assert (len(file["problems"]), file["not_listed"]) == (MOST_LISTED + 1, MANY - MOST_LISTED)
        assert [(one["line"], one["code"], one["message"]) for one in file["problems"][-1:]] == [
            (0, "more-problems", more)
        ]
    elif form == "sarif":
        *results, last = json.loads(out)["runs"][0]["results"]
        assert (len(results), last["ruleId"], last["level"]) == (MOST_LISTED, "more-problems", "error")
        assert last["message"]["text"] == more
        assert last["locations"] == [
            {"physicalLocation": {"artifactLocation": {"uri": "a.yaml", "uriBaseId": "%SRCROOT%"}}}
        ]
    elif form == "junit":
        *suite, last_case = ET.fromstring(out)[0]  # noqa: S314 - our own
        assert (len(suite), last_case.get("name")) == (MOST_LISTED, "more-problems")
    else:
        *lines, before, tallied = out.splitlines()
        assert sum("no-provider" in line for line in lines) == MOST_LISTED
        assert more in before
        assert tallied.startswith(f"{MANY} problems in ")


def test_warnings_that_are_left_out_do_not_crowd_others_out(capsys: pytest.CaptureFixture[str]) -> None:
    providers = ", ".join(LINT.format(n=n) for n in range(MOST_LISTED))
    write("a.yaml", f"version: 1\nproviders: {{{providers}}}\nmodels: {{a: p0/x}}\n")
    assert main(["validate", "a.yaml"]) == 0
    assert "a.yaml: warning: more-problems: 1000 more warnings are not listed" in capsys.readouterr().out
    assert main(["validate", "--ignore", "plain-secret", "a.yaml"]) == 0
    out = capsys.readouterr().out
    assert "more-problems" not in out
    assert out.endswith(f"{MOST_LISTED} warnings\n")


@pytest.mark.parametrize("command", ["explain", "test", "diff", "serve"])
def test_other_commands_list_as_many(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("routes.yaml", in_one_line([KINDS["no-provider"](n) for n in range(MANY)]))
    write("good.yaml", "version: 1\nmodels: {a: mock/echo}\n")
    write("routes.test.yaml", "cases: [{name: a, request: {model: a}, expect: {status: 200}}]\n")
    given = {
        "explain": ["a", "--config", "routes.yaml"],
        "test": ["routes.test.yaml"],
        "diff": ["good.yaml", "routes.yaml"],
        "serve": ["--config", "routes.yaml", "--port", "0"],
    }
    assert main([command, *given[command]]) == 1
    told = "".join(capsys.readouterr())
    assert told.count(" no-provider: ") == MOST_LISTED
    assert "1000 more problems are not listed" in told
    assert f"{MANY} problems" in told


def test_files_of_cases_and_formatting_list_as_many() -> None:
    keys = ", ".join(f"k{n}: 1" for n in range(MANY))
    _, problems = cases.read(f"cases: []\n{keys.replace(', ', chr(10))}\n".encode(), name="a.test.yaml")
    assert (len(problems), problems[-1].code) == (MOST_LISTED + 1, "more-problems")
    twice = ", ".join("a: openai/x" for _ in range(MANY))
    formatted = format_bytes(f"version: 1\nmodels: {{{twice}}}\n".encode(), name="a.yaml")
    assert (len(formatted.problems), formatted.problems[-1].not_listed) == (MOST_LISTED + 1, MANY - MOST_LISTED - 1)
