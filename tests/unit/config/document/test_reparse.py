"""Entries: after any edit the tree equals that of a text parsed as a whole."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.document.reparse import Entries
from gateway.config.document.yaml_tree import Fault, Node, read_tree

BASE: Final = """\
version: 1
providers: {up: {kind: openai, base_url: "http://127.0.0.1:1/v1"}}
models:
  # the first
  one: up/one

  two: [up/a, up/b]   # and a comment
  three:
    description: >+
      many
      words

    chain:
    - {target: up/c, timeout: 3s}
    - up/${NAME:-d}
  "four/*": 'up/*'
# not indented
  five:
    chain: ["up/e",
 up/f]
  six: up/g
hooks: {pre: []}
"""


def plain(node: Node | None, moved: int = 0) -> Any:
    """Return all values and positions of a tree."""
    if node is None:
        return None
    keys = {key: (line + moved, column) for key, (line, column) in node.keys.items()}
    if isinstance(node.children, dict):
        inside: Any = [(key, plain(child, moved)) for key, child in node.children.items()]
    else:
        inside = [plain(child, moved) for child in node.children or ()]
    return node.line + moved, node.column, node.value, node.plain, node.variables, keys, inside


def whole(text: str) -> tuple[Any, list[Fault]]:
    root, faults = read_tree(text)
    return plain(root), faults


def aliases(root: Node) -> dict[str, Node]:
    assert isinstance(root.children, dict)
    models = root.children["models"].children
    assert isinstance(models, dict)
    return models


def known(entries: Entries, text: str) -> tuple[Any, list[Fault]]:
    root, faults, moved = entries.read(text)
    shown = plain(root)
    if root is not None and isinstance(root.children, dict) and moved:
        inside = [(name, plain(node, moved.get(name, 0))) for name, node in aliases(root).items()]
        seen = (*plain(root.children["models"])[:-1], inside)
        shown = (*shown[:-1], [(key, seen if key == "models" else value) for key, value in shown[-1]])
    return shown, faults


def test_what_did_not_change_is_the_same_object() -> None:
    entries = Entries()
    first, _, _ = entries.read(BASE)
    second, faults, moved = entries.read(BASE.replace("  two:", "  # new\n  two:").replace("up/one", "up/uno"))
    assert first is not None
    assert second is not None
    old, new = aliases(first), aliases(second)
    assert (faults, moved) == ([], {"three": 1, "four/*": 1, "five": 1} | {"two": 1})
    assert [name for name in new if new[name] is not old[name]] == ["one", "six"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("up/one", "up/uno"),
        ("  one: up/one\n", ""),
        ("  six: up/g\n", ""),
        ("  six: up/g\n", "  six: up/g\n  seven: up/h\n"),
        ("version: 1\n", "# a line more\nversion: 1\n"),
        ("version: 1\n", "version: 2\nx-y: [1]\n"),
        ("  three:", "  two:"),
        ("  three:", "  one:"),
        ("  three:", "  <<: {seven: a/b}\n  three:"),
        ("  three:", "  ? [complex]\n  : a/b\n  three:"),
        ("  three:", "- three:"),
        ("up/one", '"up/one'),
        ("up/one", "'up/one"),
        ("up/one", "[up/one"),
        ("up/one", "{a: up/one"),
        ("up/one", "|+\n    up/one\n\n"),
        ("up/one", "up/one\n    and more"),
        ("up/one", "&all up/one"),
        ("  six: up/g", "  six: &all up/g\n  seven: *all"),
        ("  six: up/g", "  six: *all"),
        ("  six: up/g", '  six: "up/g'),
        ("  six: up/g", "  ~5: a/b\n  six: up/g"),
        ("  six: up/g", "  six: up/${OTHER}"),
        ("  five:", "   five:"),
        ("  five:", "\tfive:"),
        ("models:\n", "models: # the aliases\n"),
        ("models:\n", "models: {}\n"),
        ("models:\n", "models:\nmodels:\n"),
        ("models:\n", 'x-a: "\nmodels:\n'),
        ("models:\n", "models:\n  zero: a/b\n"),
        ("models:\n", "models:\n zero: a/b\n"),
        ("hooks:", "---\nhooks:"),
        ("hooks:", "x-models:\n  one: up/one\nhooks:"),
        ("hooks: {pre: []}\n", ""),
        ("hooks: {pre: []}\n", "hooks: {pre: []"),
        ("\n", "\r\n"),
        ("up/one", "up/\u2028one"),
        ("up/one", "up/é"),
        (BASE, ""),
    ],
)
def test_after_an_edit_the_tree_is_as_if_read_anew(old: str, new: str) -> None:
    assert old in BASE
    edited = BASE.replace(old, new)
    entries = Entries()
    for text in (BASE, edited, BASE, edited, edited):
        assert known(entries, text) == whole(text)


LINES: Final = [
    "version: 1", "models:", "  a: up/a", "  b: [up/b, up/c]", "  c:", "    chain:", "      - up/d", "  d: |+",
    "    text", "  e: \"", "  f: '", "  g: [", "  h: ]", "  i: &x up/i", "  j: *x", "", "# remark", "    # remark",
    "  'k': {l: m}", "x-n: \"", "x-o: 1", "\"", "'", "   l: up/l", " m: up/m", "  a: up/z", "---",
    "  <<: {q: up/q}", "  ~4: up/r",
]  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(LINES), max_size=14), min_size=2, max_size=4))
def test_whatever_the_lines_the_tree_is_as_if_read_anew(texts: list[list[str]]) -> None:
    entries = Entries()
    for lines in texts:
        text = "\n".join(["version: 1", "models:", *lines, ""])
        assert known(entries, text) == whole(text)
