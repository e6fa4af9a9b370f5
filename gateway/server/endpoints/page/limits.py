"""The page's part about limits: whose are in use, how full they are, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.reports.limit_words import owner_text, used_text
from gateway.server.endpoints.page.texts import NOTHING, bar, moment, row, share, table, text
from gateway.wire.json import JsonObject
from gateway.words import count

HEADS: Final = ("st:Owner", "s:Limit", "n:Used", "n:Being answered", "All free")
NEARLY: Final = 0.9
"""Share from which on a limit is nearly used up."""


def limits_section(state: JsonObject) -> str:
    """Return the section, nothing while no limit is in use."""
    rows = [row(HEADS, _limit(one)) for one in state["limits"]]
    if not rows:
        return ""
    more = state["limits_not_listed"]
    rest = f'<p class="dim">and {text(count(more, "limit"))} more, less full</p>' if more else ""
    return (
        '<section aria-labelledby="h-limits"><h2 id="h-limits">Limits in use</h2>'
        f'<div class="scroll">{table(HEADS, rows, empty="")}{rest}</div></section>'
    )


def _limit(one: JsonObject) -> Iterable[str]:
    part = one["share"]
    tone = "bad" if part >= 1 else "warn" if part >= NEARLY else ""
    yield f"<b>{text(owner_text(one))}</b>"
    yield text(one["limit"])
    used = f"{text(used_text(one))}, {share(part)}"
    if tone:
        used = f'<span class="{tone}">{used}</span>'
    yield used + bar(min(1.0, part), "failed" if part >= 1 else "used")
    yield text(one["reservations"])
    yield NOTHING if one["free_at"] is None else moment(one["free_at"], "free")
