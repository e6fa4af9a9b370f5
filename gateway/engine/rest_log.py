"""Logs when a target begins to rest, for how long, and when it is called as usual again."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from gateway.engine.health import MAX_TARGETS, Health, Identity
from gateway.engine.rests import TargetRest
from gateway.policy.keys import NO_KEY
from gateway.telemetry.logs import timestamp

log = logging.getLogger(__name__)

LONGER_S: Final = 1.0
"""A rest is logged again once it ends this much later: failures that arrive together prolong it by little each."""


class RestLog:
    """Logs a health's rests, those that begin in this process. For the event loop only."""

    def __init__(self, health: Health) -> None:
        self._tell = health.tell
        self._until_s: dict[Identity, float] = {}
        """End of each rest that was logged last, on the event loop's clock."""
        health.tell = self._told

    def _told(self, identity: Identity, label: str, rest: TargetRest | None) -> None:
        if self._tell is not None:
            self._tell(identity, label, rest)
        name, _, source = identity
        known_s = self._until_s.get(identity)
        if rest is None:
            self._until_s.pop(identity, None)
            if known_s is not None:
                log.info("a target rests no more", extra={"target": name, **_key(source)})
        elif known_s is None or rest.until_s >= known_s + LONGER_S:
            if len(self._until_s) >= MAX_TARGETS:
                self._until_s.clear()
            self._until_s[identity] = rest.until_s
            self._log(name, source, rest)

    def _log(self, name: str, source: str, rest: TargetRest) -> None:
        for_s = max(0.0, rest.until_s - asyncio.get_running_loop().time())
        extra = {
            "target": name,
            **_key(source),
            "until": timestamp(time.time() + for_s),
            "for_s": round(for_s, 3),
            "asked": rest.asked or rest.refused_by,
            "failures": None if rest.failed is None else rest.failed.failures,
        }
        log.warning("a target rests", extra=extra)


def _key(source: str) -> dict[str, str]:
    return {} if source == NO_KEY.name else {"key_from": source}
