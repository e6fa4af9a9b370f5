"""Conditions of steps: comparisons, times of the week and headers as the file writes them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.config.compiler.conditions import during_of, header_fault, threshold_of
from gateway.policy.conditions import During, Threshold, When
from gateway.policy.pools import Conditional
from gateway.wire.json import Json
from tests.compiling import problems, route


def when(text: str) -> When:
    (part, _) = route(f"models: {{fast: [{{when: {text}, target: openai/x}}, openai/y]}}\n").parts or ()
    assert isinstance(part, Conditional)
    assert part.parts == (0,)
    return part.when


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("> 100k", Threshold(">", 100_000)),
        (">=1.5k", Threshold(">=", 1500)),
        ("<200", Threshold("<", 200)),
        (" <= 0 ", Threshold("<=", 0)),
        ("> 0.001k", Threshold(">", 1)),
    ],
)
def test_a_comparison_has_a_sign_and_a_whole_number(text: str, threshold: Threshold) -> None:
    assert threshold_of(text) == threshold


def test_every_part_of_a_condition_is_compiled() -> None:
    found = when(
        "{stream: true, tools: false, tokens: '> 1k', max_tokens: '<= 5', operation: [messages], "
        "header: {X-Tier: paid, x-region: [eu-*, us]}, metadata: {tenant: acme, n: [1, true]}, client: [a, b], "
        "param: {reasoning_effort: high}, during: 'fri-mon,wed 22:00-06:00  Europe/Berlin', not: {images: true}}"
    )
    during = found.during
    assert during == During(
        text="fri-mon,wed 22:00-06:00 Europe/Berlin",
        days=frozenset({4, 5, 6, 0, 2}),
        begin_min=22 * 60,
        end_min=6 * 60,
        zone=ZoneInfo("Europe/Berlin"),
    )
    assert found == When(
        features={"stream": True, "tools": False},
        tokens=Threshold(">", 1000),
        max_tokens=Threshold("<=", 5),
        operations=frozenset({"messages", "count_tokens"}),
        headers={"x-tier": ("paid",), "x-region": ("eu-*", "us")},
        metadata={"tenant": ("acme",), "n": (1, True)},
        clients=frozenset({"a", "b"}),
        params={"reasoning_effort": ("high",)},
        during=during,
        inverse=When(features={"images": True}),
    )


@pytest.mark.parametrize(
    ("text", "moment", "holds"),
    [
        ("mon-fri 08:00-18:00 UTC", "2026-11-27T17:59:00+00:00", True),
        ("mon-fri 08:00-18:00 UTC", "2026-11-27T18:00:00+00:00", False),
        ("mon-fri 08:00-18:00 UTC", "2026-11-28T12:00:00+00:00", False),
        ("08:00-18:00 UTC", "2026-11-28T12:00:00+00:00", True),
        ("Sat,Sun UTC", "2026-11-29T23:59:00+00:00", True),
        ("sat,sun UTC", "2026-11-30T00:00:00+00:00", False),
        ("sat UTC", "2026-11-29T00:00:00+00:00", False),
        ("fri 22:00-06:00 UTC", "2026-11-28T05:59:00+00:00", True),
        ("fri 22:00-06:00 UTC", "2026-11-27T05:59:00+00:00", False),
        ("fri 22:00-24:00 UTC", "2026-11-27T23:59:00+00:00", True),
        ("fri 22:00-24:00 UTC", "2026-11-28T00:00:00+00:00", False),
        ("08:00-18:00 Europe/Berlin", "2026-07-01T06:00:00+00:00", True),
        ("08:00-18:00 Europe/Berlin", "2026-12-01T06:59:00+00:00", False),
    ],
)
def test_a_time_of_the_week_is_that_of_its_zone(text: str, moment: str, holds: bool) -> None:
    found = during_of(text)
    assert isinstance(found, During)
    assert found.holds(datetime.fromisoformat(moment)) is holds


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-Api-Key", "api-key", "x-goog-api-key", "x-auth-token"])
def test_a_header_that_holds_a_key_is_not_asked_for(name: str) -> None:
    fault = header_fault(name)
    assert fault is not None
    assert fault.code == "secret-header"


@pytest.mark.parametrize(
    "name", ["x-tier", "session_id", "x-claude-code-session-id", "x-session-id", "user-agent", "x-stainless-lang"]
)
def test_other_headers_are(name: str) -> None:
    assert header_fault(name) is None


@pytest.mark.parametrize(
    ("written", "value"), [("${TIER}", "paid"), ("'${N}'", 5), ("${YES}", True), ("x-${N}", "x-5")]
)  # fmt: skip
def test_variables_become_values_as_yaml_reads_them(written: str, value: Json) -> None:
    text = f'models:\n  fast:\n    - when: {{metadata: {{a: "{written}"}}}}\n      target: openai/x\n    - openai/y\n'
    text = text.replace("\"'", '"').replace("'\"", '"')
    (part, _) = route(text, environ={"TIER": "paid", "N": "5", "YES": "true"}).parts or ()
    assert isinstance(part, Conditional)
    assert part.when.metadata["a"] == (value,)
    assert type(part.when.metadata["a"][0]) is type(value)


def test_a_variable_may_stand_for_a_feature_and_a_comparison() -> None:
    text = "models: {fast: [{when: {tools: '${T}', tokens: '${N}'}, target: openai/x}, openai/y]}\n"
    (part, _) = route(text, environ={"T": "true", "N": "> 5"}).parts or ()
    assert isinstance(part, Conditional)
    assert part.when == When(features={"tools": True}, tokens=Threshold(">", 5))
    assert problems(text, environ={"T": "on", "N": "5"}) == ["2:32: wrong-type", "2:48: bad-threshold"]
