"""A compiler that reuses results of the last text gives the same outcome as a new compiler."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.policy.overlay import NO_OVERLAY, Overlay
from gateway.policy.table import RoutingTable

ENVIRON: Final = {"MODEL": "m", "OPENAI_API_KEY": "k"}


def compiler() -> Compiler:
    return Compiler(environ=ENVIRON, strict_env=True, bare_names=False)


def shown(compiled: Compiled) -> Any:
    """Return an outcome as text; `repr` distinguishes 1 from True."""
    table = compiled.table
    return compiled.problems, compiled.digest, table and (repr(table.routes), repr(table.wildcards), table)


def in_turn(*texts: str, overlay: Overlay = NO_OVERLAY) -> list[RoutingTable | None]:
    """Compile texts with one compiler and compare each outcome with a new compiler's."""
    one = compiler()
    tables: list[RoutingTable | None] = []
    for text in texts:
        found = one.compile(text.encode(), source="routes.yaml", overlay=overlay)
        fresh = compiler().compile(text.encode(), source="routes.yaml", overlay=overlay)
        assert shown(found) == shown(fresh)
        if found.table is not None and fresh.table is not None:
            assert found.table.config == fresh.table.config
        tables.append(found.table)
    return tables


BASE: Final = """\
version: 1
defaults: {timeout: 30s, params: {top_p: 1}}
providers:
  up: {kind: openai, base_url: "http://127.0.0.1:1/v1", params: {seed: 1}}
  other: {kind: openai, base_url: "http://127.0.0.1:2/v1"}
models:
  one: up/one
  two: [up/a, other/b]
  three: {chain: [{alias: one}, {target: other/c, params: {stop: x}}]}
  four: {chain: [{alias: two}, openai/d]}
  "w/*": "up/*"
  six: {chain: [{alias: w/x}]}
  seven: up/${MODEL}
  pooled: [{pool: {up/p: 9, other/q: 1}, pick: sticky}, {when: {tools: true}, alias: two}]
  outer: [{pool: [{alias: pooled, weight: 3}, up/r]}, up/z]
  last: up/z
  "s/*": {chain: ["up/*"], shadow: {target: "other/*", share: 5%}}
hooks: {pre: []}
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("one: up/one", "one: up/uno"),
        ("  one: up/one\n", ""),
        ("  one: up/one\n", "  one: {chain: [{alias: three}]}\n"),
        ("timeout: 30s", "timeout: 31s"),
        ("top_p: 1", "top_p: true"),
        ("seed: 1", "seed: true"),
        ("seed: 1", "seed: 1.0"),
        ("stop: x", "stop: y"),
        ("127.0.0.1:2", "127.0.0.1:3"),
        ("  other: {kind: openai, base_url: \"http://127.0.0.1:2/v1\"}\n", ""),
        ('"w/*": "up/*"', '"w/*": "other/*"'),
        ('"w/*": "up/*"', '"w/y*": "up/*"'),
        ("openai/d", "openai/d d"),
        ("{pre: []}", "{pre: [json.dumps]}"),
        ("{pre: []}", "{pre: [no.such]}"),
        ("one: up/one", "one: {chain: [up/one], hooks: {pre: [json.dumps]}}"),
        ('"w/*": "up/*"', '"w/*": {chain: ["up/*"], hooks: {post: [json.dumps]}}'),
        ("up/p: 9", "up/p: 8"),
        ("tools: true", "tools: false"),
        (", pick: sticky", ""),
        ("{when: {tools: true}, alias: two}", "{alias: two}"),
        ("pooled: [{pool: {up/p: 9, other/q: 1}, pick: sticky}, {when: {tools: true}, alias: two}]", "pooled: up/p"),
        ("tools: true", "tokens: '>= 0'"),
        ("weight: 3", "weight: 4"),
        ("share: 5%", "share: 6%"),
        ('target: "other/*"', "target: other/s"),
        ('target: "other/*"', 'target: "nobody/*"'),
        (', shadow: {target: "other/*", share: 5%}', ""),
        (', shadow: {target: "other/*", share: 5%}', ", hedge: 2s"),
        ("two: [", "two: [,"),
        ("two: [", "# a line\n  two: ["),
        ("  two: [up/a, other/b]", "  two: [up/a, other/b, nowhere/c]\n  new: 5"),
        ("version: 1\n", "version: 1\nx-team: [1, 2]\n"),
    ],
)  # fmt: skip
def test_after_an_edit_and_back_the_outcome_is_a_fresh_compilers(old: str, new: str) -> None:
    assert old in BASE
    edited = BASE.replace(old, new)
    in_turn(BASE, edited, edited, BASE, edited)


def test_what_did_not_change_is_the_same_object() -> None:
    before, after = in_turn(BASE, BASE.replace("up/uno", "up/one").replace("one: up/one", "one: up/uno"))
    assert before is not None
    assert after is not None
    kept = [name for name, route in after.routes.items() if before.routes[name] is route]
    assert kept == ["two", "four", "seven", "pooled", "outer", "last"]
    assert after.wildcards["w/"] is before.wildcards["w/"]
    assert after.wildcards["s/"] is before.wildcards["s/"]


def test_an_overlay_lies_over_what_is_remembered() -> None:
    one = compiler()
    overlays = [
        NO_OVERLAY,
        Overlay(mappings={"one": "up/code", "w/q": "up/q", "s/x": "up/s"}),
        Overlay(fallbacks={"two": ("up/f",)}),
    ]
    for overlay in (*overlays, *reversed(overlays)):
        found = one.compile(BASE.encode(), source="routes.yaml", overlay=overlay)
        assert shown(found) == shown(compiler().compile(BASE.encode(), source="routes.yaml", overlay=overlay))


def test_a_variable_is_looked_up_anew() -> None:
    environ = {"MODEL": "m"}
    one = Compiler(environ=environ)
    for model in ("m", "n", "m"):
        environ["MODEL"] = model
        table = one.compile(BASE.replace("openai/d", "up/d").encode(), source="routes.yaml").table
        assert table is not None
        assert table.routes["seven"].steps[0].target.name == f"up/{model}"


def test_a_problem_below_a_new_line_is_where_the_file_has_it() -> None:
    one = compiler()
    text = BASE.replace("six: {chain: [{alias: w/x}]}", "six: {chain: [{alias: w/x}, {alias: one}]}")
    assert one.compile(text.encode(), source="r").table is not None
    broken = text.replace("  one: up/one\n", "").replace("  two:", "\n\n\n  two:")
    problems = one.compile(broken.encode(), source="r").problems
    assert [(problem.line, problem.column, problem.code) for problem in problems] == [
        (11, 27, "unknown-alias"), (14, 39, "unknown-alias"),
    ]  # fmt: skip
    assert [problem.excerpt for problem in problems] == [broken.splitlines()[10], broken.splitlines()[13]]


VALUES: Final = [
    "up/a", "up/b", "[up/a, other/b]", "{chain: [{alias: a}]}", "{chain: [{alias: b}, up/c]}", "5", "nowhere/x",
    "{chain: [up/d], timeout: 5s}", "{chain: [{alias: w/q}]}", "up/${MODEL}",
    "{chain: [{target: up/e, params: {n: 1}}]}",
    "{chain: [{target: up/e, params: {n: true}}]}", "\n    chain:\n      - up/f",
    "{chain: [up/g], hooks: {pre: [json.dumps]}}",
    "{chain: [up/a, other/b], hedge: 2s}", "{chain: [up/a, other/b], hedge: p95}",
    "{chain: [up/a], shadow: {target: other/s, share: 0.5}}", "{chain: [{alias: a}], shadow: {target: up/s, share: 1}}",
    "[{pool: {up/a: 9, other/b: 1}}, up/c]", "[{pool: [up/a, {alias: a}], pick: sticky}]",
    "[{pool: {up/a: 8, up/a: 1}}]",
    "[{when: {tools: true}, alias: b}, up/h]",
    "[{when: {tools: true}, pool: [up/a, {alias: c, weight: 2}]}, {alias: a}]",
    "[{when: {tokens: '>= 0'}, target: up/i}]", "[{pool: [up/a, {target: nowhere/x}]}]",
]  # fmt: skip
HEADS: Final = ["", "defaults: {retries: 1}\n", "defaults: {params: {n: true}}\n", "hooks: {pre: [json.dumps]}\n", "\n"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(HEADS),
            st.integers(1, 3),
            st.dictionaries(st.sampled_from(["a", "b", "c", '"w/*"', "d", "e"]), st.sampled_from(VALUES), min_size=1),
        ),
        min_size=2,
        max_size=4,
    )
)
def test_whatever_the_edits_the_outcome_is_a_fresh_compilers(
    files: list[tuple[str, int, dict[str, str]]],
) -> None:
    providers = (
        'providers:\n  up: {kind: openai, base_url: "http://h:%s/v1"}\n'
        '  other: {kind: openai, base_url: "http://h:9/v1"}\n'
    )
    in_turn(
        *(
            f"version: 1\n{head}{providers % port}models:\n"
            + "".join(f"  {name}: {value}\n" for name, value in models.items())
            for head, port, models in files
        )
    )
