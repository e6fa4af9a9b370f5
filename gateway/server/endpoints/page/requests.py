"""A request as a row: what answered, and what was tried before, in words and as a small waterfall."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from gateway.server.endpoints.page.texts import NOTHING, joined, milliseconds, moment, row, text
from gateway.telemetry.report import HEDGED_OUT
from gateway.wire.json import JsonObject

_WIDTH: Final = 160
"""Of the waterfall, in CSS pixels."""
_BAR: Final = 5
_MOST_BARS: Final = 16


_made: Final[dict[tuple[int, str, str], str]] = {}
"""The rows that were made last: a request does not change any more."""
_MOST_MADE: Final = 400


def request_row(heads: Sequence[str], one: JsonObject) -> str:
    """Return the row of a request of `/-/requests`."""
    key = one["n"], one["ended_at"], one["request_id"]
    made = _made.get(key)
    if made is None:
        made = row(heads, _cells(one), attributes=_attributes(one))
        if len(_made) >= _MOST_MADE:
            _made.clear()
        _made[key] = made
    return made


def outcome(one: JsonObject) -> str:
    """Return `ok` for a request answered at its first call, `fell` for one answered after others, else `failed`."""
    if one["status"] >= 400 or one["error"] is not None or one["broken"]:
        return "failed"
    return "fell" if len([each for each in one["attempts"] if each["called"]]) > 1 or _passed(one) else "ok"


def _passed(one: JsonObject) -> bool:
    return any(each["kind"] == "cooldown" for each in one["attempts"])


def _attributes(one: JsonObject) -> str:
    return f' id="request-{one["n"]}" data-outcome="{outcome(one)}" data-id="{text(one["request_id"])}"'


def _cells(one: JsonObject) -> Iterable[str]:
    yield f"<span>{moment(one['at'], 'clock')}</span>"
    asked = f"{one.get('method', '')} {one.get('path', '')}".strip()
    yield text(one["alias"] or asked or NOTHING) + _kind(one["operation"])
    good = outcome(one) != "failed"
    error = f" {text(one['error'])}" if one["error"] else ""
    broken = " broken after its begin" if one["broken"] else ""
    mark = "✓" if good else "✕"
    yield f'<span class="{"good" if good else "bad"}">{mark} {text(one["status"])}{error}{broken}</span>'
    yield text(f"{one['ms']:g}")
    yield milliseconds(one["first_content_ms"])
    tokens = one["tokens"]
    yield NOTHING if tokens is None else text(f"{tokens.get('prompt', 0)} + {tokens.get('completion', 0)}")
    yield text(one["client"] or NOTHING)
    yield f"<div>{_chain(one)}{_waterfall(one)}</div>"


def _kind(operation: str) -> str:
    return "" if operation == "chat" else f' <span class="dim">{text(operation)}</span>'


def _chain(one: JsonObject) -> str:
    steps = [f"<li>{_attempt(each)}</li>" for each in one["attempts"]]
    if one.get("calling"):
        steps.append(f'<li>{text(one["calling"])} <span class="warn">left while it was called</span></li>')
    return f'<ol class="chain">{joined(steps)}</ol>' if steps else '<span class="dim">no target was asked</span>'


def _attempt(each: JsonObject) -> str:
    key = f' <span class="dim">key {text(each["key"])}</span>' if each.get("key") else ""
    beside = ' <span class="dim">beside it</span>' if each.get("hedge") else ""
    name, took = f"{text(each['target'])}{key}{beside}", milliseconds(each["ms"])
    if each["kind"] is None:
        return f'{name} <span class="good">✓</span> <span class="dim">{took}</span>'
    status = f" {text(each['status'])}" if each["status"] else ""
    if not each["called"]:
        return f'{name} <span class="dim">passed over: {text(each["kind"])}</span>'
    tone = "dim" if each["kind"] == HEDGED_OUT else "bad"
    ended = f'<span class="{tone}">{text(each["kind"])}{status}</span>'
    return f'{name} {ended} <span class="dim">{took}</span>'


def _waterfall(one: JsonObject) -> str:
    """Return the calls as bars over the request's time; nothing for a single call, which says no more than its row."""
    calls = [each for each in one["attempts"] if each["called"]][:_MOST_BARS]
    if len(calls) < 2:
        return ""
    whole_ms = max(one["ms"], *(each["start_ms"] + each["ms"] for each in calls), 0.1)
    bars = []
    for place, each in enumerate(calls):
        x, width = each["start_ms"] / whole_ms * _WIDTH, max(1.5, each["ms"] / whole_ms * _WIDTH)
        style = {None: "ok", HEDGED_OUT: "closed"}.get(each["kind"], "failed")
        y = place * (_BAR + 2)
        bars.append(f'<rect class="track" x="0" y="{y + 2}" width="{_WIDTH}" height="1"/>')
        bars.append(f'<rect class="{style}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}"/>')
    return _svg(len(calls)) + f"{joined(bars)}</svg>"


@lru_cache(maxsize=_MOST_BARS)
def _svg(bars: int) -> str:
    height = bars * (_BAR + 2)
    return f'<svg width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" aria-hidden="true">'
