"""What comes of each attempt of a supposed call: what is named, and what mocks do by name or script."""

from __future__ import annotations

import pytest

from gateway.adapters.mock import MockAdapter
from gateway.errors import UsageError
from gateway.policy.failures import Kind
from gateway.policy.table import Route
from gateway.simulation.explain import explain
from gateway.simulation.failures import best_match, fate_of, read_failure
from gateway.simulation.forecast import Failing
from tests.compiling import route


def calls(of: Route, *fails: str, stream: bool = False) -> list[tuple[str, str | None, int | None, float]]:
    read = dict(read_failure(text, of, option="--fail") for text in fails)
    walk = explain(of.alias, of, fate_of(of, read, stream=stream, mocks=MockAdapter().peek)).walk
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
        ("mock/echo", None, None, None),
        ("mock/slow-2s", None, None, None),
        ("mock/status-404", (Kind.NOT_FOUND, 404, 0), (Kind.NOT_FOUND, 404, 0), (Kind.NOT_FOUND, 404, 0)),
        ("mock/slow-20s", (Kind.TIMEOUT, None, 10), (Kind.TIMEOUT, None, 10), None),
        ("mock/cut", (Kind.BAD_RESPONSE, 200, 0), None, (Kind.BAD_RESPONSE, 200, 0)),
        ("mock/stall", (Kind.TIMEOUT, None, 10), None, (Kind.TIMEOUT, None, 120)),
    ],
)
def test_a_mocks_name_says_what_comes_of_a_call(
    target: str,
    plain: tuple[Kind, int | None, float] | None,
    stream: tuple[Kind, int | None, float] | None,
    held: tuple[Kind, int | None, float] | None,
) -> None:
    for of, streams, expected in (
        (mocked(target), False, plain),
        (mocked(target), True, stream),
        (mocked(target, hold="full"), True, held),
    ):
        failing = fate_of(of, {}, stream=streams, mocks=MockAdapter().peek)(0, of.steps[0], 0)
        if (target == "mock/slow-20s" and of.stream.hold == "full") or expected is None:
            assert failing is None
        else:
            assert failing is not None
            assert (failing.kind, failing.status, failing.took_s) == expected


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


def test_a_stall_before_the_first_content_is_a_timeout_and_a_cut_there_a_bad_response() -> None:
    of = mocked("drill/a", "drill/b", script="[{stall: 0}, {cut: 0, stall: 3}, {cut: 3, stall: 0}]")
    assert calls(of, stream=True) == [
        ("drill/a", "timeout", None, 10.0), ("drill/b", "bad_response", 200, 0.0),
    ]  # fmt: skip


def test_what_is_named_wins_over_what_a_mock_does() -> None:
    of = mocked("mock/status-503", "drill/b")
    assert calls(of, "mock/*=auth") == [("mock/status-503", "auth", 401, 0.0), ("drill/b", None, 200, 0.0)]
    assert calls(of, "mock/*=auth", "mock/status-503=timeout")[0] == ("mock/status-503", "timeout", None, 10.0)


@pytest.mark.parametrize(
    ("text", "failing"),
    [
        ("drill/b=rate_limit", Failing(kind=Kind.RATE_LIMIT, status=429)),
        ("drill/b=timeout", Failing(kind=Kind.TIMEOUT)),
        ("drill/b=connection", Failing(kind=Kind.CONNECTION)),
        ("drill/*=529", Failing(kind=Kind.OVERLOADED, status=529)),
    ],
)
def test_a_failure_is_a_kind_or_a_status(text: str, failing: Failing) -> None:
    assert read_failure(text, mocked("drill/b"), option="--fail") == (text.rpartition("=")[0], failing)


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
