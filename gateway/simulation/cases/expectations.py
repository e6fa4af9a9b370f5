"""Compare the outcome of a request with what a case expects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.config.document.yaml_tree import Position
from gateway.config.model.limit_texts import normal_form
from gateway.policy.secrets import STARS
from gateway.simulation.cases.file import Expect
from gateway.simulation.simulator import Observed, Seen
from gateway.wire.json import Json, JsonObject
from gateway.words import seconds, shown

TOLERANCE_S: Final = 0.001
"""Durations that differ by at most this are equal."""

NOT_THERE: Final = "(not there)"

HOOKS_CHANGE: Final = frozenset({"sent", "text", "body"})
"""Keys of an expectation that hooks can change: not compared when hooks are skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One value that is not as expected. `expected` and `actual` are lines of text to show."""

    check: str
    """The compared value, such as `attempts` or `sent.messages[0].content`."""
    position: Position
    expected: tuple[str, ...] = ()
    actual: tuple[str, ...] = ()
    message: str | None = None
    """Text to show instead of a comparison."""


def compare(expect: Expect, observed: Observed, *, without_hooks: bool = False) -> list[Mismatch]:
    """Return all mismatches in the file's order, but for `share`, which is about many requests."""
    left_out = {"share", *(HOOKS_CHANGE if without_hooks else ())}
    checks = {key: _CHECKS[key] for key in expect.values if key not in left_out}
    return [
        Mismatch(
            check=f"{key}{path}",
            position=expect.positions.get(key, expect.position),
            expected=tuple(expected),
            actual=tuple(actual),
        )
        for key, check in checks.items()
        for path, expected, actual in check(expect.values[key], observed, without_hooks)
    ]


Difference = tuple[str, list[str], list[str]]
"""(path below the key, expected lines, actual lines)."""

_Check = Callable[[Json, Observed, bool], Iterator[Difference]]


def _name(value: Json) -> str:
    return "(none)" if value is None else str(value)


def _shown(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)


def _same(read: Callable[[Observed], Json], *, show: Callable[[Json], str] = _shown) -> _Check:
    def check(wanted: Json, observed: Observed, _: bool) -> Iterator[Difference]:
        actual = read(observed)
        if not _equal(wanted, actual):
            yield "", [show(wanted)], [show(actual)]

    return check


def _attempts(wanted: Json, observed: Observed, without_hooks: bool) -> Iterator[Difference]:
    items = [{"target": item} if isinstance(item, str) else item for item in wanted]
    made = observed.attempts
    expected = [_attempt_as_wanted(item) for item in items]
    actual = [_attempt_as_seen(seen) for seen in made]
    for index, (item, seen) in enumerate(zip(items, made, strict=False)):
        if _fits(item, seen):
            actual[index] = expected[index]
    if expected != actual:
        yield "", expected, actual
    for index, (item, seen) in enumerate(zip(items, made, strict=False)):
        if "sent" in item and item["target"] == seen.target and not without_hooks:
            for path, one, other in holds(item["sent"], seen.call.sent, masked=seen.call.shown):
                yield f"[{index}].sent{path}", one, other


def _fits(item: JsonObject, seen: Seen) -> bool:
    return (
        item["target"] == seen.target
        and ("kind" not in item or item["kind"] == seen.kind)
        and ("status" not in item or item["status"] == seen.status)
        and ("at" not in item or _near(seconds(item["at"]), seen.started_s))
        and ("took" not in item or within(item["took"], seen.ended_s - seen.started_s))
    )


def _attempt_as_wanted(item: JsonObject) -> str:
    words = [item["target"]]
    if "kind" in item:
        words.append(item["kind"] or "answered")
    if "status" in item:
        words.append(str(item["status"]))
    if "at" in item:
        words.append(f"at {shown(seconds(item['at']))}")
    if "took" in item:
        words.append(f"took {_span(item['took'])}")
    return "  ".join(words)


def _attempt_as_seen(seen: Seen) -> str:
    status = f" {seen.status}" if seen.status else ""
    took = seen.ended_s - seen.started_s
    lasted = f"  took {shown(took)}" if took >= TOLERANCE_S else ""
    return f"{seen.target}  {seen.kind or 'answered'}{status}  at {shown(seen.started_s)}{lasted}"


def _skipped(wanted: Json, observed: Observed, _: bool) -> Iterator[Difference]:
    if list(wanted) != list(observed.skipped):
        yield "", list(wanted) or ["(none)"], list(observed.skipped) or ["(none)"]


def _waits(wanted: Json, observed: Observed, _: bool) -> Iterator[Difference]:
    expected_s = [seconds(item) for item in wanted]
    actual_s = observed.waits_s
    near = (_near(one, other) for one, other in zip(expected_s, actual_s, strict=False))
    if len(expected_s) != len(actual_s) or not all(near):
        yield "", [", ".join(map(shown, expected_s)) or "(none)"], [", ".join(map(shown, actual_s)) or "(none)"]


def _sent(wanted: Json, observed: Observed, _: bool) -> Iterator[Difference]:
    if not observed.attempts:
        yield "", [_shown(wanted)], ["(no target was called)"]
    else:
        last = observed.attempts[-1].call
        yield from holds(wanted, last.sent, masked=last.shown)


def _headers(wanted: Json, observed: Observed, _: bool) -> Iterator[Difference]:
    for name, value in wanted.items():
        actual = observed.headers.get(name.lower())
        expected = None if value is None else str(value)
        if actual != expected:
            yield f".{name}", [expected or NOT_THERE], [actual or NOT_THERE]


def _body(wanted: Json, observed: Observed, _: bool) -> Iterator[Difference]:
    if observed.body is None:
        yield "", [_shown(wanted)], ["(a stream has no body; expect `text` or `broken`)"]
    else:
        yield from holds(wanted, observed.body, masked=observed.body)


def _limited(wanted: Json, observed: Observed, _: bool) -> Iterator[Difference]:
    if wanted != observed.limited and (wanted is None or normal_form(wanted) != observed.limited):
        yield "", [_name(wanted)], [_name(observed.limited)]


def _retry_after(wanted: Json, observed: Observed, _: bool) -> Iterator[Difference]:
    actual_s = observed.retry_after_s
    if actual_s is None or wanted is None:
        if actual_s is not wanted:
            expected, actual = (NOT_THERE if wanted is None else _span(wanted)), (actual_s and shown(actual_s))
            yield "", [expected], [actual or observed.headers.get("retry-after", NOT_THERE)]
    elif not within(wanted, actual_s):
        yield "", [_span(wanted)], [shown(actual_s)]


def _duration(read: Callable[[Observed], float | None]) -> _Check:
    def check(wanted: Json, observed: Observed, _: bool) -> Iterator[Difference]:
        actual_s = read(observed)
        if actual_s is None:
            yield "", [_span(wanted)], ["(it was no stream)"]
        elif not within(wanted, actual_s):
            yield "", [_span(wanted)], [shown(actual_s)]

    return check


_CHECKS: Final[Mapping[str, _Check]] = {
    "target": _same(lambda observed: observed.target, show=_name),
    "alias": _same(lambda observed: observed.alias, show=_name),
    "attempts": _attempts,
    "skipped": _skipped,
    "waits": _waits,
    "sent": _sent,
    "status": _same(lambda observed: observed.status),
    "headers": _headers,
    "error": _same(lambda observed: observed.error, show=_name),
    "limited": _limited,
    "cache": _same(lambda observed: observed.cache, show=_name),
    "retry_after": _retry_after,
    "kind": _same(lambda observed: observed.kind, show=_name),
    "text": _same(lambda observed: observed.text),
    "body": _body,
    "broken": _same(lambda observed: observed.broken),
    "elapsed": _duration(lambda observed: observed.elapsed_s),
    "first_content": _duration(lambda observed: observed.first_content_s),
}
"""By key of an expectation; the schema lets no other through, but for `share`."""


def within(wanted: Json, actual_s: float) -> bool:
    """Tell whether a duration is the wanted one, or within the wanted bounds."""
    if not isinstance(wanted, dict):
        return _near(seconds(wanted), actual_s)
    least_s = seconds(wanted.get("at_least", 0))
    most_s = seconds(wanted["at_most"]) if "at_most" in wanted else actual_s
    return least_s - TOLERANCE_S <= actual_s <= most_s + TOLERANCE_S


def holds(wanted: Json, actual: Json, path: str = "", *, masked: Json) -> Iterator[Difference]:
    """Yield the differences between `wanted` and `actual`. `masked` is `actual` with secrets masked, to show.

    Only keys in `wanted` are compared; a null there stands for a missing key. Lists must have the same length.
    """
    if isinstance(wanted, dict) and isinstance(actual, dict):
        for key, value in wanted.items():
            if key in actual and actual[key] is not None:
                part = masked.get(key, STARS) if isinstance(masked, dict) else masked
                yield from holds(value, actual[key], f"{path}.{key}", masked=part)
            elif value is not None:
                yield f"{path}.{key}", [_shown(value)], [_shown(None) if key in actual else NOT_THERE]
    elif isinstance(wanted, list) and isinstance(actual, list) and len(wanted) == len(actual):
        for index, (one, other) in enumerate(zip(wanted, actual, strict=True)):
            part = masked[index] if isinstance(masked, list) else masked
            yield from holds(one, other, f"{path}[{index}]", masked=part)
    elif not _equal(wanted, actual):
        if isinstance(wanted, list) and isinstance(masked, list):
            yield path, [*map(_shown, wanted)] or ["[]"], [*map(_shown, masked)] or ["[]"]
        else:
            yield path, [NOT_THERE if wanted is None else _shown(wanted)], [_shown(masked)]


def _equal(one: Json, other: Json) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _near(one_s: float, other_s: float) -> bool:
    return abs(one_s - other_s) <= TOLERANCE_S


def _span(wanted: Json) -> str:
    if not isinstance(wanted, dict):
        return shown(seconds(wanted))
    words = {"at_least": "at least", "at_most": "at most"}
    return " and ".join(f"{words[key]} {shown(seconds(value))}" for key, value in wanted.items()) or "any"
