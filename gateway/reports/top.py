"""The state and the last requests of a running gateway, as text: what the page `/-/` shows, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from textwrap import wrap
from typing import Final, NamedTuple

from gateway.reports.aligned import table
from gateway.reports.attempts import THEN, chain, kept_answer, steps
from gateway.reports.limit_words import has_caches, kept_text, owner_text, redis_text, used_text
from gateway.reports.problems import Painter
from gateway.wire.json import Json, JsonObject
from gateway.words import as_share, count, cut, printable, shown

MAX_TARGETS: Final = 12
MAX_ALIASES: Final = 12
MAX_LIMITS: Final = 6
MAX_REQUESTS: Final = 15
"""Rows of each part where the screen has no size."""
_MAX_CELL: Final = 40
_NOTHING: Final = "-"
_BELOW: Final = "    "
"""Before what goes on below its line."""
_AROUND: Final = 9
"""Lines of titles, heads of tables and empty ones."""


class Size(NamedTuple):
    """The size of a terminal."""

    columns: int
    rows: int


class _Rows(NamedTuple):
    """Rows of each part."""

    targets: int
    aliases: int
    requests: int


_FEWEST: Final = _Rows(2, 1, 3)
"""On the smallest screen: a request of two attempts may take three lines."""


def top_lines(
    state: JsonObject, requests: JsonObject, painter: Painter, *, url: str, now: float, size: Size | None = None
) -> Iterator[str]:
    """Yield the screen for what `/-/state` and `/-/requests` answer. `now` is in seconds since the epoch.

    With a `size` each part gets its share of the lines, and attempts that are too long for one have a line each.
    """
    targets, aliases = state["targets"], state["aliases"]
    truth = list(_truth(state, painter, url, now, size))
    yield from truth
    yield ""
    limits = state.get("limits", ())
    above = len(truth) + (2 + min(len(limits), MAX_LIMITS) if limits else 0)
    rows = _rows(size, above, len(targets), len(aliases))
    yield painter.place(f"targets, worst first{_more(len(targets) + state['targets_not_listed'], rows.targets)}")
    yield from table([_TARGET, *(_target(one, now) for one in targets[: rows.targets])])
    yield painter.place(f"aliases{_more(len(aliases) + state['aliases_not_listed'], rows.aliases)}")
    if len(aliases) > rows.aliases:
        aliases = sorted(aliases, key=_is_calm)
    with_hits = has_caches(state)
    heads = (*_ALIAS[:-1], "hits, 15 min", _ALIAS[-1]) if with_hits else _ALIAS
    yield from table([heads, *(_alias(one, with_hits=with_hits) for one in aliases[: rows.aliases])])
    if limits:
        yield painter.place(f"limits, fullest first{_more(len(limits) + state['limits_not_listed'], MAX_LIMITS)}")
        yield from table([_LIMIT, *(_limit(one, now) for one in limits[:MAX_LIMITS])])
    last = requests["requests"][-rows.requests :][::-1]
    yield painter.place("last requests")
    if size is None:
        yield from table([_REQUEST, *([*_request(one, _MAX_CELL), _attempts(one)] for one in last)])
    else:
        yield from list(_wrapped(last, size.columns))[: rows.requests + 1]


def _rows(size: Size | None, above: int, targets: int, aliases: int) -> _Rows:
    """Return the rows of each part on a screen on which `above` lines come before them."""
    if size is None:
        return _Rows(MAX_TARGETS, MAX_ALIASES, MAX_REQUESTS)
    left = size.rows - 1 - above - _AROUND
    for_targets = min(targets, MAX_TARGETS, max(_FEWEST.targets, left // 3))
    for_aliases = min(aliases, MAX_ALIASES, max(_FEWEST.aliases, left // 4))
    return _Rows(for_targets, for_aliases, max(_FEWEST.requests, left - for_targets - for_aliases))


def _is_calm(one: JsonObject) -> bool:
    """Tell whether an alias has no step at rest and fell over in no request."""
    return not one["last_quarter"]["fell_over"] and all(step["state"] == "ok" for step in one["chain"])


def _wrapped(requests: Sequence[JsonObject], columns: int) -> Iterator[str]:
    """Yield the table of requests, with a line for each attempt where one line is too short for all."""
    cells = [_request(one, columns // 4) for one in requests]
    begins = [line.ljust(columns) for line in table([(*row, "") for row in (_REQUEST[:-1], *cells)])]
    width = max(len(line.rstrip()) for line in begins) + len("  ")
    yield begins[0][:width] + _REQUEST[-1]
    for begin, one in zip(begins[1:], requests, strict=False):
        attempts = _attempts(one)
        each = [*steps(one["attempts"], one.get("calling"))] or [attempts]
        if one["attempts"]:
            each[-1] += _sent_on(one)
            each += [printable(kept)] if (kept := kept_answer(one)) else []
        if width + len(attempts) <= columns:
            yield begin[:width] + attempts
            continue
        lines = [each[0], *(THEN.lstrip() + step for step in each[1:])]
        if width + max(map(len, lines)) <= columns:
            yield begin[:width] + lines.pop(0)
            yield from (" " * width + line for line in lines)
        else:
            yield begin.rstrip()
            yield from (_BELOW + line for line in lines)


def _truth(state: JsonObject, painter: Painter, url: str, now: float, size: Size | None) -> Iterator[str]:
    """Yield the line of truth, and the text of a refused edit, of which a screen has a quarter at most."""
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
        *([kept_text(state["cache"])] if has_caches(state) else []),
        *([painter.error(printable(redis))] if (redis := redis_text(state["redis"])) else []),
    )
    yield " · ".join(facts)
    if refused is not None:
        ago = _seconds(refused["at"], now)
        yield f"refused {shown(round(max(0.0, -ago)))} ago; generation {_text(config['generation'])} is served instead:"
        text = list(map(printable, str(refused["text"]).split("\n")))
        if size is not None:
            text = [line for long in text for line in wrap(long, size.columns, subsequent_indent=_BELOW)]
            most = max(3, size.rows // 4)
            if len(text) > most:
                text[most - 1 :] = [f"and {count(len(text) - most + 1, 'more line')}: see `gateway status`"]
        yield from text


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
    "limited": "no room in its limits",
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


def _alias(one: JsonObject, *, with_hits: bool) -> tuple[str, ...]:
    quarter = one["last_quarter"]
    asked = quarter["requests"]
    fell = f"{_share(quarter['fell_over'] / asked)} of {asked}" if asked else _NOTHING
    hits = (_hits(one.get("cache")),) if with_hits else ()
    return _cell(one["alias"]), _cell(one["now"] or "nothing"), fell, *hits, _chain(one)


def _hits(cache: JsonObject | None) -> str:
    if cache is None or cache["hit_share"] is None:
        return _NOTHING
    return f"{_share(cache['hit_share'])} of {cache['hits'] + cache['misses']}"


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


def _request(one: JsonObject, longest: int) -> tuple[str, ...]:
    """Return the cells without that of the attempts."""
    status = " ".join(str(each) for each in (one["status"], one["error"]) if each)
    asked = one["alias"] or f"{one.get('method', '')} {one.get('path', '')}".strip() or _NOTHING
    return (
        _text(one["at"])[11:19],
        cut(_text(asked), longest),
        status + (", after its begin" if one["broken"] else ""),
        f"{one['ms']:g}",
        cut(_text(one["client"] or _NOTHING), longest),
    )


def _attempts(one: JsonObject) -> str:
    attempts, kept = chain(one["attempts"], one.get("calling")), printable(kept_answer(one))
    if kept:
        return f"{attempts}{THEN}{kept}" if attempts else kept
    if attempts:
        return attempts + _sent_on(one)
    return f"the limit of {_text(one['limited'])} is full" if one.get("limited") else "no target was asked"


def _sent_on(one: JsonObject) -> str:
    """Return the limit that sent a request on, behind its attempts; nothing for most requests."""
    return f", sent on: {_text(one['limited'])} is full" if one.get("limited") else ""


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
