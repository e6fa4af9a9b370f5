"""The attempts of a request as text, for a log line and for `gateway top`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.reports.problems import PLAIN, Painter
from gateway.telemetry.report import PASSED_OVER, CacheResult
from gateway.wire.json import JsonObject
from gateway.words import printable

THEN: Final = " > "
KEPT_WORDS: Final[Mapping[CacheResult, str]] = {
    "hit": "a kept answer",
    "collapsed": "the answer to an equal request",
    "stale": "a kept answer that is too old",
}
"""Between one attempt and the next."""


def chain(attempts: Sequence[JsonObject], calling: str | None, painter: Painter = PLAIN) -> str:
    """Return `a/b overloaded 503 1.2ms > c/d ok 20ms`; empty without any.

    `attempts` as a log line has them; `calling` is the target that was being called when the client left.
    """
    return THEN.join(steps(attempts, calling, painter))


def steps(attempts: Sequence[JsonObject], calling: str | None, painter: Painter = PLAIN) -> list[str]:
    """Return the text of each attempt; of the same arguments."""
    found = [_attempt(each, painter) for each in attempts]
    if calling is not None:
        found.append(painter.warning(f"{printable(calling)} left"))
    return found


def _attempt(each: JsonObject, painter: Painter) -> str:
    target, kind = printable(str(each["target"])), each["kind"]
    if each.get("key"):
        target += f" ({printable(str(each['key']))})"
    if each.get("hedge"):
        target += " as a hedge"
    if kind is None:
        return f"{painter.good(f'{target} ok')} {each['ms']:g}ms"
    if kind in PASSED_OVER:
        return f"{target} passed over: {kind}"
    status = f" {each['status']}" if each["status"] else ""
    return f"{target} {painter.warning(f'{kind}{status}')} {each['ms']:g}ms"


def kept_answer(one: JsonObject) -> str:
    """Return the kept answer that a request of `/-/requests` got, whose target answered then; mostly an empty text."""
    words = KEPT_WORDS.get(one.get("cache") or "miss")
    return "" if words is None else f"{words} of {one['target']}"
