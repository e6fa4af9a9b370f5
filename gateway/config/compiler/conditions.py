"""Compile `when` blocks: comparisons, times of the week, names of headers; and refuse those that nothing can meet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import tzinfo
from types import MappingProxyType
from typing import Final, cast

from gateway.config.compiler.implied import implies, is_always
from gateway.config.document.yaml_tree import Where
from gateway.config.model.specs import WhenSpec
from gateway.config.problems import Fault, Report
from gateway.policy.conditions import DAYS, During, Sign, Threshold, When
from gateway.policy.params import FORBIDDEN_PARAMS
from gateway.policy.secrets import is_secret_name
from gateway.policy.wires import FEATURES_OF
from gateway.wire.json import EMPTY
from gateway.words import did_you_mean

_CREDENTIALS: Final = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "x-goog-api-key"}
)
"""Headers by which clients show who they are; others are told by their names."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_THRESHOLD: Final = re.compile(r"\s*(>=|<=|>|<)\s*([0-9]+(?:\.[0-9]+)?)(k?)\s*")
_HOURS: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")
_DAY_MIN: Final = 24 * 60
_HOW_TIMES: Final = "write days, hours and a time zone, such as 'mon-fri 08:00-18:00 Europe/Berlin'"


def compiled_when(spec: WhenSpec, place: Where, report: Report) -> When | None:
    """Return a condition; None when it has problems, which are reported at their parts of `place`."""
    when = _without_inverse(spec, place, report)
    if spec.inverse is None:
        return when
    inverse = _without_inverse(spec.inverse, (*place, "not"), report)
    if when is None or inverse is None:
        return None
    if implies(when, inverse):
        report((*place, "not"), "bad-when", "this can never be met: whatever meets the rest meets the 'not' too")
        return None
    return replace(when, inverse=inverse)


def _without_inverse(spec: WhenSpec, place: Where, report: Report) -> When | None:
    good = True

    def refuse(part: Where, fault: Fault, *, at_key: bool = False) -> None:
        nonlocal good
        good = False
        report((*place, *part), fault.code, fault.message, at_key=at_key)

    thresholds: dict[str, Threshold] = {}
    for name, text in (("tokens", spec.tokens), ("max_tokens", spec.max_tokens)):
        if text is not None:
            threshold = threshold_of(text)
            if isinstance(threshold, Fault):
                refuse((name,), threshold)
            else:
                thresholds[name] = threshold
    during = None if spec.during is None else during_of(spec.during)
    if isinstance(during, Fault):
        refuse(("during",), during)
        during = None
    headers: dict[str, tuple[str, ...]] = {}
    for name, values in spec.headers.items():
        fault = header_fault(name)
        if fault is None and name.lower() in headers:
            fault = Fault("bad-header", f"{name!r} is there twice; case does not tell headers apart")
        if fault is not None:
            refuse(("header", name), fault, at_key=True)
        for value in values:
            if "*" in value[:-1]:
                refuse(("header", name), Fault("misplaced-star", f"{value!r} may have one `*`, at its end"))
        headers[name.lower()] = values
    for name in spec.params:
        message = _why_unread(name)
        if message is not None:
            refuse(("param", name), Fault("bad-when", message), at_key=True)
    lacking = _lacking(spec)
    if lacking:
        message = f"this can never be met: no request of these operations has {' and '.join(lacking)}"
        refuse(("operation",), Fault("bad-when", message))
    if not good:
        return None
    return When(
        features=spec.features,
        tokens=thresholds.get("tokens"),
        max_tokens=thresholds.get("max_tokens"),
        operations=spec.operations,
        headers=_frozen(headers),
        metadata=spec.metadata,
        clients=spec.clients,
        params=spec.params,
        during=during,
    )


def _frozen(headers: dict[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType(headers) if headers else EMPTY


def _why_unread(name: str) -> str | None:
    """Return why no condition can read a field of a request, or None."""
    if name == "model":
        return "'model' is the alias that is asked for, the same for the whole chain; no condition reads it"
    if name == "stream":
        return "'stream' is a condition of its own; write `stream: true` beside `param`"
    if name in FORBIDDEN_PARAMS:
        return f"{name!r} is removed from every request before conditions are read"
    return None


def _lacking(spec: WhenSpec) -> list[str]:
    """Return the features that a condition wants together and that no request of its operations has."""
    wanted = {name for name, is_wanted in spec.features.items() if is_wanted} - {"tools"}
    if not spec.operations or any(wanted <= FEATURES_OF[operation] for operation in spec.operations):
        return []
    return [name for name in spec.features if name in wanted]


def header_fault(name: str) -> Fault | None:
    """Return why the file may not name a client's header, or None."""
    lower = name.lower()
    if lower in _CREDENTIALS or is_secret_name(lower):
        message = f"{name!r} holds a key, and cannot be named here; for the client's name there is `client`"
        return Fault("secret-header", message)
    if not _HEADER_NAME.fullmatch(lower):
        return Fault("bad-header", "a header's name is made of letters, digits and dashes")
    return None


def threshold_of(text: str) -> Threshold | Fault:
    """Return a comparison such as `> 100k`."""
    match = _THRESHOLD.fullmatch(text)
    number = float(match[2]) * (1000 if match[3] else 1) if match else 0.5
    if match is None or round(number, 6) % 1:
        message = f"{text!r} is no comparison; write >, >=, < or <= and a whole number, such as '> 100k'"
        return Fault("bad-threshold", message)
    sign, whole = cast("Sign", match[1]), round(number)
    if whole == 0 and sign in (">=", "<"):
        always = "every number meets" if sign == ">=" else "no number can meet"
        return Fault("bad-threshold", f"{always} {text!r}")
    return Threshold(sign, whole)


def during_of(text: str) -> During | Fault:
    """Return a time of the week: days (or every day), hours (or the whole day) and a time zone."""
    *words, name = text.split() or [""]
    if not 1 <= len(words) <= 2:
        return Fault("bad-during", f"{text!r} is no time of the week; {_HOW_TIMES}")
    has_hours = any(character.isdigit() for character in words[-1])
    hours = _hours(words.pop()) if has_hours else (0, 0)
    if isinstance(hours, Fault):
        return hours
    if len(words) > 1:
        return Fault("bad-during", f"{words[1]!r} are no hours; write them like 08:00-18:00")
    days = _days(words[0]) if words else frozenset(range(7))
    if isinstance(days, Fault):
        return days
    zone = _zone(name)
    if isinstance(zone, Fault):
        return zone
    during = During(text=" ".join(text.split()), days=days, begin_min=hours[0], end_min=hours[1], zone=zone)
    return Fault("bad-during", f"{text!r} is the whole week, so it always holds") if is_always(during) else during


def _hours(word: str) -> tuple[int, int] | Fault:
    match = _HOURS.fullmatch(word)
    if match is None:
        return Fault("bad-during", f"{word!r} are no hours; write them like 08:00-18:00")
    begin_h, begin, end_h, end = map(int, match.groups())
    begin_min, end_min = begin_h * 60 + begin, end_h * 60 + end
    if begin > 59 or end > 59 or begin_min >= _DAY_MIN or end_min > _DAY_MIN:
        return Fault("bad-during", f"{word!r} are no hours: a day has those from 00:00 to 24:00")
    return begin_min, end_min


def _days(word: str) -> frozenset[int] | Fault:
    days: set[int] = set()
    for part in word.lower().split(","):
        first, dash, last = part.partition("-")
        for name in (first, last) if dash else (first,):
            if name not in DAYS:
                hint = did_you_mean(name, DAYS) or f"; the days are {', '.join(DAYS)}"
                return Fault("bad-during", f"{name!r} is no day{hint}")
        begin = DAYS.index(first)
        count = (DAYS.index(last) - begin) % 7 if dash else 0
        days.update((begin + number) % 7 for number in range(count + 1))
    return frozenset(days)


def _zone(name: str) -> tzinfo | Fault:
    # Few files have hours, and the module takes a few milliseconds to import.
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(name, zoneinfo.available_timezones()) or "; write one such as Europe/Berlin or UTC"
        return Fault("bad-during", f"{name!r} is no time zone{hint}")
