"""`gateway explain` for a client: its group, what it may ask for, and what a request takes of its limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

ROUTES = """\
version: 1
clients:
  default: {limits: [2 requests/minute]}
  search:
    models: [smart]
    limits: [600 requests/minute, {tokens: 500, per: minute}, {spend: 1, per: day, then: {alias: cheap}}]
    share: true
hooks: {pre: [hooks_of_clients.shorten]}
models:
  smart: {chain: [{target: openai/gpt-5.5, price: {input: 10, output: 100}}]}
  cheap: mock/echo
"""
HOOKS = """\
def shorten(request):
    return {**request, "messages": [{"role": "user", "content": "x" * 40}]}
"""
BODY = {"messages": [{"role": "user", "content": "x" * 4000}], "max_tokens": 300}


@pytest.fixture(autouse=True)
def a_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("routes.yaml").write_text(ROUTES)
    Path("hooks_of_clients.py").write_text(HOOKS)
    Path("body.json").write_text(json.dumps(BODY))
    Path("keys.txt").write_text("cat a-key-of-cat group=search\nann a-key-of-ann\n")


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main(["explain", *argv, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_request_takes_what_its_pre_hooks_leave_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    client = told(capsys, "smart", "--client", "cat", "--group", "search", "--request", "body.json")["client"]
    assert client["expected_tokens"] == {"input": 10, "output": 300}
    assert [(one["limit"], one["takes"], one["then"]) for one in client["limits"]] == [
        ("600 requests/minute", 1, None),
        ("500 tokens/minute", 310, None),
        ("$1/day", 0.0301, "cheap"),
    ]
    assert (client["name"], client["group"], client["models"], client["share"]) == ("cat", "search", ["smart"], True)
    assert client["refused"] is client["sent_on"] is None


def test_a_request_takes_a_whole_amount_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    client = told(capsys, "smart", "--group", "search", "--skip-hooks")["client"]
    assert client["name"] == "client-of-search"
    assert [one["takes"] for one in client["limits"]] == [1, 500, 0.1]


def test_a_model_that_is_not_the_clients_is_called_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys, "cheap", "--client", "cat", "--group", "search")
    assert shown["client"]["refused"]["code"] == "model_not_allowed"
    assert (shown["walk"]["status"], shown["walk"]["error"], shown["walk"]["calls"]) == (403, "model_not_allowed", [])


def test_what_a_client_may_not_ask_for_has_no_worst_case(capsys: pytest.CaptureFixture[str]) -> None:
    for alias, is_allowed in (("cheap", False), ("smart", True)):
        assert main(["explain", alias, "--client", "cat", "--group", "search"]) == 0
        text = capsys.readouterr().out
        assert ("403 model_not_allowed" not in text, "worst case" in text) == (is_allowed, is_allowed)


@pytest.mark.parametrize(("client", "group"), [("cat", "search"), ("ann", "default")])
def test_the_keys_file_says_the_group(client: str, group: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys, "smart", "--client", client, "--client-keys-file", "keys.txt")
    assert shown["client"]["group"] == group


def test_a_client_whose_group_nothing_tells_is_said_to_be_taken_for_one_of_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    note = "note: 'search' is taken for a client of 'default'"
    for argv, is_told in (([], True), (["--group", "search"], False), (["--client-keys-file", "keys.txt"], False)):
        assert main(["explain", "smart", "--client", "cat" if argv else "search", *argv]) == 0
        assert capsys.readouterr().err.startswith(note) is is_told


def test_the_text_has_a_row_for_each_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "smart", "--client", "cat", "--group", "search", "--request", "body.json"]) == 0
    text = capsys.readouterr().out
    assert text[text.index("\nclient\n") : text.index("\nhooks\n")] == (
        "\nclient\n"
        "  name         cat, of the group search\n"
        "  may ask for  smart\n"
        "  limits       600 requests/minute: this request takes 1\n"
        "               500 tokens/minute: this request takes 310 tokens\n"
        "               $1/day: this request takes $0.0301, then cheap\n"
        "               one count for all clients of the group\n"
        "  reserved     10 tokens of input and 300 of output, until the answer tells\n"
    )


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (
            ["--group", "serach"],
            "is 'serach', which `clients` of the file does not have; did you mean 'search'?",
        ),
        (["--group", ""], "--group is empty; give the name of a group of `clients`, or leave it out"),
        (
            ["--client", "cot", "--client-keys-file", "keys.txt"],
            "--client is 'cot', who has no key in the client keys file; did you mean 'cat'?",
        ),
    ],
)
def test_an_unknown_client_or_group_is_told(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "smart", *argv]) == 2
    assert complaint in capsys.readouterr().err


def test_without_a_client_nobodys_limits_count(capsys: pytest.CaptureFixture[str]) -> None:
    Path("routes.yaml").write_text(ROUTES.replace("default: {", "default: {models: [], "))
    shown = told(capsys, "smart", "--request", "body.json")
    assert "client" not in shown
    assert (shown["request"]["refused"], shown["walk"]["status"]) == (None, 200)
    refused = told(capsys, "smart", "--request", "body.json", "--client", "ann")
    assert (refused["walk"]["status"], refused["walk"]["error"]) == (403, "model_not_allowed")


def test_a_file_without_clients_has_no_groups(capsys: pytest.CaptureFixture[str]) -> None:
    Path("routes.yaml").write_text("version: 1\nmodels: {smart: mock/echo}\n")
    assert main(["explain", "smart", "--group", "search"]) == 2
    assert "; the file has no `clients`" in capsys.readouterr().err
    assert "client" not in told(capsys, "smart", "--client", "ann")
