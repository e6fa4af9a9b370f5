"""Odd model names for the `model_names` probe, the same in each run."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any, Final

LONGEST: Final = 256
"""Characters that a name may have (DESIGN, section 2)."""

_FRAGMENTS: Final = (
    "gpt", "a", "A", "0", "-", "_", ".", "..", "...", ":", "@", "/", "//", "\\", "*", "?", "#", "%", "%2e%2e", "%2f",
    "%00",
    "%0d%0a", "&", "=", "+", ";", ",", "!", "$", "'", '"', "`", "(", ")", "[", "]", "{", "}", "<", ">", "|", "^", "~",
    " ",
    "\t", "\r\n", "\n", "\r", "\0", "\x7f", "\x80", "\u2028", "\u202e", "\u200b", "\ufeff", "\u2024", "\uff0f",
    "\u2215",
    "\u0130", "\u0131", "é", "e\u0301", "漢字", "😀", "\ud800", "\udfff\ud800", "\U0010ffff", "http://",
    "https://evil.example/", "//evil.example",
    "@evil.example", "user:pass@", ":80", "127.0.0.1", "[::1]", "localhost", "?x=1", "#x", "..;/", "/v1/models",
    "/-/reload",
    "chat/completions", "images/generations", "${HOME}", "$(id)", "{{x}}", "{model}", "<script>", "' or 1=1",
    "\r\nX: y",
    "\r\n\r\nGET / HTTP/1.1\r\n\r\n", "null", "true", "__proto__", "__class__", "constructor", "-rf", "--help",
)  # fmt: skip
_WHOLE: Final = (
    "", "*", "team-*", "team-", "team", "TEAM-x", "team-/", "team-x/", "team-/x", "team-.", "team-..", "team-../x",
    "team-x/../y", "team-x/./y", "team-x//y", "open-*", "exact", "exact ", " exact", "Exact", "exact\0", "exact/x",
)  # fmt: skip
NO_TEXTS: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 1.5, 10**30, [], {}, ["exact"], {"exact": 1}, [[]], {"model": "exact"},
)  # fmt: skip
_ALLOWED: Final = re.compile(r"[A-Za-z0-9._:@-]+(/[A-Za-z0-9._:@-]+)*")


def odd_names(count: int) -> Iterator[str]:
    """Return `count` names: fixed ones, every fragment alone, then random combinations."""
    numbers = random.Random(20240502)
    prefixes = ("team-", "open-", "team-", "", "exact")
    fixed = [*_WHOLE, *(f"{prefix}{each}" for each in _FRAGMENTS for prefix in prefixes[:2])]
    fixed += [f"team-{'x' * length}" for length in (240, 250, 251, 252, 300, 1000, 5000, 70_000)]
    yield from fixed[:count]
    for number in range(count - len(fixed)):
        parts = numbers.choices(_FRAGMENTS, k=numbers.randint(1, 6))
        if number % 2:  # half of them are what a wildcard may match, or nearly
            parts = [numbers.choice(("x", "gpt-4", "v1", "a.b", "m:latest", "o@x", "/", "/", ".", "é")) for _ in parts]
        yield numbers.choice(prefixes) + "".join(parts)


def may_match(rest: str, *, name: str) -> bool:
    """Tell whether a wildcard may carry over `rest` of a name (DESIGN, section 2, *Wildcards*)."""
    return len(name) <= LONGEST and ".." not in rest and _ALLOWED.fullmatch(rest) is not None
