"""What a running gateway says of itself, as text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from gateway.policy.problem import Problem
from gateway.reports.problems import Painter, problem_lines
from gateway.wire.json import Json, JsonObject
from gateway.words import printable, shown


def at_rest(targets: JsonObject) -> list[Json]:
    """Return the targets of `/-/targets` that rest after failures."""
    return [target for target in targets.get("targets", ()) if target.get("state") != "ok"]


def status_lines(status: JsonObject, painter: Painter, *, now: float) -> Iterator[str]:
    """Yield the report: what runs, whether the files say the same, the problems if not, and the targets at rest.

    `status` is what `/-/config` answers, with `url` and `targets_at_rest`. `now` is in seconds since the epoch.
    """
    since = _text(status["loaded_at"])
    yield f"{_text(status['url'])}: generation {_text(status['generation'])} since {since}{_age(since, now)}"
    if kept := status["last_good_of"]:
        yield f"serving the last good version of {_text(kept)}{_age(kept, now)}: at its start the file had problems"
    last = status["last_reload"]
    for file in status["files"]:
        yield f"{painter.place(_text(file['path']))}: {_state(file, painter)}"
    if not last["ok"]:
        yield f"refused {_text(last['at'])}{_age(last['at'], now)}:"
        yield from problem_lines([_problem(problem) for problem in last["problems"]], painter)
    elif not status["in_sync"]:
        yield "the file on disk was not read yet: it is being saved, or waits for its adapters"
    for target in status["targets_at_rest"]:
        yield f"at rest: {_target(target)}"


def _state(file: JsonObject, painter: Painter) -> str:
    running, on_disk = file["digest"], file["on_disk"]
    digest = f"digest {_text(running)[:12]}"
    if running is None:
        return f"{painter.error('not in sync')}; it is new"
    if on_disk is None:
        return f"{painter.error('cannot be read')}; {digest} still runs"
    if running == on_disk:
        return f"{painter.good('in sync')}, {digest}"
    return f"{painter.error('not in sync')}; {digest} still runs"


def _target(target: JsonObject) -> str:
    key = f" (key {_text(target['key'])})" if "key" in target else ""
    left_s = target["cooldown_ends_in_s"]
    return f"{_text(target['target'])}{key}, " + (f"for {shown(left_s)}" if left_s else "until a request probes it")


def _problem(value: JsonObject) -> Problem:
    """Return the problem that `Problem.as_json` made this of."""
    names = ("line", "column", "code", "severity", "path", "message", "source", "excerpt")
    return Problem(**{name: value[name] for name in names})


def _age(moment: str, now: float) -> str:
    """Return how long ago a moment was, in brackets; nothing if that is not known."""
    try:
        age_s = now - datetime.fromisoformat(moment).timestamp()
    except (TypeError, ValueError):
        return ""
    return f" ({shown(round(age_s))} ago)" if age_s >= 0 else ""


def _text(value: Json) -> str:
    return printable(str(value))
