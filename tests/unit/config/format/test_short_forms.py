"""Limits in any form: `fmt` changes none of them, and writes none twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.format.format import format_bytes
from tests.compiling import compiled

AMOUNTS = st.sampled_from(["60", "400k", "1.5M", "060", "60.0", '"60"', "'5M'", "1_000", "0x10", '"${N}"', "0", "1e3"])
WINDOWS = st.sampled_from(["minute", "hour", "day", "month", '"day"', "week", '"${W}"'])
THEN = st.sampled_from(["", ", then: {alias: a}"])
GAPS = st.sampled_from([" ", "  ", "\n        ", "  # a comment\n        "])


@st.composite
def limits(draw: st.DrawFn) -> str:
    """Write one limit as a mapping, in braces or as a block."""
    unit = draw(st.sampled_from(["requests", "tokens", "spend", "concurrent"]))
    entries = [f"{unit}: {draw(AMOUNTS)}"]
    if unit != "concurrent" or draw(st.integers(0, 9)) == 0:
        entries.append(f"per: {draw(WINDOWS)}")
    entries = draw(st.permutations(entries))
    if draw(st.booleans()):
        return f"{{{f',{draw(GAPS)}'.join(entries)}{draw(THEN)}}}"
    return "\n        ".join(entries)


@given(
    st.lists(limits(), min_size=1, max_size=4),
    st.sampled_from(["", "  # behind", "\n      # below", "\n        # inside"]),
)
def test_a_list_of_limits_keeps_its_meaning_and_settles(entries: list[str], comment: str) -> None:
    items = "".join(f"      - {entry}{comment}\n" for entry in entries)
    text = f"clients:\n  default:\n    limits:\n{items}models: {{a: mock/a}}\n"
    formatted = format_bytes(text.encode(), name="routes.yaml")
    again = format_bytes(formatted.data, name="routes.yaml")
    assert formatted.problems == ()
    assert again.data == formatted.data
    environ = {"N": "7", "W": "day"}
    before, after = (compiled(each, environ=environ) for each in (text, formatted.data.decode()))
    assert sorted(one.code for one in before.problems) == sorted(one.code for one in after.problems)
    if before.table is not None and after.table is not None:
        assert before.table.clients == after.table.clients
