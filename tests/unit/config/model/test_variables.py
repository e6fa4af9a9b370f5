"""`${NAME}` in values: the expanded text, its type, and the problems of variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.document.document import parse
from gateway.config.model.read import Judge
from gateway.config.model.specs import Config, KeySpec
from gateway.policy.keys import Secret
from gateway.policy.problem import Problem
from gateway.policy.variables import BadVariable, UnsetVariable, expand, names_in

ENVIRON = {"A": "one", "EMPTY": "", "NESTED": "${A}", "DOLLARS": "$$", "_x9": "under", "BRACES": "{a: b}"}
NO_ENVIRON: Mapping[str, str] = {}


def read(text: str, environ: Mapping[str, str] = NO_ENVIRON, *, strict_env: bool = False) -> tuple[Any, list[Problem]]:
    document = parse(f"version: 1\n{text}".encode(), name="routes.yaml")
    return Judge().read(document, environ=environ, strict_env=strict_env)


def config(text: str, environ: Mapping[str, str] = NO_ENVIRON) -> Config:
    found, problems = read(text, environ)
    assert problems == []
    assert isinstance(found, Config)
    return found


def faults(text: str, environ: Mapping[str, str] = NO_ENVIRON, *, strict_env: bool = False) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in read(text, environ, strict_env=strict_env)[1]]


@pytest.mark.parametrize(
    ("written", "expanded"),
    [
        ("", ""),
        ("plain", "plain"),
        ("${A}", "one"),
        ("x${A}y${A}", "xoneyone"),
        ("${_x9}", "under"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-default}", "default"),
        ("${UNSET:-}", ""),
        ("${A:-default}", "one"),
        ("${UNSET:-a b: {c,[#'\"\n}", "a b: {c,[#'\"\n"),
        ("${UNSET:-a$$b}", "a$b"),
        ("${UNSET:-a$b}", "a$b"),
        ("$$", "$"),
        ("$$$$", "$$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$one"),
        ("$", "$"),
        ("$A", "$A"),
        ("a$ b", "a$ b"),
        ("5$", "5$"),
        ("${NESTED}", "${A}"),
        ("${DOLLARS}", "$$"),
        ("${A}}", "one}"),
    ],
)
def test_text_expands_once_and_as_in_a_shell(written: str, expanded: str) -> None:
    assert expand(written, ENVIRON) == expanded


@pytest.mark.parametrize(
    "written",
    ["${", "${A", "a ${ b", "${}", "${9A}", "${A-x}", "${A B}", "${A:=x}", "${A:?x}", "${A:x}", "${é}", "${A:-x",
     "${A:-${B}}", "${A} ${", "${A:-$${B}}"],
)  # fmt: skip
def test_what_begins_no_variable_is_refused(written: str) -> None:
    with pytest.raises(BadVariable, match=r"\$\{NAME:-default\}"):
        expand(written, ENVIRON)


def test_an_unset_variable_without_a_default_is_refused() -> None:
    with pytest.raises(UnsetVariable, match="environment variable UNSET is not set"):
        expand("${A}${UNSET}", ENVIRON)


def test_a_value_that_is_no_utf8_is_refused_without_showing_it() -> None:
    with pytest.raises(BadVariable, match="the value of the environment variable RAW is not UTF-8"):
        expand("${RAW}", {"RAW": "caf\udce9"})


@given(st.text(), st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_dollar_sign_doubled_is_always_safe(text: str, value: str) -> None:
    assert expand(text.replace("$", "$$"), {}) == text
    assert expand("${V}", {"V": value}) == value


@given(st.text(alphabet="${}:-AB_ ", max_size=40))
def test_expanding_ends_in_text_or_in_a_refusal(text: str) -> None:
    try:
        expand(text, {"A": "a"})
    except (BadVariable, UnsetVariable):
        return


def test_numbers_durations_and_booleans_become_what_the_schema_wants() -> None:
    text = """\
defaults:
  timeout: ${T}
  retries: ${N}
  deadline: "${N}0s"
  max_attempts: "${N}"
  retry_on: ["${KIND}"]
  stream: {hold: "${HOLD}", max_bytes: "${N}"}
providers:
  m: {kind: mock, script: [{status: "${STATUS}", delay: "${T}", cut: "${N}"}]}
models: {}
"""
    environ = {"T": "1.5", "N": "4", "KIND": "timeout", "HOLD": "full", "STATUS": "0x1F7"}
    found = config(text, environ)
    limits = found.defaults.limits
    assert limits.timeout is not None
    assert limits.retry_on is not None
    assert (limits.timeout.bare_s, limits.retries, list(limits.retry_on)) == (1.5, 4, ["timeout"])
    assert (found.defaults.deadline_s, found.defaults.max_attempts) == (40.0, 4)
    assert found.defaults.stream is not None
    assert (found.defaults.stream.hold, found.defaults.stream.max_bytes) == ("full", 4)
    (outcome,) = found.providers["m"].script
    assert (outcome.status, outcome.delay_s, outcome.cut) == (503, 1.5, 4)


def test_the_version_may_be_a_variable() -> None:
    document = parse(b'version: "${V}"\nmodels: {}\n', name="x")
    assert Judge().read(document, environ={"V": "1"}, strict_env=False)[1] == []


def test_where_text_is_wanted_the_expanded_text_stays_text() -> None:
    found = config('providers: {a: {api_key: "${K}", headers: {x: "${K}"}}}\nmodels: {}', {"K": "12345"})
    assert found.providers["a"].api_keys == (KeySpec(value=Secret("12345"), written="${K}"),)
    assert found.providers["a"].headers == {"x": "12345"}
    text = "providers: {a: {headers: {x: '${D}'}}}\nmodels: {a: {chain: [b/c], description: '${D}'}}"
    assert config(text, {"D": "true"}).providers["a"].headers == {"x": "true"}
    assert config(text, {"D": "true"}).models["a"].description == "${D}"  # which is only ever shown


def test_where_anything_is_taken_quotes_decide_unless_the_value_is_one_variable() -> None:
    text = """\
models:
  m:
    chain: [a/b]
    params:
      a: ${V}
      b: "${V}"
      c: [x, 'x${V}']
      d: ${E:-}
      e: {f: "${V}", g: "${E:-}", h: '${YES}', i: "${E:-7}", j: "${E:-a word}", k: "1"}
      l: ["${V}${V:-}", "${N}${N}", "$$", "$${V}"]
      m: ${N}${N}
"""
    found = config(text, {"V": "0.5", "YES": "true", "N": "1"})
    assert found.models["m"].limits.params.sent == {
        "a": 0.5,
        "b": 0.5,
        "c": ["x", "x0.5"],
        "d": None,
        "e": {"f": 0.5, "g": None, "h": True, "i": 7, "j": "a word", "k": "1"},
        "l": ["0.50.5", "11", "$", "${V}"],
        "m": 11,
    }


@pytest.mark.parametrize(
    ("value", "code"),
    [("soon", "bad-duration"), ("0", "bad-duration"), ("-1s", "bad-duration"), ("", "bad-duration"),
     ("10s\n", "bad-duration"),
     ("1e999", "bad-number"), ("${A}", "bad-variable"), ("{connect: 1s}", "bad-duration"), ("true", "bad-duration")],
)  # fmt: skip
def test_an_expanded_value_is_judged_like_a_written_one(value: str, code: str) -> None:
    assert faults("defaults: {timeout: '${T}'}\nmodels: {}", {"T": value, "A": "1s"}) == [(code, "defaults.timeout")]


def test_a_problem_shows_the_variable_and_not_its_value() -> None:
    _, (problem,) = read("defaults: {timeout: '${T}'}\nmodels: {}", {"T": "hunter2"})
    assert problem.message.startswith("'${T}' is no duration above zero")
    assert problem.excerpt == "defaults: {timeout: '${T}'}"


def test_a_value_cannot_inject_yaml() -> None:
    evil = "x]\nproviders: {a: {base_url: http://evil}}"
    found = config("providers: {a: {headers: {x: '${E}'}}}\nmodels: {}", {"E": evil})
    assert (found.providers["a"].headers, found.providers["a"].base_url) == ({"x": evil}, None)
    assert faults("models: {a: ['b/${E}']}", {"E": evil}) == [("bad-target", "models.a[0]")]


def test_a_line_break_in_a_keys_value_is_no_way_into_other_headers() -> None:
    text = "providers: {a: {api_key: '${K}'}}\nmodels: {}"
    assert faults(text, {"K": "sk-1\r\nx-evil: 1"}) == [("bad-api-key", "providers.a.api_key")]
    assert faults(text, {"K": "sk-1\n"}) == []


@pytest.mark.parametrize("value", ["sk hunter2", "sk-hunter2\nx", "sk-hunter2\x7f", "sk-hunter2\u00e9"])
def test_a_key_that_is_no_visible_ascii_is_told_without_showing_it(value: str) -> None:
    _, (problem,) = read("providers: {a: {api_key: '${K:-}'}}\nmodels: {}", {"K": value})
    assert (problem.code, problem.severity) == ("bad-api-key", "error")
    assert "hunter2" not in f"{problem} {problem.excerpt}"


def test_keys_are_never_expanded() -> None:
    assert list(config("models: {'${A}': b/c}", {"A": "x"}).models) == ["${A}"]


def test_an_unset_variable_in_an_api_key_is_a_warning_unless_strict() -> None:
    text = "providers: {a: {api_key: '${K}'}}\nmodels: {}"
    found, (problem,) = read(text)
    assert (problem.code, problem.path, problem.severity) == ("unset-variable", "providers.a.api_key", "warning")
    assert found.providers["a"].api_keys == (KeySpec(value=None, written="${K}"),)
    found, (problem,) = read(text, strict_env=True)
    assert (found, problem.severity) == (None, "error")


def test_an_unset_variable_in_a_list_of_keys_is_told_of_its_entry() -> None:
    text = "providers: {a: {api_key: ['${K}', '${L:-}', sk-1]}}\nmodels: {}"
    found, (problem,) = read(text, {"L": "l"})
    assert (problem.code, problem.path, problem.severity) == ("unset-variable", "providers.a.api_key[0]", "warning")
    assert found.providers["a"].api_keys == (
        KeySpec(value=None, written="${K}"), KeySpec(value=Secret("l"), written="${L:-}"), KeySpec(value=Secret("sk-1"))
    )  # fmt: skip
    found, (problem,) = read(text, strict_env=True)
    assert (found, problem.severity) == (None, "error")


def test_an_empty_variable_is_set() -> None:
    provider = config("providers: {a: {api_key: '${K}'}}\nmodels: {}", {"K": ""}).providers["a"]
    assert provider.api_keys == (KeySpec(value=Secret(""), written="${K}"),)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("providers: {a: {base_url: '${U}'}}\nmodels: {}", "providers.a.base_url"),
        ("providers: {a: {headers: {api_key: '${U}'}}}\nmodels: {}", "providers.a.headers.api_key"),
        ("providers: {a: {params: {api_key: '${U}'}}}\nmodels: {}", "providers.a.params.api_key"),
        ("providers: {a: {api_key_file: '${U}'}}\nmodels: {}", "providers.a.api_key_file"),
        ("models: {a: 'b/${U}'}", "models.a"),
        ("models: {a: [{target: 'b/${U}'}]}", "models.a[0].target"),
        ("models: {}\nhooks: {pre: ['${U}']}", "hooks.pre[0]"),
        ("models: {}\ncapabilities: {c: '${U}'}", "capabilities.c"),
        ("models: {}\ndefaults: {retry_on: ['${U}', '${U}']}", "defaults.retry_on[0]"),
    ],
)
def test_an_unset_variable_anywhere_else_is_always_an_error(text: str, path: str) -> None:
    found, problems = read(text)
    assert found is None
    assert {(problem.code, problem.severity) for problem in problems} == {("unset-variable", "error")}
    assert problems[0].path == path


def test_users_own_keys_are_never_looked_at() -> None:
    assert faults("x-mine: {a: '${UNSET}', b: '${'}\nmodels: {}") == []


def test_a_variable_in_an_anchor_is_told_once() -> None:
    text = "x-p: &p {a: '${UNSET}'}\nmodels:\n  a: {chain: [b/c], params: *p}\n  b: {chain: [b/c], params: *p}"
    assert faults(text) == [("unset-variable", "models.a.params.a")]


@pytest.mark.parametrize(
    ("written", "shown"),
    [("${K}", "${K}"), ("${K:-}", "${K:-}"), ("${K}${L:-}", "${K}${L:-}"), ("${K:-sk-1}", None), ("x${K}", None),
     ("sk-1", None), ("", None)],
)  # fmt: skip
def test_a_key_is_named_as_written_only_when_that_gives_nothing_away(written: str, shown: str | None) -> None:
    found = config(f"providers: {{a: {{api_key: '{written}'}}}}\nmodels: {{}}", {"K": "k", "L": "l"})
    assert found.providers["a"].api_keys[0].written == shown


@pytest.mark.parametrize(
    ("text", "names"),
    [("${A:-x}", ("A",)), ("a-${A}-${B:-}", ("A", "B")), ("$${A}", ()), ("$$${A}", ("A",)), ("sk-1", ()), ("${", ())],
)
def test_the_variables_of_a_text_have_names(text: str, names: tuple[str, ...]) -> None:
    assert names_in(text) == names
