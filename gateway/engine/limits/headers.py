"""What an answer's head tells of limits: `RateLimit-Policy` and `RateLimit`, of the tightest one.

Source: https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-11.html (`q`, `qu`, `w`, `r`, `t`). The
`x-ratelimit-*` of an upstream are its own, and are never mixed with ours.
"""

from __future__ import annotations

import math
from functools import lru_cache
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


def head_lines(standing: Standing, limited: str | None = None) -> str:
    """Return the lines of a response's head. `limited`: the limit that sent the request to another alias."""
    limit, left, free_in_s = standing
    left = left * 100 if limit.unit == "spend" else left
    reset = "" if free_in_s is None else f";t={math.ceil(free_in_s)}"
    lines = f'{_policy(limit)}RateLimit: "{limit.bucket}";r={int(left)}{reset}\r\n'
    return lines if limited is None else f"{lines}{LIMITED}: {limited}\r\n"


@lru_cache(maxsize=1024)
def _policy(limit: Limit) -> str:
    amount = limit.amount * 100 if limit.unit == "spend" else limit.amount
    more = f"{_QUOTA_UNITS[limit.unit]}{_WINDOWS.get(limit.per, '')}"
    return f'RateLimit-Policy: "{limit.bucket}";q={round(amount)}{more}\r\n'
