"""The state and the last requests of a running gateway, as text: what the page `/-/` shows, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from gateway.reports.aligned import table
from gateway.reports.attempts import chain
from gateway.reports.limit_words import owner_text, used_text
from gateway.reports.problems import Painter
from gateway.wire.json import Json, JsonObject
from gateway.words import as_share, count, cut, printable, shown

MAX_TARGETS: Final = 12
MAX_ALIASES: Final = 12
MAX_LIMITS: Final = 6
MAX_REQUESTS: Final = 15
"""Rows of each part on one screen."""
_MAX_CELL: Final = 40
_NOTHING: Final = "-"


def top_lines(state: JsonObject, requests: JsonObject, painter: Painter, *, url: str, now: float) -> Iterator[str]:
    """Yield the screen for what `/-/state` and `/-/requests` answer. `now` is in seconds since the epoch."""
    yield from _truth(state, painter, url, now)
    yield ""
    targets = state["targets"]
    yield painter.place(f"targets, worst first{_more(len(targets) + state['targets_not_listed'], MAX_TARGETS)}")
    yield from table([_TARGET, *(_target(one, now) for one in targets[:MAX_TARGETS])])
    aliases = state["aliases"]
    yield painter.place(f"aliases{_more(len(aliases) + state['aliases_not_listed'], MAX_ALIASES)}")
    yield from table([_ALIAS, *map(_alias, aliases[:MAX_ALIASES])])
    if limits := state.get("limits"):
        yield painter.place(f"limits, fullest first{_more(len(limits) + state['limits_not_listed'], MAX_LIMITS)}")
        yield from table([_LIMIT, *(_limit(one, now) for one in limits[:MAX_LIMITS])])
    rows = requests["requests"]
    yield painter.place("last requests")
    yield from table([_REQUEST, *map(_request, reversed(rows[-MAX_REQUESTS:]))])


def _truth(state: JsonObject, painter: Painter, url: str, now: float) -> Iterator[str]:
    config = state["config"]
    refused = config["refused"]
    ready = (painter.good if state["state"] == "ready" else painter.warning)(_text(state["state"]))
    if refused is not None:
        sync = painter.error("the last edit was refused")
    else:
        sync = painter.good("in sync") if config["in_sync"] else painter.warning("the file was not read yet")
    facts = (
        f"{printable(url)}: {ready}",
        f"generation {_text(config['generation'])} since {_text(config['loaded_at'])[11:19]}",
        *_workers(state["workers"], painter),
        sync,
        count(config["aliases"], "alias"),
        f"{_text(state['in_flight'])} in flight",
    )
    yield " · ".join(facts)
    if refused is not None:
        ago = _seconds(refused["at"], now)
        yield f"refused {shown(round(max(0.0, -ago)))} ago; generation {_text(config['generation'])} is served instead:"
        yield from map(printable, str(refused["text"]).split("\n"))


def _workers(workers: list[JsonObject] | None, painter: Painter) -> Iterator[str]:
    if workers is None:
        return
    silent = [_text(one["worker"]) for one in workers if not one["answers"]]
    if silent:
        yield painter.warning(f"worker {', '.join(silent)} does not answer: without it")
    else:
        yield count(len(workers), "worker")


_TARGET: Final = ("target", "state", "in flight", "calls/min", "success", "p50", "p95", "last failure")
_ALIAS: Final = ("alias", "takes now", "fell over, 15 min", "chain")
_LIMIT: Final = ("owner", "limit", "used", "share", "being answered", "all free in")
_REQUEST: Final = ("time", "alias", "status", "ms", "client", "attempts")
_STATES: Final[Mapping[str, str]] = {
    "cooldown": "at rest",
    "probing": "to be probed",
    "no_key": "no key",
    "condition": "by condition only",
}


def _target(one: JsonObject, now: float) -> tuple[str, ...]:
    minute, failure = one["last_minute"], one["last_failure"]
    state = _STATES.get(one["state"], _text(one["state"]))
    if one["rest_ends_at"]:
        state += f" {shown(max(0, round(_seconds(one['rest_ends_at'], now))))}"
    times = minute["first_content_ms"]
    failed = _NOTHING
    if failure is not None:
        status = f" {failure['status']}" if failure["status"] else ""
        failed = f"{failure['kind']}{status} {shown(max(0, round(-_seconds(failure['at'], now))))} ago"
    return (
        _cell(one["target"]),
        state,
        _text(one["in_flight"]),
        _text(minute["calls"]),
        _share(minute["success_share"]),
        *(_NOTHING if times[name] is None else f"{times[name]:g}ms" for name in ("p50", "p95")),
        failed,
    )


def _alias(one: JsonObject) -> tuple[str, ...]:
    quarter = one["last_quarter"]
    asked = quarter["requests"]
    fell = f"{_share(quarter['fell_over'] / asked)} of {asked}" if asked else _NOTHING
    return _cell(one["alias"]), _cell(one["now"] or "nothing"), fell, _chain(one)


def _chain(one: JsonObject) -> str:
    """Return `a/b 75% | a/c 25% > d/e`: the members of a pool with their shares, then the steps after it."""
    shares = one.get("shares", {})
    text, was_in_pool = "", False
    for step in one["chain"]:
        target, state = step["target"], step["state"]
        is_in_pool = len(shares) > 1 and target in shares
        if text:
            text += " | " if is_in_pool and was_in_pool else " > "
        text += _text(target)
        if is_in_pool:
            text += f" {_share(shares[target])}"
        if state != "ok":
            text += f" ({_STATES.get(state, _text(state))})"
        was_in_pool = is_in_pool
    return f"{text} > {one['more']} more" if one["more"] else text


def _limit(one: JsonObject, now: float) -> tuple[str, ...]:
    free_at = one["free_at"]
    return (
        _cell(owner_text(one)),
        _text(one["limit"]),
        used_text(one),
        _share(one["share"]),
        _text(one["reservations"]),
        _NOTHING if free_at is None else shown(max(0, round(_seconds(free_at, now)))),
    )


def _request(one: JsonObject) -> tuple[str, ...]:
    status = " ".join(str(each) for each in (one["status"], one["error"]) if each)
    asked = one["alias"] or f"{one.get('method', '')} {one.get('path', '')}".strip() or _NOTHING
    return (
        _text(one["at"])[11:19],
        _cell(asked),
        status + (", after its begin" if one["broken"] else ""),
        f"{one['ms']:g}",
        _cell(one["client"] or _NOTHING),
        chain(one["attempts"], one.get("calling")) or "no target was asked",
    )


def _more(number: int, most: int) -> str:
    return f" ({most} of {number})" if number > most else ""


def _share(part: float | None) -> str:
    return _NOTHING if part is None else as_share(round(part, 3))


def _seconds(moment: str, now: float) -> float:
    """Return the seconds until a moment; less than zero if it is over."""
    return datetime.fromisoformat(moment).timestamp() - now


def _cell(value: Json) -> str:
    return cut(_text(value), _MAX_CELL)


def _text(value: Json) -> str:
    return printable(str(value))
