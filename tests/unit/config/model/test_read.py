"""Judge: problems of a file's shape, specs of valid files, and reuse of unchanged aliases."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.config.document.document import parse
from gateway.config.model.read import Dump, Judge, schema
from gateway.config.model.specs import (
    AliasSpec,
    Config,
    CooldownSpec,
    DefaultsSpec,
    HookSpec,
    HooksSpec,
    KeySpec,
    LimitsSpec,
    ProviderSpec,
    StepSpec,
    StreamSpec,
    TimeoutSpec,
)
from gateway.policy.failures import Kind
from gateway.policy.keys import Secret
from gateway.policy.params import Params
from gateway.policy.problem import Problem
from gateway.policy.target import ScriptedOutcome
from gateway.words import seconds

NO_ENVIRON: Mapping[str, str] = {}
SHAPE_CODES = frozenset(
    {
        "bad-duration", "bad-api-key", "bad-key", "bad-name", "bad-share", "bad-step", "bad-target", "bad-value",
        "bad-version", "bad-wires",
        "duplicate-item", "empty-chain", "hook-path", "missing-key", "unknown-key", "wrong-type",
    }
)  # fmt: skip
"""The codes of faults that the schema finds."""


def read(text: str, judge: Judge | None = None) -> tuple[Config | None, list[Problem]]:
    return (judge or Judge()).read(parse(text.encode(), name="routes.yaml"), environ=NO_ENVIRON, strict_env=False)


def config(text: str, judge: Judge | None = None) -> Config:
    found, problems = read(f"version: 1\n{text}", judge)
    assert problems == []
    assert found is not None
    return found


def faults(text: str) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in read(f"version: 1\n{text}")[1]]


EVERY_KEY = """\
version: 1
defaults:
  timeout: {connect: 5s, first_token: 15s, idle: 30s, total: 10m}
  retries: 2
  deadline: 2m
  max_attempts: 8
  cooldown: {failures: 3, within: 30s, for: 15s}
  retry_on: [connection, overloaded]
  fallback_on: []
  params: {temperature: 0}
  stream: {hold: full, max_bytes: 1024}
providers:
  mine:
    kind: openai
    base_url: http://127.0.0.1:8000/v1
    api_key: sk-literal
    adapter: relay
    wires: [chat, messages]
    api_version: "2"
    headers: {x-team: search}
    params: {api_version: "1"}
    cooldown: {failures: 1}
  filed: {api_key_file: /run/key, api_key: ""}
  up:
    kind: mock
    script: [{}, {status: 503, retry_after: 2, delay: 200ms, cut: 1, stall: 0}, {text: hi}]
models:
  one: mine/one
  two: [mine/one, {alias: one}]
  full:
    description: all of it
    chain:
      - mine/a/b
      - {target: mine/c, timeout: 1.5s, retries: 0, params: {a: null}, retry_on: [timeout], fallback_on: [auth]}
      - alias: two
    hooks: {pre: [p.one, {path: p.two, timeout: 200ms, on_error: skip}], post: []}
    timeout: 10
    retries: 1
    deadline: 1h
    max_attempts: 3
    params: {b: [1]}
    retry_on: [rate_limit]
    fallback_on: [server_error]
    stream: {hold: first_token}
hooks: {post: [{path: p.three}]}
capabilities: {cached: p.Cached}
x-mine: {anything: goes}
"""


def test_every_key_of_a_file_becomes_its_spec() -> None:
    found, problems = read(EVERY_KEY)
    assert problems == []
    mine = LimitsSpec(
        timeout=TimeoutSpec(bare_s=1.5),
        retries=0,
        params=Params({"a": None}),
        retry_on=frozenset({Kind.TIMEOUT}),
        fallback_on=frozenset({Kind.AUTH}),
    )
    assert found == Config(
        defaults=DefaultsSpec(
            limits=LimitsSpec(
                timeout=TimeoutSpec(connect_s=5.0, first_token_s=15.0, idle_s=30.0, total_s=600.0),
                retries=2,
                params=Params({"temperature": 0}),
                retry_on=frozenset({Kind.CONNECTION, Kind.OVERLOADED}),
                fallback_on=frozenset(),
            ),
            deadline_s=120.0,
            max_attempts=8,
            cooldown=CooldownSpec(failures=3, within_s=30.0, for_s=15.0),
            stream=StreamSpec(hold="full", max_bytes=1024),
        ),
        providers={
            "mine": ProviderSpec(
                name="mine",
                kind="openai",
                base_url="http://127.0.0.1:8000/v1",
                api_keys=(KeySpec(value=Secret("sk-literal")),),
                adapter="relay",
                wires=frozenset({"chat", "messages"}),
                api_version="2",
                headers={"x-team": "search"},
                params=Params({"api_version": "1"}),
                cooldown=CooldownSpec(failures=1),
            ),
            "filed": ProviderSpec(name="filed", api_key_files=("/run/key",), api_keys=(KeySpec(value=Secret("")),)),
            "up": ProviderSpec(
                name="up",
                kind="mock",
                script=(
                    ScriptedOutcome(),
                    ScriptedOutcome(status=503, retry_after_s=2.0, delay_s=0.2, cut=1, stall=0),
                    ScriptedOutcome(text="hi"),
                ),
            ),
        },
        models={
            "one": AliasSpec(name="one", chain=(StepSpec(target="mine/one"),)),
            "two": AliasSpec(name="two", chain=(StepSpec(target="mine/one"), StepSpec(alias="one"))),
            "full": AliasSpec(
                name="full",
                chain=(StepSpec(target="mine/a/b"), StepSpec(target="mine/c", limits=mine), StepSpec(alias="two")),
                description="all of it",
                hooks=HooksSpec(pre=(HookSpec(path="p.one"), HookSpec(path="p.two", timeout_s=0.2, on_error="skip"))),
                limits=LimitsSpec(
                    timeout=TimeoutSpec(bare_s=10.0),
                    retries=1,
                    params=Params({"b": [1]}),
                    retry_on=frozenset({Kind.RATE_LIMIT}),
                    fallback_on=frozenset({Kind.SERVER_ERROR}),
                ),
                deadline_s=3600.0,
                max_attempts=3,
                stream=StreamSpec(hold="first_token"),
            ),
        },
        hooks=HooksSpec(post=(HookSpec(path="p.three"),)),
        capabilities={"cached": "p.Cached"},
    )


def test_what_a_file_leaves_out_is_none() -> None:
    found = config("models: {}")
    assert found == Config()
    assert config("models: {}\nproviders: {a: {}}").providers["a"] == ProviderSpec(name="a")


def test_the_files_order_is_kept() -> None:
    assert list(config("models: {z: a/b, a: a/b, m: a/b}").models) == ["z", "a", "m"]


def test_mappings_of_a_config_are_frozen() -> None:
    found = config("models: {a: {chain: [b/c], params: {x: 1}}}\nproviders: {p: {headers: {h: v}}}")
    for mapping in (found.models, found.providers, found.models["a"].limits.params.sent, found.providers["p"].headers):
        assert isinstance(mapping, MappingProxyType)


def test_a_spec_shows_no_secret_when_printed() -> None:
    assert "sk-literal" not in repr(read(EVERY_KEY)[0])


@pytest.mark.parametrize(
    ("duration", "meant"),
    [("250ms", 0.25), ("10s", 10.0), ("2m", 120.0), ("1h", 3600.0), ("1.5s", 1.5), ("0.5m", 30.0),
     (30, 30.0), (0.2, 0.2)],
)  # fmt: skip
def test_a_duration_is_a_number_and_a_unit_or_seconds(duration: str | float, meant: float) -> None:
    assert seconds(duration) == pytest.approx(meant)
    assert config(f"models: {{}}\ndefaults: {{deadline: {duration}}}").defaults.deadline_s == pytest.approx(meant)


@pytest.mark.parametrize(
    "duration",
    ["0", "0s", "0.0ms", "-1", "-1s", "+1s", "1", "1 s", "1S", "1sec", "1d", "1m30s", ".5s", "5.s", "1e3s", "s", "''",
     "1:30", "'1s\n\n  '", "9999999999s", "1000000001", "10_0s", "١s"],
)  # fmt: skip
def test_anything_else_is_no_duration(duration: str) -> None:
    text = f"'{duration}'" if duration == "1" else duration
    assert faults(f"models: {{}}\ndefaults: {{timeout: {text}}}") == [("bad-duration", "defaults.timeout")]


@pytest.mark.parametrize(
    "place",
    ["defaults: {timeout: 0}", "defaults: {timeout: {idle: 0}}", "defaults: {deadline: 0}",
     "defaults: {cooldown: {within: 0}}", "defaults: {cooldown: {for: 0}}", "hooks: {pre: [{path: a.b, timeout: 0}]}"],
)  # fmt: skip
def test_limits_are_above_zero(place: str) -> None:
    assert [code for code, _ in faults(f"models: {{}}\n{place}")] == ["bad-duration"]


def test_a_mocks_pauses_may_be_zero() -> None:
    text = "models: {}\nproviders: {mock: {script: [{delay: 0, retry_after: 0s}, {delay: -1}]}}"
    assert faults(text) == [("bad-duration", "providers.mock.script[1].delay")]


@pytest.mark.parametrize("path", sorted(SHAPE_CODES))
def test_every_code_of_shape_has_a_case_file(path: str, pytestconfig: pytest.Config) -> None:
    cases = pytestconfig.rootpath / "tests" / "cases" / "invalid"
    assert any(f": {path}: " in case.read_text(encoding="utf-8") for case in cases.glob("*.problems"))


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ("models: {}\nfoo: 1", "unknown-key", "foo"),
        ("models: {}\nx-foo: 1\nX-foo: 1", "unknown-key", "X-foo"),
        ("models: {}\nproviders: {a: {x-mine: 1}}", "unknown-key", "providers.a.x-mine"),
        ("models: {a: {chain: [b/c], x-mine: 1}}", "unknown-key", "models.a.x-mine"),
        ("models: {a: [{target: b/c, x-mine: 1}]}", "unknown-key", "models.a[0].x-mine"),
        ("models: {}\nhooks: {pre: [{path: a.b, x-mine: 1}]}", "unknown-key", "hooks.pre[0].x-mine"),
        ("models: {}\ndefaults: {stream: {x-mine: 1}}", "unknown-key", "defaults.stream.x-mine"),
        ("models: {}\ndefaults: {timeout: {read: 1s}}", "unknown-key", "defaults.timeout.read"),
        ("models: {}\ndefaults: {cooldown: {x: 1}}", "unknown-key", "defaults.cooldown.x"),
        ("models: {}\nproviders: {mock: {script: [{x: 1}]}}", "unknown-key", "providers.mock.script[0].x"),
        ("models: {a: {chain: [b/c], cooldown: {}}}", "unknown-key", "models.a.cooldown"),
        ("models: {a: [{target: b/c, deadline: 1s}]}", "unknown-key", "models.a[0].deadline"),
        ("models: {}\ndefaults: {hooks: {}}", "unknown-key", "defaults.hooks"),
        ("providers: {}", "missing-key", ""),
        ("models: {}\nhooks: {pre: p.q}", "wrong-type", "hooks.pre"),
        ("models: {a: {chain: b/c}}", "wrong-type", "models.a.chain"),
        ("models: {a: null}", "wrong-type", "models.a"),
        ("models: []", "wrong-type", "models"),
        ("models: null", "wrong-type", "models"),
        ("models: {a: [[b/c]]}", "wrong-type", "models.a[0]"),
        ("models: {a: {chain: [b/c], retries: 1.5}}", "wrong-type", "models.a.retries"),
        ("models: {a: {chain: [b/c], retries: 101}}", "bad-value", "models.a.retries"),
        ("models: {}\nproviders: {a: {headers: {h: 1}}}", "wrong-type", "providers.a.headers.h"),
        ("models: {}\nproviders: {a: {adapter: mock}}", "bad-value", "providers.a.adapter"),
        ("models: {}\nproviders: {a: {api_key_file: ''}}", "bad-value", "providers.a.api_key_file"),
        ("models: {'a\tb': b/c}", "bad-name", 'models["a\\tb"]'),
        ("models: {'a\u00a0b': b/c}", "bad-name", 'models["a\\u00a0b"]'),
        ("models: {a: [{alias: ''}]}", "bad-name", "models.a[0].alias"),
        ("models: {a: 'b/c d'}", "bad-target", "models.a"),
        ("models: {a: ['b/c\\n']}", "", ""),
        ('models: {a: ["b/c\\n"]}', "bad-target", "models.a[0]"),
        ("models: {}\nhooks: {pre: ['a b']}", "hook-path", "hooks.pre[0]"),
        ("models: {}\nhooks: {pre: ['']}", "hook-path", "hooks.pre[0]"),
        ("models: {}\ncapabilities: {9a: a.b}", "bad-name", 'capabilities["9a"]'),
        ("models: {}\ncapabilities: {a: ''}", "hook-path", "capabilities.a"),
        ("models: {}\nproviders: {'': {}}", "bad-name", 'providers[""]'),
    ],
)
def test_the_schema_is_closed_and_exact(text: str, code: str, path: str) -> None:
    assert faults(text) == ([(code, path)] if code else [])


def test_each_problem_stands_at_its_own_place() -> None:
    text = "version: 1\nmodels:\n  a:\n    chian: [b/c]\n    retries: x\n"
    places = [(problem.line, problem.column, problem.code) for problem in read(text)[1]]
    assert places == [(4, 5, "missing-key"), (4, 5, "unknown-key"), (5, 14, "wrong-type")]


def test_what_the_text_has_wrong_comes_along_in_order() -> None:
    text = "version: 1\nmodels:\n  a: 5\n  b: c/d\n  b: c/d\n  c: []\n"
    found, problems = read(text)
    assert found is None
    assert [problem.code for problem in problems] == ["wrong-type", "duplicate-key", "empty-chain"]


def test_a_text_that_cannot_be_judged_has_its_own_problems_only() -> None:
    found, problems = read("version: 1\nmodels: [")
    assert (found, [problem.code for problem in problems]) == (None, ["yaml-syntax"])


def test_a_value_that_could_not_be_read_is_not_judged_as_well() -> None:
    assert faults("models: {a: *nobody, b: !x [], c: {chain: [d/e], retries: 99999999999999999999}}") == [
        ("unknown-anchor", "models.a"), ("yaml-tag", "models.b"), ("bad-number", "models.c.retries"),
    ]  # fmt: skip


def test_a_fault_in_an_anchor_is_told_once_where_its_text_is() -> None:
    text = "version: 1\nx-c: &c\n  - {target: a/b, retries: -1}\nmodels:\n  one: *c\n  two: {chain: *c}\n"
    (problem,) = read(text)[1]
    assert (problem.line, problem.column, problem.path) == (3, 28, "models.one[0].retries")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("verison: 1", "did you mean 'version'?"),
        ("model: {}", "did you mean 'models'?"),
        ("zzz: 1", "the keys here are version, include, defaults, providers, models, clients, hooks, capabilities"),
    ],
)
def test_an_unknown_key_gets_a_hint(key: str, hint: str) -> None:
    (problem,) = [each for each in read(f"version: 1\nmodels: {{}}\n{key}")[1] if each.code == "unknown-key"]
    assert problem.message.endswith(hint)


def test_an_unchanged_alias_keeps_its_spec_across_reads() -> None:
    judge = Judge()
    before = config("models: {a: b/c, d: [e/f, {alias: a}], g: b/c}", judge).models
    after = config("models: {g: b/c, d: [e/f, {alias: g}], a: b/c}", judge).models
    assert after["a"] is before["a"]
    assert after["g"] is before["g"]
    assert after["d"] is not before["d"]
    assert after["d"].chain[1].alias == "g"


def test_an_alias_is_read_anew_when_its_variable_changed() -> None:
    judge = Judge()
    document = parse(b'version: 1\nmodels: {a: "b/${M}"}', name="x")
    for model in ("c", "d", "c d"):
        found, problems = judge.read(document, environ={"M": model}, strict_env=False)
        if " " in model:
            assert [problem.code for problem in problems] == ["bad-target"]
        else:
            assert found is not None
            assert found.models["a"].chain == (StepSpec(target=f"b/{model}"),)


def test_a_remembered_fault_is_told_again_at_its_new_place() -> None:
    judge = Judge()
    for lines in (0, 3):
        (problem,) = read("\n" * lines + "version: 1\nmodels: {a: []}", judge)[1]
        assert (problem.line, problem.code) == (lines + 2, "empty-chain")


def test_after_a_bad_file_the_good_one_reads_as_before() -> None:
    judge = Judge()
    before = config("models: {a: b/c}", judge)
    assert read("version: 1\nmodels: [", judge)[0] is None
    assert read("version: 1\nmodels: {a: 1}", judge)[0] is None
    assert config("models: {a: b/c}", judge).models["a"] is before.models["a"]


def test_of_ten_thousand_aliases_only_the_changed_one_is_judged_again() -> None:
    def text(changed: int) -> bytes:
        entries = (
            f"  m{n}:\n    chain: [openai/{'x' if n == changed else ''}{n}, {{target: vllm/a{n}, timeout: 10s}}]\n"
            for n in range(10_000)
        )
        return ("version: 1\nmodels:\n" + "".join(entries)).encode()

    judge = Judge()
    (first, _), (second, problems) = (
        judge.read(parse(text(changed), name="x"), environ={}, strict_env=False) for changed in (-1, 77)
    )
    assert first is not None
    assert second is not None
    assert problems == []
    judged_anew = [name for name, spec in second.models.items() if spec is not first.models[name]]
    assert judged_anew == ["m77"]


def test_a_dump_shows_the_file_without_its_secrets() -> None:
    document = parse(b'version: 1\nproviders: {a: {api_key: sk-1, kind: "${K:-mock}"}}\nmodels: {}\n', name="x")
    assert Dump(document) == {
        "version": 1, "providers": {"a": {"api_key": "***", "kind": "${K:-mock}"}}, "models": {},
    }  # fmt: skip


def _words(texts: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 700),
    st.floats(-2, 2, allow_nan=False),
    _words(["", "a", "openai/a", "a b", "10s", "0s", "250ms", "full", "first_token", "skip", "timeout", "auth", "relay",
            "mock", "p.q", "1", "2.0s\n", "a/b\n", "$", "$$", "sk-1", "x\ty", "é", "1h", "http://h/v1"]),
)  # fmt: skip
EVERY_NAME = sorted(
    {name for part in [schema(), *schema()["$defs"].values()] for name in part.get("properties", {})}
    | {"x-mine", "x", "", "a b", "a/b", "fast", "9a"}
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words(EVERY_NAME), inner, max_size=4),
    max_leaves=12,
)
GOOD: dict[str, Any] = yaml.safe_load(EVERY_KEY)


def _places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where, *(place for key, child in inner for place in _places(child, (*where, key)))]


def _replaced(value: Any, where: tuple[Any, ...], new: Any) -> Any:
    if not where:
        return new
    changed = copy.copy(value)
    changed[where[0]] = _replaced(value[where[0]], where[1:], new)
    return changed


def _agrees(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True, sort_keys=False, default_flow_style=False)
    document = parse(text.encode(), name="x")
    found, problems = Judge().read(document, environ={}, strict_env=True)
    accepted = Draft202012Validator(schema()).is_valid(document.value)
    assert accepted == (not any(problem.code in SHAPE_CODES for problem in problems)), (text, problems)
    assert (found is None) == any(problem.severity == "error" for problem in problems)


@given(ANYTHING)
def test_any_value_has_no_shape_problem_exactly_when_the_schema_takes_it(value: Any) -> None:
    _agrees(value)


@given(st.sampled_from(_places(GOOD)), ANYTHING)
def test_a_good_file_with_one_change_is_judged_as_the_schema_does(where: tuple[Any, ...], new: Any) -> None:
    _agrees(_replaced(GOOD, where, new))


@given(st.sampled_from([place for place in _places(GOOD) if place]), _words(EVERY_NAME))
def test_a_good_file_with_one_key_renamed_is_judged_as_the_schema_does(where: tuple[Any, ...], name: str) -> None:
    parent = GOOD
    for part in where[:-1]:
        parent = parent[part]
    if isinstance(parent, dict):
        _agrees(_replaced(GOOD, where[:-1], {name if key == where[-1] else key: parent[key] for key in parent}))
