"""Test cases of clients and groups: what they may ask for, and how much, on the clock of the simulation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.config.compiler.compiler import Compiler
from gateway.policy.table import RoutingTable
from gateway.simulation.cases.compare import compare_cases
from gateway.simulation.cases.file import CaseFile, read
from gateway.simulation.cases.play import play
from gateway.wire.json import Json

ROUTES = """\
version: 1
clients:
  default: {limits: [2 requests/minute]}
  search:
    models: [smart]
    limits: [600 requests/minute, 20 concurrent, {tokens: 3000, per: day, then: {alias: cheap}}]
    share: true
  money: {limits: [{spend: 1, per: day}, {tokens: 1, per: hour}]}
models:
  smart: {chain: [{target: openai/gpt-5.5, price: {input: 100, output: 1000}}]}
  cheap: mock/echo
"""
REFUSED: Json = {"status": 429, "error": "limited", "limited": "2 requests/minute", "retry_after": "30s"}
ANSWERED: Json = {"status": 200, "limited": None, "retry_after": None}


def table(text: str = ROUTES) -> RoutingTable:
    compiled = Compiler(environ={}).compile(text.encode(), source="routes.yaml")
    assert compiled.table is not None, compiled.problems
    return compiled.table


def case_file(expect: Json, *then: Json, **more: Any) -> CaseFile:
    case = {"name": "a case", "request": "smart", "expect": expect, "then": [*then], **more}
    found, problems = read(json.dumps({"cases": [case]}).encode(), name="routes.test.yaml")
    assert found is not None, problems
    return found


def told(
    expect: Json, *then: Json, groups: Mapping[str, str | None] | None = None, of: str = ROUTES, **more: Any
) -> list[tuple[int, str, tuple[str, ...], str | None]]:
    """Play a case, and return its mismatches: request, check, what came instead, message."""
    [case] = case_file(expect, *then, **more).cases
    return [
        (one.number, mismatch.check, mismatch.actual, mismatch.message)
        for one in play(table(of), case, groups=groups).played
        for mismatch in one.mismatches
    ]


def test_the_third_in_a_minute_is_refused_and_one_comes_back_every_30_seconds() -> None:
    assert not told(
        ANSWERED,
        {"times": 1, "expect": REFUSED},
        {"client": "bob", "expect": ANSWERED},
        {"client": "ann", "after": "29.5s", "expect": {**REFUSED, "retry_after": "1s"}},
        {"after": "500ms", "expect": ANSWERED},
        {"after": "1m", "times": 4, "every": "30s", "expect": ANSWERED},
        client="ann",
        times=2,
    )


@pytest.mark.parametrize(
    ("expect", "mismatch"),
    [
        ({"limited": "3 requests/minute"}, ("limited", ("2 requests/minute",))),
        ({"limited": None}, ("limited", ("2 requests/minute",))),
        ({"retry_after": None}, ("retry_after", ("30s",))),
        ({"retry_after": {"at_most": "29s"}}, ("retry_after", ("30s",))),
    ],
)
def test_another_refusal_than_expected_is_a_mismatch(expect: Json, mismatch: tuple[str, tuple[str, ...]]) -> None:
    assert told(ANSWERED, {"expect": {"status": 429, **expect}}, times=2) == [(3, *mismatch, None)]


def test_an_answer_without_retry_after_where_one_is_expected_is_a_mismatch() -> None:
    assert told({"retry_after": "30s"}) == [(1, "retry_after", ("(not there)",), None)]


def test_tokens_that_an_upstream_tells_use_a_day_up_until_midnight() -> None:
    assert not told(
        {"target": "openai/gpt-5.5", "limited": None},
        {"expect": {"target": "mock/echo", "limited": "3000 tokens/day", "status": 200}},
        {"after": "12h", "expect": {"target": "openai/gpt-5.5"}},
        group="search",
        upstream={"openai/*": {"tokens": {"input": 1000, "output": 1500}}},
    )


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("operation", ["chat", "completions", "messages", "responses"])
def test_the_tokens_of_an_outcome_count_on_every_wire(operation: str, stream: bool) -> None:
    request = {"model": "smart", "stream": stream, "max_tokens": 1000}
    assert not told(
        {"target": "openai/gpt-5.5"},
        {"expect": {"target": "openai/gpt-5.5"}},
        {"expect": {"target": "mock/echo"}},
        upstream={"*": {"tokens": {"output": 1000}}},
        operation=operation,
        group="search",
        request=request,
    )


def test_dollars_are_counted_at_the_price_of_the_target() -> None:
    assert not told(
        {"status": 200},
        {"expect": {"status": 429, "limited": "$1/day", "error": "budget_exceeded", "retry_after": "12h"}},
        of=ROUTES.replace(", {tokens: 1, per: hour}", ""),
        group="money",
        request={"model": "smart", "max_tokens": 500},
        upstream={"openai/*": {"tokens": {"input": 10, "output": 600}}},
    )


def test_requests_beside_it_are_being_answered_when_one_comes() -> None:
    assert not told(
        {"status": 429, "limited": "20 concurrent", "retry_after": "1s"},
        {"beside": 19, "expect": {"status": 200, "elapsed": "0s"}},
        {"request": "cheap", "expect": {"status": 403, "error": "model_not_allowed"}, "beside": 0},
        group="search",
        client="ann",
        beside=20,
        request={"model": "smart", "max_tokens": 10, "stream": True},
    )


def test_a_group_that_the_file_lacks_is_a_mismatch_unless_its_403_is_expected() -> None:
    assert not told({"status": 403, "error": "unknown_group"}, group="serach")
    mismatch = told({"status": 403}, group="serach")
    assert mismatch == [(1, "group", (), "`clients` of the file has no group 'serach'; did you mean 'search'?")]
    [(_, _, _, message)] = told({"status": 403}, group="x", of="version: 1\nmodels: {smart: mock/echo}\n")
    assert message == "the file has no `clients`, so there is no group 'x'"


def test_the_keys_file_says_the_group_of_a_client_and_who_is_none() -> None:
    groups = {"ann": None, "cat": "search"}
    assert not told(
        ANSWERED,
        {"client": "ann", "times": 2, "expect": {"status": 200}},
        {"expect": {"status": 429}},
        groups=groups,
        client="cat",
    )
    assert told({"status": 200}, groups=groups, client="cot") == [
        (1, "client", (), "the client keys file has no client 'cot'; did you mean 'cat'?")
    ]


def test_a_client_of_null_is_of_no_group_any_more() -> None:
    assert not told(
        {"status": 200},
        {"client": None, "request": "cheap", "expect": {"status": 200}},
        client="ann",
        group="search",
    )


def test_a_changed_limit_is_a_case_that_newly_fails() -> None:
    cases = case_file(ANSWERED, {"expect": REFUSED}, times=2).cases
    found = compare_cases(table(), table(ROUTES.replace("2 requests", "3 requests")), cases, file="routes.test.yaml")
    [change] = found.changed
    assert (change.verdict, change.request) == ("newly fails", 3)
    assert change.old is not None
    assert (change.old.status, change.old.limited) == (429, "2 requests/minute")


@pytest.mark.parametrize(
    ("keys", "code", "at"),
    [
        ("every: 1s", "every-alone", "every"),
        ("beside: 10, times: 1000", "too-many-requests", "beside"),
        ("beside: -1", "bad-value", "beside"),
        ("group: ''", "bad-value", "group"),
    ],
)
def test_what_makes_no_sense_in_a_case_is_a_problem(keys: str, code: str, at: str) -> None:
    text = f"cases:\n  - {{name: a, request: smart, {keys}, expect: {{status: 200}}}}\n"
    found, [problem] = read(text.encode(), name="routes.test.yaml")
    assert found is None
    assert (problem.code, problem.path) == (code, f"cases[0].{at}")


def test_the_command_reads_the_groups_from_a_keys_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("routes.yaml").write_text(ROUTES)
    Path("routes.test.yaml").write_text(
        "cases:\n  - {name: cat may not, client: cat, request: cheap, expect: {status: 403}}\n"
    )
    Path("keys.txt").write_text("cat a-key-of-cat group=search\n")
    assert main(["test"]) == 1
    assert main(["test", "--client-keys-file", "keys.txt"]) == 0
    monkeypatch.setenv("GATEWAY_CLIENT_KEYS_FILE", "keys.txt")
    assert main(["test"]) == 0
    Path("keys.txt").write_text("cat a-key-of-cat groups=search\n")
    capsys.readouterr()
    assert main(["test"]) == 2
    assert "keys.txt:1: a line is `name key`" in capsys.readouterr().err


def test_a_group_of_which_no_client_asks_is_not_covered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("routes.yaml").write_text(ROUTES)
    Path("routes.test.yaml").write_text(
        "cases:\n"
        "  - {name: who asks, group: search, request: smart, expect: {status: 200}, then:\n"
        "      [{client: null, request: cheap, expect: {status: 200}}]}\n"
    )
    assert main(["test", "--min-coverage", "90"]) == 1
    assert capsys.readouterr().out.splitlines()[1:3] == [
        "routes.yaml: 85% covered, 2 of 2 aliases, 2 of 2 targets, 2 of 3 groups reached; at least 90% are wanted",
        "  groups no case reached:  money",
    ]
    assert main(["test", "--format", "json"]) == 0
    [coverage] = json.loads(capsys.readouterr().out)["coverage"]
    assert (coverage["groups"], coverage["missed_groups"]) == (3, ["money"])
