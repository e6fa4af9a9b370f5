"""Scripted upstreams: failures by name; mock, `explain` and `test` play a script in the same way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.adapters.base import Call
from gateway.adapters.mock import MockAdapter, OutcomeOf
from gateway.errors import UsageError
from gateway.policy.failures import Kind
from gateway.policy.table import Route, RoutingTable, Step
from gateway.policy.target import ScriptedOutcome
from gateway.simulation import clock as virtual
from gateway.simulation.cases.file import scripted
from gateway.simulation.explain import explain
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import Script, best_match, read_failure
from gateway.wire.json import JsonObject
from tests.compiling import route


def calls(of: Route, *fails: str, stream: bool = False) -> list[tuple[str, str | None, int | None, float]]:
    read = dict(read_failure(text, of, option="--fail") for text in fails)
    walk = explain(of.alias, of, read, request={"stream": stream}, mock=MockAdapter()).walk
    return [
        (of.steps[event.step].target.name, event.kind, event.status, event.ended_s - event.started_s)
        for event in walk.events
    ]


def mocked(*targets: str, script: str = "[{text: hi}]", hold: str = "first_token") -> Route:
    chain = ", ".join(f"{{target: {target}, retries: 1, timeout: 10s}}" for target in targets)
    return route(f"""\
providers:
  drill: {{kind: mock, script: {script}}}
models:
  fast: {{chain: [{chain}], stream: {{hold: {hold}}}}}
""")


@pytest.mark.parametrize(
    ("target", "plain", "stream", "held"),
    [
        ("mock/echo", (None, 200, 0), (None, 200, 0), (None, 200, 0)),
        ("mock/slow-2s", (None, 200, 2), (None, 200, 2), (None, 200, 2)),
        ("mock/status-404", (Kind.NOT_FOUND, 404, 0), (Kind.NOT_FOUND, 404, 0), (Kind.NOT_FOUND, 404, 0)),
        ("mock/slow-20s", (Kind.TIMEOUT, None, 10), (Kind.TIMEOUT, None, 10), (Kind.TIMEOUT, None, 10)),
        ("mock/cut", (Kind.BAD_RESPONSE, 200, 0), (None, 200, 0), (Kind.BAD_RESPONSE, 200, 0)),
        ("mock/stall", (Kind.TIMEOUT, None, 10), (None, 200, 0), (Kind.TIMEOUT, None, 10)),
    ],
)
def test_a_mocks_name_says_what_comes_of_a_call(
    target: str,
    plain: tuple[Kind | None, int | None, float],
    stream: tuple[Kind | None, int | None, float],
    held: tuple[Kind | None, int | None, float],
) -> None:
    assert calls(mocked(target))[0] == (target, *plain)
    assert calls(mocked(target), stream=True)[0] == (target, *stream)
    assert calls(mocked(target, hold="full"), stream=True)[0] == (target, *held)


@pytest.mark.parametrize("hold", ["first_token", "full"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "outcome",
    [
        {},
        {"text": "one two three"},
        {"delay": "2s"},
        {"delay": "20s"},
        {"status": 503},
        {"status": 429, "retry_after": "2s"},
        {"status": 404, "delay": "1s"},
        {"text": "one two three", "cut": 0},
        {"text": "one two three", "cut": 2},
        {"text": "one two three", "stall": 0},
        {"text": "one two three", "stall": 2},
        {"text": "one two three", "cut": 1, "stall": 1},
    ],
    ids=str,
)
def test_mock_explain_and_test_play_an_outcome_the_same_way(outcome: JsonObject, stream: bool, hold: str) -> None:
    script = json.dumps([outcome, {"text": "fine"}])
    mock = mocked("drill/a", "drill/b", script=script, hold=hold)
    relayed = replace(mock, steps=tuple(_relayed(step) for step in mock.steps))
    # Targets of a mock provider share one script; in a test case each has its own.
    shared = OneAfterTheOther([scripted(outcome), scripted({"text": "fine"})])
    by_mock, by_test = _asked(mock, Script({}), stream=stream), _asked(relayed, shared, stream=stream)
    told = explain("fast", mock, {}, request={"stream": stream}, mock=MockAdapter()).walk
    assert attempts(by_mock) == attempts(by_test)
    assert (by_mock.status, by_mock.elapsed_s, by_mock.broken) == (by_test.status, by_test.elapsed_s, by_test.broken)
    if not by_mock.broken:  # `explain` ends at the first content, before such a break
        begun = [(event.kind, event.status, event.started_s) for event in told.events]
        assert begun == [(one.kind, one.status, one.started_s) for one in by_mock.attempts]


class OneAfterTheOther:
    """Plays one list of outcomes for all targets, as a mock provider does."""

    def __init__(self, outcomes: Sequence[ScriptedOutcome]) -> None:
        self._outcomes = list(outcomes)

    def __call__(self, call: Call) -> ScriptedOutcome:
        return self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]


def _relayed(step: Step) -> Step:
    endpoint = replace(step.target.endpoint, adapter="relay", wires=None, script=())
    return replace(step, target=replace(step.target, endpoint=endpoint))


def _asked(of: Route, script: OutcomeOf, *, stream: bool) -> Observed:
    async def ask() -> Observed:
        table = RoutingTable(generation=1, routes={"fast": of})
        request = {"model": "fast", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        return await Simulator(table, script).ask(request)

    return virtual.run(ask())


def attempts(seen: Observed) -> list[tuple[str, str | None, int | None, float, float]]:
    return [(one.target, one.kind, one.status, one.started_s, one.ended_s) for one in seen.attempts]


def test_a_script_is_played_over_all_targets_of_its_provider() -> None:
    of = mocked(
        "drill/a", "drill/b", script="[{status: 500, delay: 1s}, {status: 404}, {status: 429, retry_after: 2s}]"
    )
    assert calls(of) == [
        ("drill/a", "server_error", 500, 1.0),
        ("drill/a", "not_found", 404, 0.0),
        ("drill/b", "rate_limit", 429, 0.0),
        ("drill/b", "rate_limit", 429, 0.0),
    ]


def test_a_stall_before_the_first_content_is_a_timeout_and_a_cut_there_a_bad_response_to_be_retried() -> None:
    of = mocked("drill/a", "drill/b", script="[{stall: 0}, {cut: 0, stall: 3}, {cut: 3, stall: 0}]")
    assert calls(of, stream=True) == [
        ("drill/a", "timeout", None, 10.0), ("drill/b", "bad_response", 200, 0.0), ("drill/b", "timeout", None, 10.0),
    ]  # fmt: skip


def test_what_is_named_wins_over_what_a_mock_does() -> None:
    of = mocked("mock/status-503", "drill/b")
    assert calls(of, "mock/*=auth") == [("mock/status-503", "auth", 401, 0.0), ("drill/b", None, 200, 0.0)]
    assert calls(of, "mock/*=auth", "mock/status-503=timeout")[0] == ("mock/status-503", "timeout", None, 10.0)


@pytest.mark.parametrize(
    ("text", "failing"),
    [
        ("drill/b=rate_limit", ("rate_limit", 429, 0.0)),
        ("drill/b=timeout", ("timeout", None, 10.0)),
        ("drill/b=connection", ("connection", None, 0.0)),
        ("drill/b=bad_response", ("bad_response", 200, 0.0)),
        ("drill/*=529", ("overloaded", 529, 0.0)),
    ],
)
def test_a_failure_is_a_kind_or_a_status(text: str, failing: tuple[str, int | None, float]) -> None:
    assert read_failure(text, mocked("drill/b"), option="--fail")[0] == text.rpartition("=")[0]
    assert calls(mocked("drill/b"), text)[0] == ("drill/b", *failing)


@pytest.mark.parametrize(
    "text", ["", "=", "auth", "=auth", "drill/c=auth", "drill/b=", "drill/b=200", "drill/b=\u0663"]
)
def test_what_is_no_failure_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--fail "):
        read_failure(text, mocked("drill/b"), option="--fail")


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("a/b", ["a/*", "a/b", "*"], "a/b"),
        ("a/c", ["a/*", "a/b", "*"], "a/*"),
        ("b", ["a/*", "*"], "*"),
        ("b", ["a/*"], None),
        ("a/*", ["a/*"], "a/*"),
    ],
)
def test_the_closest_pattern_holds(name: str, patterns: list[str], expected: str | None) -> None:
    assert best_match(name, patterns) == expected
