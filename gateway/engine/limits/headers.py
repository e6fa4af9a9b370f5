"""What an answer's head tells of limits: `RateLimit-Policy` and `RateLimit`, of the tightest one.

Source: https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-11.html (`q`, `qu`, `w`, `r`, `t`). The
`x-ratelimit-*` of an upstream are its own, and are never mixed with ours.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from gateway.engine.limits.store import Standing
from gateway.policy.limits import Limit, Unit, Window

_QUOTA_UNITS: Final[dict[Unit, str]] = {
    "requests": "", "tokens": ';qu="tokens"', "spend": ';qu="cents"', "concurrent": ';qu="concurrent-requests"',
}  # fmt: skip
"""Requests are the draft's default. Cents, because a quota is a whole number."""
_WINDOWS: Final[dict[Window | None, str]] = {"minute": ";w=60", "hour": ";w=3600", "day": ";w=86400"}
"""Months are not equally long, and `w` may be left out."""

LIMITED: Final = "x-gateway-limited"

_MAX_KNOWN: Final = 1024
_known: Final[dict[int, tuple[Limit, str, float]]] = {}
"""Cache by id(): the limit, and what `_constant` returns. To hash a limit takes longer than all else."""


def head_lines(standing: Standing, limited: str | None = None) -> str:
    """Return the lines of a response's head. `limited`: the limit that sent the request to another alias."""
    limit, left, free_in_s = standing
    known = _known.get(id(limit))
    if known is None or known[0] is not limit:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        known = _known[id(limit)] = (limit, *_constant(limit))
    _, before, factor = known
    if free_in_s is None:
        lines = f"{before}{int(left * factor)}\r\n"
    else:
        lines = f"{before}{int(left * factor)};t={ceil(free_in_s)}\r\n"
    return lines if limited is None else f"{lines}{LIMITED}: {limited}\r\n"


def _constant(limit: Limit) -> tuple[str, float]:
    """Return what comes before a limit's `r`, and what that is multiplied by."""
    factor = 100.0 if limit.unit == "spend" else 1.0
    more = f"{_QUOTA_UNITS[limit.unit]}{_WINDOWS.get(limit.per, '')}"
    policy = f'RateLimit-Policy: "{limit.bucket}";q={round(limit.amount * factor)}{more}'
    return f'{policy}\r\nRateLimit: "{limit.bucket}";r=', factor
