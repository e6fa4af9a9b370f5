"""Log lines for faults that a failure kind hides: no descriptors left, certificates refused. One a minute each."""

from __future__ import annotations

import errno
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Final

log = logging.getLogger(__name__)

EVERY_S: Final = 60.0
"""Seconds between two lines for one cause."""
MAX_CAUSES: Final = 256
"""Causes remembered; when there are more, all are forgotten."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors of a system call for want of descriptors, memory or local ports."""


class RareLines:
    """Logs each cause at most once in EVERY_S seconds, with the number of times since its last line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._causes: dict[tuple[str, ...], tuple[float, int]] = {}
        """Cause → when its next line may be logged, and how often it came since the last."""

    def warn(self, event: str, **fields: str) -> None:
        """Log a warning with fields, which tell one cause from another."""
        cause = (event, *fields.values())
        now_s = self._clock()
        again_s, times = self._causes.get(cause, (0.0, 0))
        if now_s < again_s:
            self._causes[cause] = (again_s, times + 1)
            return
        if len(self._causes) >= MAX_CAUSES:
            self._causes.clear()
        self._causes[cause] = (now_s + EVERY_S, 0)
        log.warning(event, extra={**fields, "times": times + 1})


lines: Final = RareLines()
"""The process' own."""


def note_local_fault(error: BaseException, *, doing: str, host: str | None = None) -> bool:
    """Log `error` if it, or one that it comes from, is a fault of this kind; return whether it was.

    `doing` is `connect` or `accept`. Texts of OpenSSL are logged, those of other exceptions never.
    """
    links = list(_chain(error))
    hosts = (getattr(each, "host", None) for each in links)  # aiohttp's exceptions have one
    named = host or next((known for known in hosts if isinstance(known, str)), None)
    where = {} if named is None else {"host": named}
    for each in links:
        if isinstance(each, ssl.SSLCertVerificationError):
            if not hasattr(each, "verify_message"):
                continue  # aiohttp's own, raised from OpenSSL's
            lines.warn("certificate refused", **where, reason=each.verify_message)
            return True
        if isinstance(each, ssl.SSLError):
            lines.warn("tls failed", **where, reason=str(getattr(each, "reason", None) or type(each).__name__))
            return True
        if isinstance(each, OSError) and each.errno in _EXHAUSTED:
            lines.warn("out of resources", doing=doing, reason=errno.errorcode[each.errno])
            return True
    return False


def is_exhaustion(error: BaseException) -> bool:
    """Tell whether `error` comes from a want of descriptors, memory or local ports: it says nothing about the peer."""
    return any(isinstance(each, OSError) and each.errno in _EXHAUSTED for each in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it comes from, the members of groups too."""
    seen: list[BaseException | None] = [error]
    for each in seen:  # grows on the way
        if each is None:
            continue
        yield each
        if len(seen) > 32:
            return
        if isinstance(each, BaseExceptionGroup):
            seen += each.exceptions
        seen += [each.__cause__, each.__context__]
