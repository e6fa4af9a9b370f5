"""What a reload changed, in the lines of `gateway diff`: the same as it says, and never long to find."""

from __future__ import annotations

import time

import pytest

from gateway.config.compare.policies import compare
from gateway.config.compiler.compiler import Compiler
from gateway.engine.arrange import shares
from gateway.policy.table import RoutingTable
from gateway.reports.diff_text import change_lines
from gateway.server.history import MAX_ALIASES, describe

BASE = """\
version: 1
providers: {up: {kind: openai, base_url: "http://h/v1", api_key: sk-secret-1}}
models:
  fast: up/a
  nested: [{alias: fast}, up/b]
  same: up/c
  "team/*": "up/*"
"""
EDITS = {
    "nothing": (BASE, BASE),
    "a chain": (BASE, BASE.replace("up/a", "up/z")),
    "a new alias out of a wildcard": (BASE, f"{BASE}  team/x: up/x\n"),
    "an alias that falls to a wildcard": (f"{BASE}  team/x: up/x\n", BASE),
    "a key": (BASE, BASE.replace("sk-secret-1", "sk-secret-2")),
    "a provider": (BASE, BASE.replace("same: up/c", "same: mock/echo")),
    "hooks of a nested alias": (BASE, BASE.replace("up/a\n", "{chain: [up/a], hooks: {pre: [os.path.basename]}}\n")),
    "global hooks": (BASE, f"{BASE}hooks: {{pre: [os.path.basename]}}\n"),
    "capabilities": (BASE, f"{BASE}capabilities: {{c: os.path.basename}}\n"),
    "defaults": (BASE, f"{BASE}defaults: {{retries: 7}}\n"),
}


def tables(*texts: str) -> list[RoutingTable]:
    """Compile the texts one after the other, as reloads do."""
    compiler = Compiler(environ={})
    found = [compiler.compile(text.encode(), source="routes.yaml") for text in texts]
    assert all(one.table for one in found), [one.problems for one in found]
    return [one.table for one in found if one.table is not None]


@pytest.mark.parametrize("name", EDITS)
def test_it_says_what_diff_says(name: str) -> None:
    old, new = EDITS[name]
    before = [Compiler(environ={}).compile(text.encode(), source="routes.yaml").table for text in (old, new)]
    assert before[0] is not None
    assert before[1] is not None
    whole = tuple(change_lines(compare(before[0], before[1], shares)))
    assert describe(*tables(old, new)) == whole
    assert bool(whole) == (name != "nothing")
    assert "sk-secret" not in str(whole)


def test_an_edit_of_very_many_aliases_is_counted() -> None:
    texts = [f"version: 1\nmodels:\n{''.join(f'  a{n}: mock/{m}{n}{chr(10)}' for n in range(3000))}" for m in "xy"]
    old, new = tables(*texts)
    began_s = time.process_time()
    assert describe(old, new) == ("~ 3000 aliases: too many to compare here; `gateway diff` does",)
    assert time.process_time() - began_s < 0.5
    assert MAX_ALIASES < 3000
