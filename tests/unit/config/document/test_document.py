"""Documents: decoding, places and their names, excerpts; `parse` never raises."""

from __future__ import annotations

import codecs
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.document.document import MAX_BYTES, Document, in_file_order, mask_values, parse, written
from gateway.config.document.yaml_tree import Where
from gateway.config.model.read import Judge
from gateway.policy.problem import Problem


def document(text: str | bytes) -> Document:
    return parse(text.encode() if isinstance(text, str) else text, name="routes.yaml")


def only_problem(text: str | bytes) -> Problem:
    (problem,) = document(text).problems
    return problem


def test_a_document_holds_its_values_name_lines_and_digest() -> None:
    data = b"version: 1\r\nmodels: {a: b/c}\r\n"
    found = document(data)
    assert found.value == {"version": 1, "models": {"a": "b/c"}}
    assert found.name == "routes.yaml"
    assert found.lines == ("version: 1", "models: {a: b/c}", "")
    assert found.digest == hashlib.sha256(data).hexdigest()
    assert found.problems == ()


TEXT = """\
version: 1
models:
  fast:
    chain:
      - openai/a
      - {target: vllm/b, "params": {😀: 1}}
  "team-a/*": &all [x/y]
  other: *all
"""


@pytest.mark.parametrize(
    ("where", "value_at", "key_at"),
    [
        ((), (1, 1), (1, 1)),
        (("version",), (1, 10), (1, 1)),
        (("models", "fast"), (4, 5), (3, 3)),
        (("models", "fast", "chain"), (5, 7), (4, 5)),
        (("models", "fast", "chain", 0), (5, 9), (5, 9)),
        (("models", "fast", "chain", 1), (6, 9), (6, 9)),
        (("models", "fast", "chain", 1, "target"), (6, 18), (6, 10)),
        (("models", "fast", "chain", 1, "params"), (6, 36), (6, 26)),
        (("models", "fast", "chain", 1, "params", "😀"), (6, 40), (6, 37)),
        (("models", "team-a/*"), (7, 15), (7, 3)),
        (("models", "other"), (8, 10), (8, 3)),
        (("models", "other", 0), (7, 21), (7, 21)),
    ],
)
def test_every_value_and_every_key_has_its_place(
    where: Where, value_at: tuple[int, int], key_at: tuple[int, int]
) -> None:
    assert document(TEXT).position(where) == value_at
    assert document(TEXT).key_position(where) == key_at


@pytest.mark.parametrize(
    ("where", "nearest"),
    [
        (("nothing",), (1, 1)),
        (("models", "nothing", "at", "all"), (3, 3)),
        (("models", "fast", "chain", 7), (5, 7)),
        (("models", "fast", "chain", -1), (5, 7)),
        (("models", "fast", "chain", "target"), (5, 7)),
        (("models", "fast", 0), (4, 5)),
        (("version", "deeper"), (1, 10)),
    ],
)
def test_a_place_that_is_not_there_is_at_the_nearest_one_around_it(where: Where, nearest: tuple[int, int]) -> None:
    found = document(TEXT)
    assert found.node(where) is None
    assert found.position(where) == nearest
    assert found.key_position(where) == nearest


def test_a_document_without_a_mapping_has_one_place() -> None:
    found = document("[")
    assert found.value is None
    assert found.position(("models", "fast")) == (1, 1)
    assert mask_values(found) == {}


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ((), ""),
        (("models",), "models"),
        (("models", "fast", "chain", 1), "models.fast.chain[1]"),
        (("models", "gpt-4o-mini"), "models.gpt-4o-mini"),
        (("models", "gpt-3.5"), 'models["gpt-3.5"]'),
        (("models", "team-a/*", 0, "target"), 'models["team-a/*"][0].target'),
        (("models", 'say "hi"'), 'models["say \\"hi\\""]'),
        (("models", "é"), 'models["é"]'),
        (("models", "a\u202eb\x1b"), 'models["a\\u202eb\\u001b"]'),
        (("4",), '["4"]'),
        (("providers", "a", "api_key", "sk-1"), "providers.a.api_key.***"),
        (("providers", "a", "headers", "x-team"), "providers.a.headers.x-team"),
        (("providers", "a", "headers", "x: sk-1", 0), "providers.a.headers.***[0]"),
        (("https://me:pw@host",), '["https://***@host"]'),
        ((*["a"] * 20,), ".".join(["a"] * 16) + "…"),
        (("x" * 500,), '["' + "x" * 200 + '"]'),
    ],
)
def test_places_are_written_as_problems_print_them(where: Where, text: str) -> None:
    assert written(where) == text


def test_a_problem_names_its_place_and_shows_its_line() -> None:
    found = document(TEXT)
    problem = found.problem("some-code", ("models", "fast", "chain", 1, "target"), "what is wrong", severity="warning")
    assert str(problem) == "routes.yaml:6:18: some-code: models.fast.chain[1].target: what is wrong"
    assert problem.excerpt == '      - {target: vllm/b, "params": {😀: 1}}'
    assert (problem.caret, problem.severity, problem.source) == (18, "warning", "routes.yaml")
    assert found.problem("c", ("models", "fast"), "m", key=True).excerpt == "  fast:"


def test_a_message_never_holds_user_info() -> None:
    assert document("a: 1").problem("c", (), "no https://me:pw@host/v1 here").message == "no https://***@host/v1 here"


def test_problems_come_in_file_order_and_an_anchors_only_once() -> None:
    found = document("a: &x {b: 1}\nc: *x\n")
    problems = [
        found.problem("late", ("c",), "m"),
        found.problem("same", ("a", "b"), "m"),
        found.problem("same", ("c", "b"), "m"),
        found.problem("other", ("c", "b"), "m"),
        found.problem("first", (), "m"),
    ]
    assert [(problem.code, problem.path) for problem in in_file_order(problems)] == [
        ("first", ""), ("same", "a.b"), ("other", "c.b"), ("late", "c"),
    ]  # fmt: skip


def test_problems_without_a_place_in_the_file_are_told_apart_by_their_path() -> None:
    problems = [Problem(line=0, column=0, code="c", path=path, message="m") for path in ("a", "b", "a")]
    assert [problem.path for problem in in_file_order(problems)] == ["a", "b"]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert document(b"\xef\xbb\xbfa: 1").value == {"a": 1}


@pytest.mark.parametrize(
    ("data", "line", "column", "code"),
    [
        (b"a: \xff", 1, 4, "not-utf8"),
        (b"a: 1\r\nb: \xc3\xa9\xe9", 2, 5, "not-utf8"),
        (b"\xef\xbb\xbfa: \xff", 1, 4, "not-utf8"),
        (b"a: \xed\xa0\x80", 1, 4, "not-utf8"),
        ("a: 1".encode("utf-16"), 1, 1, "not-utf8"),
        (codecs.BOM_UTF16_BE + "a: 1".encode("utf-16-be"), 1, 1, "not-utf8"),
        (b"a: 1\nb: \0", 2, 4, "not-utf8"),
        (b"a: 1\nb: '\x07'", 2, 5, "yaml-syntax"),
        (b"a: \x1b[31m", 1, 4, "yaml-syntax"),
        ("a: \x80".encode(), 1, 4, "yaml-syntax"),
        ("a: \uffff".encode(), 1, 4, "yaml-syntax"),
        (b"", 1, 1, "empty-file"),
        (b"\xef\xbb\xbf", 1, 1, "empty-file"),
    ],
)
def test_bytes_that_are_no_text_are_a_problem_at_their_place(data: bytes, line: int, column: int, code: str) -> None:
    problem = only_problem(data)
    assert (problem.line, problem.column, problem.code) == (line, column, code)


def test_a_file_over_sixteen_mebibytes_is_refused() -> None:
    assert only_problem(b"#" * (MAX_BYTES + 1)).code == "file-too-large"


@given(st.binary(max_size=200))
def test_no_bytes_make_parse_raise(data: bytes) -> None:
    _look_at_everything(parse(data, name="x"))


PIECES = [
    "a", "b: ", "- ", "? ", ": ", "{", "}", "[", "]", ",", "\n", "\n  ", "\n    ", " ", "'", '"', "|", ">-", "&x ",
    "*x", "*y", "!t ", "!!str ", "%YAML 1.2\n", "---\n", "...\n", "#c", "\t", "<<: ", "api_key: ", "headers:", "https://u:p@h",
    "\\x41", "\\q", "@", "\ufeff", "\u2028", "\x85", "😀", "\r", "\r\n", "${A}", "${", "$$", "~", "0x1", "1e999",
    "9" * 30, "version: 1\n", "models:\n", "providers:\n", "\x07", "\0",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_text_makes_parse_or_the_judge_raise(text: str) -> None:
    found = document(text)
    _look_at_everything(found)
    Judge().read(found, environ={"A": "1"}, strict_env=False)


def _look_at_everything(found: Document) -> None:
    for problem in found.problems:
        assert 1 <= problem.line <= len(found.lines) + 1
        assert problem.column >= 1
        assert problem.excerpt is None or (problem.caret or 0) <= len(problem.excerpt) + 1
    assert (found.value is None) <= bool(found.problems)
    mask_values(found)


def test_ten_thousand_aliases_are_read() -> None:
    models = "".join(f"  m{n}:\n    chain: [openai/gpt-{n}, {{target: vllm/a, timeout: 10s}}]\n" for n in range(10_000))
    found = document(f"version: 1\nmodels:\n{models}")
    assert found.value is not None
    assert len(found.value["models"]) == 10_000


def test_values_are_shown_as_written_and_secrets_as_stars() -> None:
    text = """\
version: 1
x-keys: &literal sk-hidden-1
providers:
  a: {api_key: "${A_KEY}", base_url: "https://me:sk-hidden-2@host/v1", params: {top_p: 1}}
  b: {api_key: *literal, headers: {x-team: sk-hidden-3, authorization: "Bearer ${B}", n: 5}}
  c: {api_key: "${C_KEY:-sk-hidden-4}", api_key_file: /run/key}
  d: {api_key: "${D_KEY:-}", kind: *literal}
models:
  secret-model: ["openai/${MODEL:-gpt-4o}"]
"""
    shown: Any = mask_values(document(text))
    assert shown == {
        "version": 1,
        "providers": {
            "a": {"api_key": "${A_KEY}", "base_url": "https://***@host/v1", "params": {"top_p": 1}},
            "b": {"api_key": "***", "headers": {"x-team": "***", "authorization": "***${B}", "n": "***"}},
            "c": {"api_key": "${C_KEY:-***}", "api_key_file": "/run/key"},
            "d": {"api_key": "${D_KEY:-}", "kind": "***"},
        },
        "models": {"secret-model": ["openai/${MODEL:-gpt-4o}"]},
    }
