"""A request as a row: what answered and what was tried before, as a small waterfall with words beside its bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gateway.reports.attempts import kept_answer
from gateway.server.endpoints.page.texts import NOTHING, joined, milliseconds, moment, row, text
from gateway.telemetry.report import CLOSED
from gateway.wire.json import JsonObject

_WIDTH: Final = 120
_HEIGHT: Final = 8
"""Of the waterfall's part beside one attempt, in units of its own."""
_MOST_ATTEMPTS: Final = 12
"""Attempts of one request that are listed; of more the first and the last ones."""

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
    is_late = one.get("cache") == "stale"
    return "fell" if is_late or len([each for each in one["attempts"] if each["called"]]) > 1 or _passed(one) else "ok"


def _passed(one: JsonObject) -> bool:
    return any(each["kind"] in {"cooldown", "limited"} for each in one["attempts"])


def _attributes(one: JsonObject) -> str:
    return f' id="request-{one["n"]}" data-outcome="{outcome(one)}" data-id="{text(one["request_id"])}"'


def _cells(one: JsonObject) -> Iterable[str]:
    yield f"<span>{moment(one['at'], 'clock')}</span>"
    asked = f"{one.get('method', '')} {one.get('path', '')}".strip()
    yield text(one["alias"] or asked or NOTHING) + _kind(one["operation"])
    good = outcome(one) != "failed"
    error = f" {text(one['error'])}" if one["error"] else ""
    broken = ", after its begin" if one["broken"] else ""
    mark = "✓" if good else "✕"
    yield f'<span class="{"good" if good else "bad"}">{mark} {text(one["status"])}{error}{broken}</span>'
    yield text(f"{one['ms']:g}")
    yield milliseconds(one["first_content_ms"])
    tokens = one["tokens"]
    yield NOTHING if tokens is None else text(f"{tokens.get('prompt', 0)} + {tokens.get('completion', 0)}")
    yield text(one["client"] or NOTHING)
    yield _attempts(one) + _limited(one)


def _limited(one: JsonObject) -> str:
    """Return the limit that refused a request or sent it on; nothing for most requests."""
    if not one.get("limited"):
        return ""
    full = f"the limit of {text(one['limited'])} is full"
    return f'<div class="bad">{full}</div>' if not one["attempts"] else f'<div class="warn">sent on: {full}</div>'


def _kind(operation: str) -> str:
    return "" if operation == "chat" else f' <span class="dim">{text(operation)}</span>'


def _attempts(one: JsonObject) -> str:
    """Return the attempts, one below the other; of several each behind its bar over the request's time."""
    attempts = one["attempts"]
    lines = [_attempt(each) for each in attempts]
    if one.get("calling"):
        lines.append(f'{text(one["calling"])} <span class="warn">left while it was called</span>')
    if kept := kept_answer(one):
        lines.append(f'<span class="dim">{text(kept)}</span>')
    if len(lines) < 2:
        nothing = "" if one.get("limited") else '<span class="dim">no target was asked</span>'
        return f"<div>{joined(lines)}</div>" if lines else nothing
    whole_ms = max(one["ms"], 0.1, *(each["start_ms"] + each["ms"] for each in attempts))
    bars = [_bar(each, whole_ms) for each in attempts]
    bars += [""] * (len(lines) - len(bars))
    items = [
        f'<li><svg class="fall" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{drawn}'
        f"</svg><span>{line}</span></li>"
        for drawn, line in zip(bars, lines, strict=True)
    ]
    if len(items) > _MOST_ATTEMPTS:
        half = _MOST_ATTEMPTS // 2
        items[half:-half] = [f'<li class="dim">… and {text(len(items) - 2 * half)} more …</li>']
    return f'<ol class="falls">{joined(items)}</ol>'


def _bar(each: JsonObject, whole_ms: float) -> str:
    if not each["called"]:
        return ""
    x, width = each["start_ms"] / whole_ms * _WIDTH, max(1.5, each["ms"] / whole_ms * _WIDTH)
    tone = "ok" if each["kind"] is None else "closed" if each["kind"] in CLOSED else "failed"
    track = f'<rect class="track" y="{_HEIGHT / 2 - 0.5:g}" width="{_WIDTH}" height="1"/>'
    return f'{track}<rect class="{tone}" x="{min(x, _WIDTH - 1.5):.1f}" width="{width:.1f}" height="{_HEIGHT}"/>'


def _attempt(each: JsonObject) -> str:
    key = f' <span class="dim">key {text(each["key"])}</span>' if each.get("key") else ""
    beside = ' <span class="dim">as a hedge</span>' if each.get("hedge") else ""
    name, took = f"{text(each['target'])}{key}{beside}", milliseconds(each["ms"])
    if each["kind"] is None:
        return f'{name} <span class="good">✓</span> <span class="dim">{took}</span>'
    status = f" {text(each['status'])}" if each["status"] else ""
    if not each["called"]:
        return f'{name} <span class="dim">passed over: {text(each["kind"])}</span>'
    tone = "dim" if each["kind"] in CLOSED else "bad"
    ended = f'<span class="{tone}">{text(each["kind"])}{status}</span>'
    return f'{name} {ended} <span class="dim">{took}</span>'
