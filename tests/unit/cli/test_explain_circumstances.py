"""`gateway explain` with header fields, a client and a time: which steps a request takes, and each pool's order."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

ROUTES = """\
version: 1
providers:
  own: {kind: mock}
models:
  smart:
    chain:
      - {target: own/paid, when: {header: {x-tier: paid}}}
      - {target: own/shop, when: {client: [shop]}}
      - {target: own/night, when: {during: "mon-fri 22:00-06:00 Europe/Berlin"}}
      - pool: {own/big: 9, own/small: 1}
  agent:
    - {pool: [own/a, own/b, own/c], pick: sticky, key: {header: x-run}}
"""


@pytest.fixture(autouse=True)
def a_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("routes.yaml").write_text(ROUTES)


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main(["explain", *argv, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("argv", "target", "unmet"),
    [
        (["--header", "x-tier=paid"], "own/paid", [None, "client", "during"]),
        (["--header", "X-Tier=paid", "--client", "shop"], "own/paid", [None, None, "during"]),
        (["--client", "shop"], "own/shop", ["header x-tier", None, "during"]),
        (["--header", "x-tier=free"], "own/big", ["header x-tier", "client", "during"]),
    ],
)
def test_conditions_are_asked_for_what_is_supposed(
    argv: list[str], target: str, unmet: list[str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = told(capsys, "smart", *argv, "--at", "2026-11-30T12:00Z")
    assert shown["walk"]["answered"] == target
    assert [one["unmet"] for one in shown["conditions"]] == unmet
    why = "passed over: the request does not meet its condition: "
    skipped = [one["why"] for one in shown["walk"]["not_called"] if one["why"].startswith("passed over")]
    assert skipped == [why + part for part in unmet if part is not None]


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        ("2026-11-29T22:30Z", False),  # a Sunday
        ("2026-11-30T20:59Z", False),
        ("2026-11-30T21:00Z", True),
        ("2026-12-01T05:59:59+01:00", True),
        ("2026-12-01T06:00+01:00", False),
    ],
)
def test_the_clock_is_set(at: str, holds: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "smart", "--at", at)["conditions"][2]["holds"] is holds


def test_a_request_with_a_body_is_sent_in_the_same_circumstances(capsys: pytest.CaptureFixture[str]) -> None:
    Path("body.json").write_text('{"messages": [{"role": "user", "content": "hi"}]}')
    argv = ["smart", "--request", "body.json", "--at", "2026-11-30T23:00Z"]
    shown = told(capsys, *argv)
    assert shown["walk"]["answered"] == "own/night"
    assert shown["request"]["sent"][0]["messages"]
    assert main(["explain", *argv, "--header", "x-tier=paid"]) == 0
    out = capsys.readouterr().out
    assert "step 4, 5  weighted  own/big 90%, own/small 10%" in out
    assert "step 1     when      holds" in out


def test_a_sticky_pool_has_the_order_of_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    orders = {run: told(capsys, "agent", "--header", f"x-run={run}")["pools"][0] for run in "abcdefgh"}
    assert {one["key"] for one in orders.values()} == {"header x-run"}
    assert len({one["order"][0] for one in orders.values()}) > 1
    assert told(capsys, "agent", "--header", "x-run=a")["pools"][0] == orders["a"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--header", "x-tier"], "--header is 'x-tier'; write NAME=VALUE, such as x-tier=paid"),
        (
            ["--header", "x-tier: paid=1"],
            "'x-tier: paid' is no name of a header field; write letters, digits and dashes",
        ),
        (["--header", "=paid"], "'' is no name of a header field"),
        (["--header", "x-tier=a\nb"], "the value of 'x-tier' has a control character"),
        (["--header", "a=1", "--header", "A=2"], "--header has 'a' twice; give each header field once"),
        (["--client", ""], "--client is empty"),
        (["--seed", "-1"], "--seed is '-1'; write a whole number from 0 to 4294967295"),
        (["--seed", "4294967296"], "--seed is '4294967296'; write a whole number"),
        (["--seed", "9" * 5000], "--seed is '999"),
        (["--seed", "٣"], "--seed is '٣'; write a whole number"),
        (["--at", "noon"], "--at is 'noon', which is no time; write it in ISO 8601 with its zone, such as 2026-11-29T"),
        (["--at", "2026-11-29T09:00"], "--at is '2026-11-29T09:00', which has no zone; write it in ISO 8601"),
        (["--at", "0001-01-01T00:00+14:00"], "which is too far away; write a year from 1970 to 2999"),
    ],
)
def test_a_bad_value_is_told_with_its_option_and_what_would_be_right(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "smart", *argv]) == 2
    assert said in capsys.readouterr().err


def test_a_seed_makes_other_draws_and_the_same_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    seeds = [str(seed) for seed in range(40)]
    first = {seed: told(capsys, "smart", "--at", "2026-11-30T12:00Z", "--seed", seed) for seed in seeds}
    assert {one["walk"]["answered"] for one in first.values()} == {"own/big", "own/small"}
    assert {one["pools"][0]["order"][0] for one in first.values()} == {"own/big", "own/small"}
    assert told(capsys, "smart", "--at", "2026-11-30T12:00Z", "--seed", "7") == first["7"]
    assert told(capsys, "smart", "--at", "2026-11-30T12:00Z") == first["0"]


def test_the_same_draws_decide_who_gets_a_request_as_sent(capsys: pytest.CaptureFixture[str]) -> None:
    Path("body.json").write_text('{"messages": [{"role": "user", "content": "hi"}]}')
    for seed in range(30):
        argv = ["smart", "--request", "body.json", "--at", "2026-11-30T12:00Z", "--seed", str(seed)]
        assert main(["explain", *argv]) == 0
        out = capsys.readouterr().out
        picked = "own/small" if "this request: own/small" in out else "own/big"
        assert f"{picked}  answers" in out.replace("own/big    answers", "own/big  answers")


HOOKS = """\
def long(params):
    return {**params, "messages": params["messages"] * 1000, "metadata": {"tier": "paid"}}

def refuse(params):
    raise ValueError("not this one")
"""
HOOKED = """\
version: 1
providers:
  own: {kind: mock}
models:
  smart:
    chain:
      - {target: own/long, when: {tokens: "> 1k"}}
      - {target: own/paid, when: {metadata: {tier: paid}}}
      - own/any
    hooks: {pre: [own_hooks.HOOK]}
  headers:
    chain:
      - {target: own/paid, when: {header: {x-tier: paid}}}
      - own/any
    hooks: {pre: [own_hooks.long]}
  nested: {chain: [{target: own/long, when: {tokens: "> 1k"}}, {alias: smart}]}
"""
BODY = '{"messages": [{"role": "user", "content": "hello there, and so on"}]}'


class TestConditionsAreReadAfterThePreHooks:
    @pytest.fixture(autouse=True)
    def with_hooks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sys.modules.pop("own_hooks", None)
        monkeypatch.setattr(sys, "path", [*sys.path])
        (tmp_path / "own_hooks.py").write_text(HOOKS)
        (tmp_path / "body.json").write_text(BODY)
        self.write("long")

    def write(self, hook: str) -> None:
        Path("routes.yaml").write_text(HOOKED.replace("HOOK", hook))

    def test_a_request_is_read_as_they_leave_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = told(capsys, "smart", "--request", "body.json")
        assert [one["holds"] for one in shown["conditions"]] == [True, True]
        assert (shown["pre_hooks"], shown["walk"]["answered"]) == ("run", "own/long")
        assert main(["explain", "smart", "--request", "body.json"]) == 0
        assert "not run here" not in capsys.readouterr().out

    def test_a_hook_that_ends_the_request_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.write("refuse")
        assert told(capsys, "smart", "--request", "body.json")["pre_hooks"] == "ended"
        assert main(["explain", "smart", "--request", "body.json"]) == 0
        out = capsys.readouterr().out
        assert "a pre hook ends the request; this is the request as it came" in out
        assert "nothing is sent" in out

    @pytest.mark.parametrize("argv", [["smart"], ["smart", "--request", "body.json", "--skip-hooks"]])
    def test_it_says_so_where_they_do_not_run(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        shown = told(capsys, *argv)
        assert [one["holds"] for one in shown["conditions"]] == [False, False]
        assert shown["pre_hooks"] == "not run"
        assert main(["explain", *argv]) == 0
        assert "not run here; a pre hook may change what holds" in capsys.readouterr().out

    def test_what_they_cannot_change_needs_no_such_word(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert told(capsys, "headers")["pre_hooks"] == "none"

    def test_hooks_of_a_nested_alias_come_too_late_for_conditions(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = told(capsys, "nested", "--request", "body.json")
        assert [one["holds"] for one in shown["conditions"]] == [False, False, False]
        assert (shown["pre_hooks"], shown["walk"]["answered"]) == ("none", "own/any")

    def test_a_request_is_for_a_name_and_not_for_a_wildcard(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("routes.yaml").write_text('version: 1\nmodels: {"team/*": "mock/*"}\n')
        assert main(["explain", "team/*", "--request", "body.json"]) == 2
        assert "--request is for a name that team/* takes, such as team/model" in capsys.readouterr().err
        assert main(["explain", "team/model", "--request", "body.json"]) == 0
