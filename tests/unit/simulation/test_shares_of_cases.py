"""Test cases with header fields, a client, a clock and a seed, and the shares that they expect of many requests."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.policy.table import RoutingTable
from gateway.simulation.cases.file import read
from gateway.simulation.cases.play import Result, play
from gateway.simulation.cases.share import tolerance_of
from gateway.wire.json import Json
from gateway.words import share_of

ROUTES = b"""\
version: 1
models:
  chat:
    - {target: anthropic/best, when: {header: {x-tier: paid}}}
    - {target: mistral/shop, when: {client: [shop]}}
    - {target: mistral/sunday, when: {during: "sun UTC"}}
    - pool: {openai/big: 90, openai/new: 10}
  agent:
    - {pool: [openai/a, openai/b], pick: sticky, key: {header: x-run}}
"""


def table() -> RoutingTable:
    compiled = Compiler(environ={}).compile(ROUTES, source="routes.yaml")
    assert compiled.table is not None, compiled.problems
    return compiled.table


def played(expect: Json, **more: Any) -> Result:
    case = {"name": "a case", "request": "chat", "expect": expect, **more}
    found, problems = read(json.dumps({"cases": [case]}).encode(), name="routes.test.yaml")
    assert found is not None, problems
    return play(table(), found.cases[0])


def told(expect: Json, **more: Any) -> list[tuple[str, tuple[str, ...], tuple[str, ...], str | None]]:
    return [
        (one.check, one.expected, one.actual, one.message)
        for turn in played(expect, **more).played
        for one in turn.mismatches
    ]


@pytest.mark.parametrize(
    ("more", "target"),
    [
        ({}, "openai/big"),
        ({"headers": {"X-Tier": "paid"}}, "anthropic/best"),
        ({"client": "shop"}, "mistral/shop"),
        ({"client": None, "clock": "2026-11-29T23:59Z"}, "mistral/sunday"),
        ({"clock": "2026-11-30T00:00Z"}, "openai/big"),
        ({"clock": "2026-11-30T00:59+01:00"}, "mistral/sunday"),
    ],
)
def test_a_request_has_what_the_case_says(more: dict[str, Any], target: str) -> None:
    assert played({"target": target}, **more).ok


def test_later_requests_keep_what_they_do_not_say_and_the_clock_goes_on() -> None:
    later = [
        {"expect": {"target": "anthropic/best"}},
        {"headers": {}, "expect": {"target": "mistral/shop"}},
        {"client": None, "expect": {"target": "mistral/sunday"}},
        {"after": "2h", "expect": {"target": "openai/big"}},
    ]
    more = {"headers": {"x-tier": "paid"}, "client": "shop", "clock": "2026-11-29T22:00Z"}
    assert played({"target": "anthropic/best"}, **more, then=later).ok


def test_shares_are_those_of_the_weights_with_every_seed() -> None:
    for seed in range(8):
        assert played({"share": {"openai/big": "90%", "openai/new": 0.1}, "status": 200}, repeat=500, seed=seed).ok


def test_a_seed_decides_the_draws() -> None:
    firsts = {str(played({"status": 200}, seed=seed).played[0].observed.target) for seed in range(40)}
    assert firsts == {"openai/big", "openai/new"}


def test_a_wrong_share_is_told_beside_the_right_one() -> None:
    [(check, expected, actual, message)] = told({"share": {"openai/big": "60%", "openai/*": "10%"}})
    assert (check, message) == ("share", None)
    assert expected == ("openai/big  60% ± 6.2%", "openai/*  10% ± 3.79%")
    assert 0.87 < share_of(actual[0].split()[1]) < 0.93
    assert actual[1] == expected[1]


def test_all_and_none_are_exact() -> None:
    assert played({"share": {"anthropic/best": "100%", "openai/*": "0%"}}, headers={"x-tier": "paid"}, repeat=100).ok
    assert told({"share": {"openai/big": 1}}, repeat=200)[0][1] == ("openai/big  100%",)
    assert told({"share": {"openai/new": 0}}, repeat=200)[0][1] == ("openai/new  0%",)
    assert tolerance_of(1.0, 100) == tolerance_of(0.0, 100) == 0.0
    assert math.isclose(tolerance_of(0.5, 400), 0.1)


def test_a_session_stays_with_its_target() -> None:
    whole = [
        played({"share": {target: "100%"}}, request="agent", headers={"x-run": "r"}, repeat=100).ok
        for target in ("openai/a", "openai/b")
    ]
    assert sorted(whole) == [False, True]


def test_a_share_of_a_sticky_pool_that_cannot_be_is_told_with_the_reason() -> None:
    """All requests of a share are the same, so they have the same key; without one they are drawn."""
    half = {"openai/a": "50%", "openai/b": "50%"}
    [(_, _, actual, _)] = told({"share": half}, request="agent", headers={"x-run": "r"}, repeat=100)
    assert actual[-1] == "(a sticky pool: all of them have the same key, header x-run)"
    assert played({"share": half}, request="agent", repeat=400).ok


def test_what_else_is_expected_holds_for_each_request() -> None:
    [(check, expected, actual, _)] = told({"target": "openai/big", "share": {"openai/big": "90%"}})
    assert (check, expected, actual) == ("target", ("openai/big",), ("openai/new",))


def test_a_share_of_a_target_that_no_chain_has_is_told() -> None:
    assert told({"share": {"openai/bug": "0%"}})[0][3] == (
        "no chain that is asked for has the target 'openai/bug'; did you mean 'openai/big'?"
    )


def test_one_request_of_each_kind_is_kept() -> None:
    result = played({"share": {"openai/new": "10%"}})
    assert {one.observed.target for one in result.played[:2]} == {"openai/big", "openai/new"}
    assert len(result.played) == 2


@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        ({"clock": "noon"}, "bad-clock", "'noon', which is no time; write it in ISO 8601 with its zone, such as"),
        ({"clock": "2026-11-29T09:00"}, "bad-clock", "which has no zone"),
        ({"headers": {"x tier": "a"}}, "bad-header", "'x tier' is no name of a header field"),
        ({"headers": {"x-tier": "a\nb"}}, "bad-header", "has a control character"),
        ({"headers": {"x-tier": "a", "X-Tier": "b"}}, "bad-header", "there is 'x-tier' already"),
        ({"repeat": 100}, "repeat-alone", "no share is expected here"),
        ({"expect": {"share": {}}}, "empty-share", "no share is expected here; write one"),
        ({"expect": {"share": {"a/*b": "1%"}}}, "misplaced-star", "may have one `*`, at its end"),
        ({"expect": {"share": {"a/b": "70%", "a/c": 0.4}}}, "shares-over-all", "the shares add up to 110%"),
        ({"expect": {"share": {"a/b": "90"}}}, "bad-share", "write a percentage such as 5%, or a number from 0 to 1"),
        ({"expect": {"share": {"a/b": "0.9"}}}, "bad-share", "'0.9' is text, not a number; leave the quotes out"),
        ({"expect": {"share": {"a/b": "101%"}}}, "bad-share", "is no share"),
        ({"repeat": 5, "expect": {"share": {"a/b": "1%"}}}, "bad-value", "100"),
        ({"seed": -1}, "bad-value", "0"),
        (
            {"then": [{"times": 5, "expect": {"share": {"a/b": "1%"}}}]},
            "times-and-share",
            "`times` and `share` exclude each other; say how often by `repeat`",
        ),
    ],
)
def test_nonsense_is_a_problem(case: dict[str, Any], code: str, said: str) -> None:
    whole = {"name": "a case", "request": "chat", "expect": {"status": 200}, **case}
    found, [problem] = read(json.dumps({"cases": [whole]}).encode(), name="routes.test.yaml")
    assert found is None
    assert (problem.code, said in problem.message) == (code, True), problem.message
