"""What a client's `Cache-Control` asks of the cache (RFC 9111, 5.2.1).

`no-store`, `no-cache`, `max-age` and `only-if-cached` are heeded; the others are hints that a cache may leave out.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_DIRECTIVE: Final = re.compile(r'([^\s,="]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?')
_SECONDS: Final = re.compile(r"[0-9]{1,10}")


class Control(NamedTuple):
    """The directives of one request."""

    no_store: bool = False
    """Nothing of it may be kept; it gets no kept answer either."""
    no_cache: bool = False
    """No kept answer will do."""
    only_if_cached: bool = False
    """Nothing but a kept answer will do."""
    max_age_s: int | None = None
    """The greatest age of an answer; None for any."""


ANYTHING: Final = Control()
"""The directives of a request without the header field."""


def control(field: str | None) -> Control:
    """Return what a header field says. An invalid `max-age` counts as 0, as RFC 9111, 4.2.1 advises."""
    if not field:
        return ANYTHING
    found = {name.lower(): quoted or plain for name, quoted, plain in _DIRECTIVE.findall(field)}
    max_age_s: int | None = None
    if "max-age" in found:
        max_age_s = int(found["max-age"]) if _SECONDS.fullmatch(found["max-age"]) else 0
    return Control(
        no_store="no-store" in found,
        no_cache="no-cache" in found or max_age_s == 0,
        only_if_cached="only-if-cached" in found,
        max_age_s=max_age_s,
    )
