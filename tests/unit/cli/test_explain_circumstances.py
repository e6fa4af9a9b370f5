"""`gateway explain` with header fields, a client and a time: which steps a request takes, and each pool's order."""

from __future__ import annotations

import json
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
