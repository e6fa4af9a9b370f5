"""The short form of a limit, `60 requests/minute` or `20 concurrent`: read it, write it, say what is wrong with it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, cast

from gateway.config.model.specs import LimitSpec
from gateway.policy.limits import Unit, Window
from gateway.words import as_number, did_you_mean

UNITS: Final[tuple[Unit, ...]] = ("requests", "tokens", "spend", "concurrent")
COUNTED: Final = UNITS[:2]
"""Units of the short form that have a window."""
HOW: Final = "write it like '60 requests/minute', '5M tokens/day' or '20 concurrent'"
WINDOWS: Final[tuple[Window, ...]] = ("minute", "hour", "day", "month")

MOST: Final = 10**12
"""The greatest amount that the schema takes."""
_MULTIPLES: Final = {"": 1, "k": 1000, "M": 1_000_000}
_AMOUNT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kM]?)")
_WRITTEN: Final = re.compile(r"[0-9]{1,12}|[0-9]{1,9}(?:\.[0-9]{1,6})?[kM]")
"""The amounts that the schema takes, but for zero."""
_LIMIT: Final = re.compile(
    rf"\s*+({_AMOUNT.pattern})\s++(?:({'|'.join(COUNTED)})/({'|'.join(WINDOWS)})|concurrent)\s*+"
)
_ROUGHLY: Final = re.compile(r"\$?\s*+([0-9][0-9.,_]*+)\s*+(?:([a-zA-Z])(?![a-zA-Z])\s*+)?+(.*)")
_SLIPS: Final = {
    **dict.fromkeys(("rpm", "requests per minute"), "requests/minute"),
    **dict.fromkeys(("tpm", "tokens per minute"), "tokens/minute"),
    **dict.fromkeys(("rph", "requests per hour"), "requests/hour"),
    **dict.fromkeys(("rpd", "requests per day"), "requests/day"),
    **dict.fromkeys(("tpd", "tokens per day"), "tokens/day"),
}
"""What other tools write, in our words."""


def amount_of(written: float | str) -> float:
    """Return an amount that the schema takes: a number, or a text such as `60`, `400k`, `1.5M`."""
    if not isinstance(written, str):
        return float(written)
    match = _AMOUNT.fullmatch(written)
    assert match is not None, "the schema takes no other"
    return float(Decimal(match[1]) * _MULTIPLES[match[2]])


def read_limit(text: str) -> LimitSpec:
    """Return the limit of a text that the schema takes."""
    match = _LIMIT.fullmatch(text)
    assert match is not None, "the schema takes no other"
    unit, per = cast("Unit", match[4] or "concurrent"), cast("Window | None", match[5])
    return LimitSpec(unit=unit, amount=amount_of(match[1]), per=per)


def normal_form(text: str) -> str:
    """Return a limit's text in its normal form; a text that is no limit in its short form as it is."""
    if _LIMIT.fullmatch(text) is None:
        return text
    found = read_limit(text)
    return limit_text(found.unit, found.amount, found.per)


def limit_text(unit: Unit, amount: float, per: Window | None) -> str:
    """Return a limit in its normal form: `400k tokens/minute`, `20 concurrent`, `$50/day`."""
    if unit == "spend":
        return f"${as_number(amount)}/{per}"
    return f"{amount_text(amount)} {unit if per is None else f'{unit}/{per}'}"


def amount_text(amount: float) -> str:
    """Return a whole number, in thousands or millions where one digit after the point says it exactly."""
    for sign in ("M", "k"):
        multiple = _MULTIPLES[sign]
        if amount >= multiple and amount % (multiple // 10) == 0:
            return f"{as_number(amount / multiple)}{sign}"
    return as_number(amount)


def why_no_limit(text: str) -> str:
    """Return what a text lacks to be a limit, such as `has no window; …`."""
    match = _ROUGHLY.fullmatch(text.strip())
    if match is None or not match[3]:
        return f"is no limit; {HOW}"
    number, letter, rest = match[1], match[2] or "", match[3]
    words = " ".join(rest.lower().split())
    if text.lstrip().startswith("$"):
        return "is no limit; dollars are written {spend: 50, per: day}"
    if letter not in _MULTIPLES or not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", number):
        return f"has an odd number; write it as 60, 400k (thousands) or 5M (millions), such as '5M {COUNTED[1]}/day'"
    exact = Decimal(number) * _MULTIPLES[letter]
    if exact == 0:
        return "is a limit of nothing; it is above zero"
    if exact > MOST:
        return f"is too much; at most {MOST:,} is possible"
    if exact % 1:
        return f"is no whole number; {HOW}"
    amount = f"{number}{letter}" if _WRITTEN.fullmatch(f"{number}{letter}") else amount_text(float(exact))
    if words in _SLIPS:
        return f"is no limit; did you mean '{amount} {_SLIPS[words]}'?"
    unit, slash, window = words.partition("/")
    if slash and unit.strip() in COUNTED and window.strip() not in WINDOWS:
        hint = did_you_mean(window.strip(), WINDOWS) or f"; the windows are {', '.join(WINDOWS)}"
        return f"has the window {window.strip()!r}{hint}"
    if words in COUNTED:
        return f"has no window; write '{amount} {words}/minute', or another of {', '.join(WINDOWS)}"
    one = "/".join(part if part.endswith("s") or part in WINDOWS else f"{part}s" for part in re.split(r" ?/ ?", words))
    if one.partition("/")[0] not in COUNTED and words != "concurrent":
        return f"is no limit; {HOW}"
    meant = f"{amount} {words if words == 'concurrent' else one}"
    return f"is no limit; did you mean '{meant}'?" if _LIMIT.fullmatch(meant) else f"is no limit; {HOW}"
