"""The YAML 1.2 core schema, anchors within bounds, and syntax errors in our own words."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.document.yaml_tree import read_tree


def value(text: str) -> Any:
    root, faults = read_tree(text)
    assert faults == []
    assert root is not None
    return root.value


def codes(text: str) -> list[str]:
    return [code for _, code, _, _ in read_tree(text)[1]]


def one_fault(text: str) -> tuple[int, int, str, str]:
    _, faults = read_tree(text)
    assert len(faults) == 1, faults
    (line, column), code, _, message = faults[0]
    return line, column, code, message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("null", None), ("Null", None), ("NULL", None), ("~", None), ("", None), ("nUll", "nUll"),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False), ("FALSE", False),
        ("tRUE", "tRUE"), ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"), ("y", "y"), ("n", "n"),
        ("0", 0), ("7", 7), ("-7", -7), ("+7", 7), ("010", 10), ("-010", -10), ("0o10", 8), ("0x1F", 31),
        ("0b11", "0b11"), ("0o8", "0o8"), ("-0x1", "-0x1"), ("1_000", "1_000"), ("1:30", "1:30"),
        ("1:30:00", "1:30:00"),
        ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("-.5", -0.5), ("1e3", 1000.0), ("1.5E-2", 0.015), ("+1e+2", 100.0),
        ("1e", "1e"), (".", "."), ("e3", "e3"), ("+", "+"), ("1.2.3", "1.2.3"),
        ("2024-05-13", "2024-05-13"), ("2024-05-13T10:00:00Z", "2024-05-13T10:00:00Z"), ("0.0.0.0", "0.0.0.0"),
        ("18446744073709551615", 2**64 - 1), ("-9223372036854775808", -(2**63)), ("0" * 5000 + "7", 7),
        ("'true'", "true"), ('"1"', "1"), ("|\n  1\n", "1\n"), (">-\n  null\n", "null"),
        ("NaN", "NaN"), ("inf", "inf"), (".Nan", ".Nan"), ("-", [None]),
    ],
)  # fmt: skip
def test_a_scalar_means_what_the_core_schema_says(written: str, meant: object) -> None:
    text = f"k:\n{written}" if written == "-" else f"k: {written}"
    found = value(text)["k"]
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    "number",
    ["18446744073709551616", "-9223372036854775809", "9" * 5000, "0xFFFFFFFFFFFFFFFFF", "0o7777777777777777777777777",
     "1e999", "-1e999", ".inf", "-.INF", "+.Inf", ".nan", ".NaN"],
)  # fmt: skip
def test_a_number_that_json_cannot_hold_is_a_problem(number: str) -> None:
    line, column, code, message = one_fault(f"a: [{number}]")
    assert (line, column, code) == (1, 5, "bad-number")
    assert number not in message


@pytest.mark.parametrize("key", ["1", "null", "~", "true", "on", "010", "1.0", "2024-05-13", "0x1", "a b", "-", "#"])
def test_a_key_is_text_as_written(key: str) -> None:
    quoted = f'"{key}"' if key in "-#" else key
    assert value(f"{quoted}: x") == {key: "x"}


def test_an_empty_key_is_empty_text() -> None:
    assert value("? \n: x") == {"": "x"}


def test_equal_texts_are_duplicates_whatever_their_quotes() -> None:
    root, faults = read_tree("models:\n  1: a\n  '1': b\n  01: c\n")
    assert root is not None
    assert root.value == {"models": {"1": "a", "01": "c"}}
    assert [(fault[0], fault[1], fault[2]) for fault in faults] == [((3, 3), "duplicate-key", ("models", "1"))]


def test_each_further_duplicate_is_reported_at_its_own_key() -> None:
    _, faults = read_tree("a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n")
    assert [(fault[0], fault[2]) for fault in faults] == [((2, 1), ("a",)), ((3, 11), ("b", "c")), ((4, 1), ("a",))]


def test_an_alias_brings_what_its_anchor_holds() -> None:
    assert value("x: &a [1, {b: 2}]\ny: *a\nz: [*a, *a]") == {
        "x": [1, {"b": 2}], "y": [1, {"b": 2}], "z": [[1, {"b": 2}], [1, {"b": 2}]],
    }  # fmt: skip


def test_an_anchor_may_be_set_anew() -> None:
    assert value("a: &x 1\nb: *x\nc: &x 2\nd: *x") == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_an_alias_may_be_a_key() -> None:
    assert value("a: &name fast\n*name : 1") == {"a": "fast", "fast": 1}
    assert value("&name fast: 1\nb: *name") == {"fast": 1, "b": "fast"}


def test_an_alias_that_is_no_text_cannot_be_a_key() -> None:
    assert one_fault("a: &x [1]\n*x : 2")[:3] == (2, 1, "bad-key")


def test_an_unknown_anchor_is_a_problem_at_the_alias() -> None:
    assert one_fault("a: [1, *nobody]")[:3] == (1, 8, "unknown-anchor")
    assert codes("*nobody") == ["unknown-anchor", "wrong-type"]


def test_a_mappings_own_keys_win_over_merged_ones() -> None:
    text = "base: &b {x: 1, y: 2}\nown:\n  <<: *b\n  y: 3\n"
    assert value(text)["own"] == {"x": 1, "y": 3}
    assert value("base: &b {x: 1}\nown: {x: 2, <<: *b}")["own"] == {"x": 2}


def test_the_earlier_of_several_merged_mappings_wins() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nown: {<<: [*a, *b, {z: 3, w: 3}]}"
    assert value(text)["own"] == {"x": 1, "y": 1, "z": 2, "w": 3}


def test_merged_mappings_may_merge_others() -> None:
    assert value("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, z: 3}")["c"] == {"y": 2, "x": 1, "z": 3}


def test_a_quoted_merge_sign_is_a_plain_key() -> None:
    assert value("a: {'<<': {b: 1}}") == {"a": {"<<": {"b": 1}}}


@pytest.mark.parametrize("merged", ["3", "text", "[1]", "[{a: 1}, 2]", "null", "[[{}]]"])
def test_only_mappings_can_be_merged(merged: str) -> None:
    assert codes(f"a: {{<<: {merged}}}") == ["bad-merge"]


def test_an_alias_bomb_is_refused_before_it_is_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 60)]
    root, faults = read_tree("\n".join(lines))
    assert root is None
    assert [(fault[0], fault[1]) for fault in faults] == [((5, 10), "alias-bomb")]


def test_a_bomb_of_merges_is_refused() -> None:
    keys = ", ".join(f"k{n}: 1" for n in range(2000))
    sources = ", ".join(["*a"] * 1000)
    assert codes(f"a: &a {{{keys}}}\nb: {{<<: [{sources}]}}") == ["alias-bomb"]


def test_ten_thousand_uses_of_one_anchor_are_no_bomb() -> None:
    base = ", ".join(f"k{n}: 1" for n in range(60))
    uses = "\n".join(f"  m{n}: {{chain: [a/b], params: *p}}" for n in range(10_000))
    assert len(value(f"x-p: &p {{{base}}}\nmodels:\n{uses}")["models"]) == 10_000


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: &x {b: *x}", "a: &x {<<: *x}", "&x a: &x [1, [*x]]", "&x {a: *x}"])
def test_an_anchor_that_holds_itself_is_refused(text: str) -> None:
    root, faults = read_tree(text)
    assert root is None
    assert [fault[1] for fault in faults] == ["alias-bomb"]


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "[" * 5000 + "]" * 5000, "{a: " * 5000, "- " * 5000, "? " * 5000])
def test_deep_nesting_is_a_problem_and_no_recursion_error(text: str) -> None:
    assert codes(text)[-1] == "too-deep"


def test_depth_through_aliases_counts_as_well() -> None:
    opening, closing = "[" * 60, "]" * 60
    assert codes(f"a: &a {opening}x{closing}\nb: {opening}*a{closing}") == ["too-deep"]
    assert codes(f"a: &a {'[' * 99 + ']' * 99}\nb: *a") == []


@pytest.mark.parametrize(
    ("text", "column"),
    [("a: !foo x", 4), ("a: !!str x", 4), ("a: !!python/object:os.system x", 4), ("a: !<tag:x,2024:y> x", 4),
     ("a: ! x", 4), ("a: !foo [x]", 4), ("a: !foo {x: y}", 4), ("!foo a: x", 1), ("!foo {a: x}", 1),
     ("a: [!!int '1']", 5)],
)  # fmt: skip
def test_a_tag_is_refused(text: str, column: int) -> None:
    assert one_fault(text)[:3] == (1, column, "yaml-tag")


def test_an_undeclared_or_malformed_tag_is_refused_too() -> None:
    assert one_fault("a: !e!x y")[2] == "yaml-tag"
    assert one_fault("a: !<x")[2] == "yaml-tag"


def test_a_second_document_is_a_problem_where_it_starts() -> None:
    assert one_fault("a: 1\n---\nb: 2")[:3] == (2, 1, "many-documents")
    assert value("---\na: 1\n...\n") == {"a": 1}
    assert value("%YAML 1.2\n---\na: 1\n") == {"a": 1}


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "---\n", "---\n# x\n...\n", "%YAML 1.1\n---\n"])
def test_a_file_without_a_value_is_empty(text: str) -> None:
    assert one_fault(text)[:3] == (1, 1, "empty-file")


@pytest.mark.parametrize(("text", "column"), [("[]", 1), ("- a", 1), ("word", 1), ("  7", 3), ("null", 1), ("''", 1)])
def test_the_top_must_be_a_mapping(text: str, column: int) -> None:
    assert one_fault(text)[:3] == (1, column, "wrong-type")


@pytest.mark.parametrize("text", ["? [a]\n: b", "{a: b}: c", "a: {{b}}", "a: {[x]: y}", "? - a\n: b"])
def test_a_key_that_is_no_scalar_is_a_problem(text: str) -> None:
    assert codes(text) == ["bad-key"]


SYNTAX = [
    ("a: [1, 2", 1, 4, "the list that '[' opens here is never closed"),
    ("a: {b: 1\nc: 2", 1, 4, "the mapping that '{' opens here is still open in line 2"),
    ("key: [a}", 1, 6, "the list that '[' opens here is still open in line 1"),
    ("a: 'x\nb: y", 1, 4, "a quoted text is not closed"),
    ('a: "x', 1, 4, "a quoted text is not closed"),
    ("a: 'x\n---\n'", 2, 1, "a quoted text is not closed"),
    ("a: *", 1, 4, "'*' starts an alias"),
    ("models:\n  *: a/b", 2, 3, "'*' starts an alias"),
    ("a: &", 1, 4, "'&' starts an alias or an anchor"),
    ("a: @x", 1, 4, "no value can start with this character"),
    ("a: `x`", 1, 4, "no value can start with this character"),
    ("a: %x", 1, 4, "no value can start with this character"),
    ("\ta: 1", 1, 1, "a tab cannot indent"),
    ("a:\n\tb: 1", 2, 1, "a tab cannot indent"),
    ("a: b\n\tc: d", 2, 1, "a tab cannot indent"),
    ("a: b: c", 1, 5, "a ':' cannot stand here"),
    ("a: 1\n  b: 2", 2, 4, "a ':' cannot stand here"),
    ("a:\n  b: 1\n c: 2", 3, 2, "a key is missing here"),
    ("a: 'b' c", 1, 8, "a key is missing here"),
    ('a: "\\q"', 1, 5, "this escape sequence is unknown"),
    ('a: "\\ud800"', 1, 7, "this escape sequence names no character"),
    ('a: "\\xzz"', 1, 7, "this escape sequence wants hexadecimal digits"),
    ("- a\nb: c", 2, 1, "an entry of this list does not start with '-'"),
    ("%YAML 2.0\n---\na: 1", 1, 1, "only YAML 1.1 and 1.2"),
    ("%foo", 1, 5, "this %-directive"),
    ("a: |x\n foo", 1, 5, "the line must end here"),
    ("a: - b", 1, 4, "a '-' cannot start a list here"),
    ("a: ? b", 1, 4, "a key cannot stand here"),
    ("a: {k: ${V}}", 1, 8, "between brackets or braces a variable needs quotes"),
    ("a: [${V}]", 1, 5, "between brackets or braces a variable needs quotes"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "said"), SYNTAX)
def test_a_syntax_error_is_told_in_our_words(text: str, line: int, column: int, said: str) -> None:
    assert one_fault(text)[:3] == (line, column, "yaml-syntax")
    message = one_fault(text)[3]
    assert message.startswith(said)
    for theirs in ("while parsing", "while scanning", "found ", "did not find", "unicode string", "expected", "token"):
        assert theirs not in message


def test_columns_count_characters() -> None:
    assert one_fault("a: ['😀é', *x]")[:2] == (1, 11)
    assert one_fault("😀: 'é'\n'漢字': {b: 1, b: 2}")[:2] == (2, 14)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028"])
def test_every_line_end_of_yaml_counts_as_one_line(end: str) -> None:
    assert one_fault(f"a: 1{end}{end}b: 2{end}b: 3{end}")[:3] == (4, 1, "duplicate-key")


def test_faults_before_a_syntax_error_are_kept() -> None:
    assert codes("a: 1\na: 2\nb: [") == ["duplicate-key", "yaml-syntax"]
