"""What is known of buckets, kept right while nobody reserves: Redis is asked about their owners until they are empty.

A reservation tells how its owner's buckets stand, but not what is given back afterwards, here or by other replicas.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from heapq import nsmallest
from operator import attrgetter
from typing import Any, Final

from gateway.state.link import Command, Link, Refusal, Script, Unreachable
from gateway.state.owners import Owner

TURN_S: Final = 0.25
"""Seconds between two turns, each of which asks about AT_ONCE owners at most."""
AT_ONCE: Final = 50
"""Half a millisecond of Redis, which does nothing else meanwhile, and of this process."""


class Looks:
    """Asks about a store's owners while Redis is there. For one event loop."""

    def __init__(self, link: Link, owners: Mapping[Any, Owner], now: Callable[[], str | float]) -> None:
        """`owners` are the store's own; `now` returns what scripts are told as the time."""
        self._link = link
        self._owners = owners
        self._now = now
        self._script = Script("common", "buckets", "look")
        self._timer: asyncio.TimerHandle | None = None
        link.scripts.append(self._script)
        link.on_return.append(self._go_on)

    def close(self) -> None:
        """Ask no more, unless Redis comes back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TURN_S, self._turn)

    def _turn(self) -> None:
        self._timer = None
        if not self._link.is_up:
            return
        now_s = time.monotonic()
        for owner in due(self._owners.values(), now_s):
            self._link.send(_Look(owner, owner.looking(self._script, self._now()), self._script, self._link, now_s))
        self._go_on()


def due(owners: Iterable[Owner], now_s: float) -> list[Owner]:
    """Return those that Redis is to be asked about now: the AT_ONCE that wait for longest."""
    found = [owner for owner in owners if owner.look_s <= now_s]
    return found if len(found) <= AT_ONCE else nsmallest(AT_ONCE, found, key=attrgetter("look_s"))


class _Look:
    """A question about one owner. Nobody waits for it, so no outage begins where no answer comes."""

    __slots__ = ("_asked_s", "_link", "_owner", "command", "script")

    def __init__(self, owner: Owner, command: Command, script: Script, link: Link, asked_s: float) -> None:
        self.command = command
        self.script: Script | None = script
        self._owner = owner
        self._link = link
        self._asked_s = asked_s
        owner.look_s = math.inf  # until there is an answer

    @property
    def waiting(self) -> int:
        return 0

    def take(self, answer: Any) -> None:
        try:
            self._owner.read_look(answer, self._asked_s)
        except (struct.error, TypeError):
            self._owner.look_s = self._asked_s
            self._link.distrust()

    def fail(self, error: Unreachable | Refusal) -> None:
        if isinstance(error, Unreachable):
            self._owner.look_s = self._asked_s
