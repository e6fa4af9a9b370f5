"""Tells which paths in some folders were touched, by the system's file events; without them there is a poll."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Final

log = logging.getLogger(__name__)

STEP_MS: Final = 25
"""Interval at which watchfiles collects events; it reports them after one interval without a new event."""
DEBOUNCE_MS: Final = 75
"""Longest time that watchfiles holds events back while new ones keep coming."""
POLL_S: Final = 1.0
"""Interval at which the file's stat is compared, with or without events."""
BLIND_POLLS: Final = 60
"""Polls before file events are tried again on a system that refused them."""


class FileEvents:
    """File events of the config's folders."""

    def __init__(self) -> None:
        self._blind = False
        """The system refused them, which is logged once."""

    async def batches(self, folders: Iterable[str]) -> AsyncGenerator[set[str], None]:
        """Yield the paths touched in `folders`, and an empty set about once a second.

        On a system without file events it yields empty sets only and ends after BLIND_POLLS, to try events again.
        """
        try:
            from watchfiles import awatch

            watched = awatch(
                *folders,
                watch_filter=None,
                debounce=DEBOUNCE_MS,
                step=STEP_MS,
                rust_timeout=int(POLL_S * 1000),
                yield_on_timeout=True,
                recursive=False,
                ignore_permission_denied=True,
            )
            async with aclosing(watched) as batches:
                async for batch in batches:
                    self._blind = False
                    yield {path for _, path in batch}
        except Exception as exc:
            if not self._blind:
                log.warning("no file events: the config file is polled", extra={"error": str(exc)}, exc_info=True)
            self._blind = True
        for _ in range(BLIND_POLLS):
            await asyncio.sleep(POLL_S)
            yield set()
