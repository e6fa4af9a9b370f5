"""What the tables show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.failover.judge import Verdict
from tests.failover.routes import ROUTES, all_scenarios, scenarios_on
from tests.failover.runner import Result
from tests.failover.scenario import BrokenOff
from tests.failover.scenarios import SCENARIOS
from tests.failover.tables import as_run, load, one_run, save, short_sums, side_by_side, summary, sums
from tests.paths import ROOT

PASS = Verdict(score="pass", caller="complete", calls=(1, 0))
FAIL = Verdict(
    score="fail", caller="hang", calls=(3, 0), told=("hang",), conduct=("target 1 was called 3 times, not 1",)
)
FIRST, SECOND, THIRD = SCENARIOS[:3]


def test_one_run_shows_each_scenario_with_both_sides_and_the_totals() -> None:
    text = one_run(as_run("us", [Result(FIRST, PASS), Result(SECOND, FAIL)]))
    assert text.splitlines() == [
        "scenario        score  the caller got  calls",
        "plain-healthy   pass   complete        1+0",
        "stream-healthy  fail   hang            3+0    hang; target 1 was called 3 times, not 1",
        "",
        "us: 2 scenarios: 1 pass, 0 ok, 1 fail (1 for what the caller got)",
    ]


def test_a_run_over_several_routes_ends_with_the_sums_of_each() -> None:
    messages = scenarios_on(next(route for route in ROUTES if route.name == "messages-to-chat"))[0]
    text = one_run(as_run("us", [Result(FIRST, PASS), Result(SECOND, FAIL), Result(messages, PASS)]))
    assert "plain-healthy@messages-to-chat  pass" in text
    assert text.splitlines()[-8:] == [
        "",
        "| client | upstream | scenarios | pass | ok | fail |",
        "|---|---|---:|---:|---:|---:|",
        "| chat | the same | 2 | 1 | 0 | 1 |",
        "| messages | chat | 1 | 1 | 0 | 0 |",
        "| **all** |  | **3** | **2** | **0** | **1** |",
        "",
        "us: 3 scenarios: 2 pass, 0 ok, 1 fail (1 for what the caller got)",
    ]


def test_the_sums_in_the_docs_are_those_of_the_scenarios() -> None:
    """`test_suite` and `make failover` hold that each scenario has the score that it expects."""
    ok = replace(PASS, score="ok")
    expected = [Result(each, ok if isinstance(each.expect, BrokenOff) else PASS) for each in all_scenarios()]
    run = as_run("this gateway", expected)
    docs = (ROOT / "docs" / "failover.md").read_text(encoding="utf-8")
    assert sums(run) in docs
    assert summary(run) in docs
    assert short_sums(run) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"`make failover`: {len(expected)} ways" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_saved_runs_stand_side_by_side_and_modes_that_went_alike_share_a_line(tmp_path: Path) -> None:
    us = as_run("us", [Result(FIRST, PASS), Result(SECOND, PASS), Result(THIRD, PASS)])
    them = as_run("them", [Result(FIRST, PASS), Result(SECOND, PASS)])
    for run in (us, them):
        save(run, tmp_path / run["name"])
    lines = side_by_side([load(tmp_path / "us"), load(tmp_path / "them")]).splitlines()
    assert lines[0] == "| scenario | mode | us | them |"
    assert lines[2:] == [
        "| healthy | plain, stream | pass | pass |",
        "| 500-once | plain | pass | – |",
        "| **all** |  | **3 pass, 0 ok, 0 fail** | **2 pass, 0 ok, 0 fail** |",
    ]
