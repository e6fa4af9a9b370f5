"""All problems of a file are told at once, and none that only comes of another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.config.compiler.compiler import Compiler
from gateway.config.document.document import parse
from gateway.policy.problem import Problem
from gateway.wire.json import Json
from tests.paths import ROOT

POLICY: Final = ROOT / "examples" / "policy" / "routes.yaml"
BUDGET: Final = {"tokens": "9M", "per": "month", "then": {"alias": "triage"}}
CLIENTS: Final = {
    "default": {"models": ["chat", "lab/*"], "limits": ["60 requests/minute"]},
    "batch": {"models": ["report"], "limits": ["5M tokens/day", BUDGET]},
}
REPLACEMENTS: Final[tuple[Json, ...]] = (None, 3.5, True, "x y", [], {"unknown": 1}, -1)

Place = tuple[str | int, ...]


VALUE: Final = {**(parse(POLICY.read_bytes(), name="routes.yaml").value or {}), "clients": CLIENTS}


def policy() -> dict[str, Any]:
    return deepcopy(VALUE)


def places(value: Json, at: Place = ()) -> Iterator[Place]:
    """Yield the places of all values."""
    yield at
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*at, key))


def value_at(value: Json, place: Place) -> Json:
    for part in place:
        value = value[part]
    return value


def put(value: Json, place: Place, new: Json) -> None:
    value_at(value, place[:-1])[place[-1]] = new


PLACES: Final = sorted((place for place in places(policy()) if len(place) > 1), key=str)
MAPPINGS: Final = [place for place in PLACES if isinstance(value_at(policy(), place), dict)]
TARGETS: Final = [
    place
    for place in PLACES
    if place[0] == "models"
    and isinstance(text := value_at(policy(), place), str)
    and "/" in text
    and (isinstance(place[-1], int) or place[-1] == "target" or len(place) == 2)
]
REFERENCES: Final = [
    place for place in PLACES if place[-1] == "alias" or (place[2:3] == ("models",) and len(place) == 4)
]
PATHS: Final = [place for place in PLACES if place[-1] == "path"]


@st.composite
def schema_faults(draw: st.DrawFn) -> tuple[Place, Json]:
    """Return a place and what the schema refuses there, most of the time."""
    if draw(st.booleans()):
        return draw(st.sampled_from(PLACES)), draw(st.sampled_from(REPLACEMENTS))
    place = draw(st.sampled_from(MAPPINGS))
    return (*place, "unknown"), 1


@st.composite
def compile_faults(draw: st.DrawFn) -> tuple[Place, Json]:
    """Return a place and what the schema takes there, and a rule does not."""
    choices: list[tuple[list[Place], list[Json]]] = [
        (TARGETS, ["opnai/x", "vlm/y", "nothing", "chat", "openai/*/x"]),
        (REFERENCES, ["cha", "reports", "lap/x"]),
        (PATHS, ["policy_hooks.nothing", "nodot", "no_such_module.hook"]),
        ([("providers", "drill", "kind"), ("providers", "vllm", "kind")], ["opnai", "groq"]),
        ([("providers", "vllm", "base_url")], ["ftp://x"]),
        ([("defaults", "params")], [{"stream": True}]),
        ([("models", "sql", "params")], [{"api_key": "x"}]),
        ([("models", "swarm", "chain", 0, "pick")], ["weighted"]),
        ([("models", "swarm", "chain", 0, "key")], [{"header": "authorization"}]),
        ([("clients", "default", "limits")], [[{"requests": 3, "per": "day", "then": {"alias": "chat"}}]]),
    ]
    where, what = draw(st.sampled_from(choices))
    return draw(st.sampled_from(where)), draw(st.sampled_from(what))


def found(*faults: tuple[Place, Json]) -> list[Problem]:
    """Compile the policy with these faults. It is written as JSON, which is YAML too, with one value a line."""
    value = policy()
    for place, new in faults:
        put(value, place, deepcopy(new))
    compiled = Compiler(environ={}).compile(json.dumps(value, indent=1).encode(), source=str(POLICY))
    return [problem for problem in compiled.found if problem.severity == "error"]


def told(problems: list[Problem]) -> set[tuple[str, str, str]]:
    return {(problem.code, problem.path, problem.message) for problem in problems}


def test_the_policy_itself_has_no_faults() -> None:
    assert found() == []


@given(first=schema_faults(), second=compile_faults())
@settings(max_examples=40, deadline=None)
def test_two_faults_are_told_as_each_alone_is(first: tuple[Place, Json], second: tuple[Place, Json]) -> None:
    assume(first[0][:2] != second[0][:2])
    alone = told(found(first)), told(found(second))
    assume(all(alone))
    both = found(first, second)
    assert told(both) == alone[0] | alone[1]
    assert [(one.line, one.column) for one in both] == sorted((one.line, one.column) for one in both)


BASE: Final = """version: 1
providers:
  vllm: {kind: openai, base_url: "http://127.0.0.1:8000/v1", api_key: k}
models:
  fast: vllm/a
  smart: [vllm/b, {alias: fast}]
  priced: [{target: vllm/p, price: {input: 1, output: 2}}]
  "team/*": "vllm/*"
  exact: [{alias: "team/y"}]
clients:
  rich: {models: [priced], limits: [{spend: 50, per: day}]}
  other: {models: [fast, "team/*"]}
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("providers:", "provider:", ["provider"]),
        ("models:\n", "model:\n", ["", "model"]),
        ("  vllm: {kind: openai, base_url: ", "  vllm: {kind: openai, base_uri: ", ["providers.vllm.base_uri"]),
        ('  vllm: {kind: openai, base_url: "http://127.0.0.1:8000/v1", api_key: k}', "  - vllm", ["providers"]),
        ("  fast: vllm/a", "  fast: 3", ["models.fast"]),
        ("  fast: vllm/a", "  fast: {chian: [vllm/a]}", ["models.fast", "models.fast.chian"]),
        ('"vllm/*"', "3", ['models["team/*"]']),
        ("output: 2}", "output: -2}", ["models.priced[0].price.output"]),
        ("price: {input: 1, output: 2}", "prise: 1", ["models.priced[0].prise"]),
        ("models: [priced]", "modls: [priced]", ["clients.rich.modls"]),
        ("version: 1\n", "version: 1\ninclude: [3]\n", ["include[0]"]),
        ("version: 1\n", "version: 1\nproviders: {openai: {}}\n", ["providers"]),
    ],
)
def test_nothing_is_told_that_only_comes_of_what_is_refused(old: str, new: str, expected: list[str]) -> None:
    assert BASE.count(old) == 1
    assert Compiler(environ={}).compile(BASE.encode(), source="routes.yaml").table is not None
    problems = Compiler(environ={}).compile(BASE.replace(old, new).encode(), source="routes.yaml").problems
    assert sorted(problem.path for problem in problems) == sorted(expected)


def test_faults_of_a_text_that_is_no_yaml_stay_alone() -> None:
    text = BASE.replace("  fast: vllm/a", "  fast: nothing/a\n  worse: [vllm/a")
    problems = Compiler(environ={}).compile(text.encode(), source="routes.yaml").problems
    assert [problem.code for problem in problems] == ["yaml-syntax"]


def test_a_value_that_anchors_repeat_is_left_out_wherever_it_is() -> None:
    repeated = "".join(f"  a{number}: *bad\n" for number in range(20))
    text = f"version: 1\nmodels:\n  a: &bad {{chain: [openai/x], retries: x}}\n{repeated}  other: opnai/x\n"
    problems = Compiler(environ={}).compile(text.encode(), source="routes.yaml").problems
    assert [problem.code for problem in problems] == ["wrong-type", "unknown-provider"]
