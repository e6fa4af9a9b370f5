"""How long an upstream asks to wait: headers, Google's error bodies, and limits' reset times."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

from gateway.wire.json import Json

MAX_WAIT_S: Final = 366 * 86400.0
"""A longer wait is taken for a malformed one."""

_MAX_CHARS: Final = 64
_NUMBER: Final = re.compile(r"\d{1,12}(?:\.\d{1,12})?", re.ASCII)
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_UNIT_S: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MS: Final = "retry-after-ms"
_OPENAI_RESET: Final = "x-ratelimit-reset-"
_ANTHROPIC: Final = "anthropic-ratelimit-"
_RESET: Final = "-reset"
_TOO_MANY: Final = 429


def retry_after_s(
    headers: Mapping[str, str], *, now: float, status: int | None = None, error: Json = None
) -> float | None:
    """Return the seconds that an upstream asks to wait, never below zero; None if it asks for none.

    1. `retry-after-ms` (OpenAI's SDKs).
    2. `retry-after` as seconds, a fraction too, or as an HTTP date (RFC 9110, section 10.2.3). Malformed ones, such as
       a date without a zone, count for nothing.
    3. Google's RetryInfo in the `error` object (https://cloud.google.com/apis/design/errors#error_details).
    4. With a `status` of 429, when the limits that were hit are full again: `x-ratelimit-reset-*` as OpenAI's durations
       (https://platform.openai.com/docs/guides/rate-limits) or seconds, `anthropic-ratelimit-*-reset` as RFC 3339
       (https://platform.claude.com/docs/en/api/rate-limits).

    `headers` has lower-case names or ignores case; `now` is in seconds since the epoch.
    """
    found = _milliseconds_s(headers.get(_MS))
    if found is None:
        found = _header_s(headers.get("retry-after"), now)
    if found is None:
        found = _retry_info_s(error)
    if found is None and status == _TOO_MANY:
        found = _reset_s(headers, now)
    return found


def retry_after(wait_s: float) -> str:
    """Return the value of a `retry-after` header: whole seconds, rounded up, at least 1."""
    return str(max(1, math.ceil(wait_s)))


def told_headers(passed: Mapping[str, str], wait_s: float | None, *, now: float) -> Mapping[str, str]:
    """Return a refusal's headers for the client, where `retry-after` is there if any wait is known.

    Malformed headers of a wait are left out: clients would sleep for them. `passed` has lower-case names.
    """
    malformed = {name for name, value in passed.items() if _is_malformed(name, value, now)}
    if malformed:
        passed = {name: value for name, value in passed.items() if name not in malformed}
    if wait_s is not None and "retry-after" not in passed:
        passed = {**passed, "retry-after": retry_after(wait_s)}
    return passed


def _is_malformed(name: str, value: str, now: float) -> bool:
    """Tell whether a header should say a wait and does not. Resets may be points in time, as large numbers."""
    if name == "retry-after":
        return _header_s(value, now) is None
    if name == _MS:
        return _milliseconds_s(value) is None
    return name.startswith(_OPENAI_RESET) and _duration(value) is None


def _milliseconds_s(text: str | None) -> float | None:
    milliseconds = _number(text)
    return None if milliseconds is None else _sane(milliseconds / 1000)


def _header_s(text: str | None, now: float) -> float | None:
    seconds = _number(text)
    if seconds is not None or text is None:
        return _sane(seconds)
    if len(text) > _MAX_CHARS:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return _until(date, now)


def _retry_info_s(error: Json) -> float | None:
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
            delay = detail.get("retryDelay")
            return _sane(_duration(delay)) if isinstance(delay, str) else None
    return None


def _reset_s(headers: Mapping[str, str], now: float) -> float | None:
    """Return the longest of the resets of the limits that may have been hit.

    A limit with something left was not hit, unless all have: then it was one of tokens, and the request needs more.
    """
    hit: list[float] = []
    short: list[float] = []
    for limit, reset_s, remaining in _resets(headers, now):
        left = _number(remaining)
        if not left:
            hit.append(reset_s)
        elif not limit.startswith("requests"):
            short.append(reset_s)
    return max(hit or short, default=None)


def _resets(headers: Mapping[str, str], now: float) -> Iterator[tuple[str, float, str | None]]:
    """Yield each limit's name, the seconds until its reset, and what is left of it."""
    for name in headers:
        lower = name.lower()
        if lower.startswith(_OPENAI_RESET):
            limit = lower.removeprefix(_OPENAI_RESET)
            reset_s = _sane(_duration(headers[name]))
            remaining = headers.get(f"x-ratelimit-remaining-{limit}")
        elif lower.startswith(_ANTHROPIC) and lower.endswith(_RESET):
            limit = lower.removeprefix(_ANTHROPIC).removesuffix(_RESET)
            reset_s = _instant_s(headers[name], now)
            remaining = headers.get(f"{_ANTHROPIC}{limit}-remaining")
        else:
            continue
        if reset_s is not None:
            yield limit, reset_s, remaining


def _instant_s(text: str, now: float) -> float | None:
    try:
        return _until(datetime.fromisoformat(text), now) if len(text) <= _MAX_CHARS else None
    except ValueError:
        return None


def _until(date: datetime, now: float) -> float | None:
    """Return the seconds until a date. None for one without a zone: it may mean any."""
    return None if date.tzinfo is None else _sane(max(0.0, date.timestamp() - now))


def _duration(text: str) -> float | None:
    """Return the seconds of `1m30.5s`, `6m0s`, `20ms`, or of a number of seconds; None if malformed."""
    seconds = _number(text)
    if seconds is not None or len(text) > _MAX_CHARS:
        return seconds
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def _number(text: str | None) -> float | None:
    if text is None or len(text) > _MAX_CHARS or not _NUMBER.fullmatch(text.strip()):
        return None
    return float(text)


def _sane(seconds: float | None) -> float | None:
    return seconds if seconds is not None and seconds <= MAX_WAIT_S else None
