"""Rests of targets and keys that replicas share: what one learns, the others know within ASK_S.

A target is told by a digest of its name, its address and the name of its key's source, as an address may hold a
password; who hears of it finds it among the targets of its own table. Redis keeps the newest news of each, so that a
replica that starts, or was cut off, hears of all that still rest.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import orjson

from gateway.engine.health import Health, Identity
from gateway.engine.rests import TargetRest
from gateway.policy.overlay import Tables
from gateway.state.link import Link, Refusal, Script, Unreachable, unawaited
from gateway.wire.json import JsonObject

log = logging.getLogger(__name__)

ASK_S: Final = 0.5
"""Seconds between two questions for news."""
ENDED_S: Final = 60.0
"""The end of a rest is told for so long; rests that nobody ended end by themselves."""
_TIMES: Final = ("until_s", "asked_until_s")
"""Of a rest as told: points on the teller's clock, sent as seconds from then."""

Tell = Callable[[Identity, str, "TargetRest | None"], None]


class SharedRests:
    """Tells of one health's rests, and has it hear of those of others. For one event loop."""

    def __init__(self, link: Link, health: Health, tables: Tables) -> None:
        """`health` goes on to tell whom it told before."""
        self._link = link
        self._health = health
        self._tables = tables
        self._before = health.tell
        self._own = secrets.token_hex(8)
        self._newest = "0"
        self._known: tuple[int, dict[str, tuple[Identity, str]]] = (0, {})
        """Generation of a table, and its targets by their digest."""
        self._resting: dict[Identity, tuple[str, TargetRest]] = {}
        """What this process told that others may not know after an outage."""
        self._tell_script, self._hear_script = Script("common", "tell_rest"), Script("common", "hear_rests")
        link.scripts += [self._tell_script, self._hear_script]
        link.on_return.append(self._returned)
        health.tell = self._told

    async def run(self) -> None:
        """Ask for news until cancelled."""
        while True:
            await asyncio.sleep(ASK_S)
            try:
                command = self._hear_script.command(self._keys, [self._newest])
                newest, *news = await self._link.ask(command, self._hear_script)
            except (Unreachable, Refusal):
                continue
            self._newest = newest.decode()
            for at in range(0, len(news), 4):
                self._heard(*news[at : at + 4])

    @property
    def _keys(self) -> list[str]:
        return [f"{self._link.prefix}:{{rests}}", f"{self._link.prefix}:{{rests}}:news"]

    def _told(self, identity: Identity, label: str, rest: TargetRest | None) -> None:
        if self._before is not None:
            self._before(identity, label, rest)
        if rest is None:
            self._resting.pop(identity, None)
        else:
            self._resting[identity] = label, rest
        self._send(identity, rest)

    def _send(self, identity: Identity, rest: TargetRest | None) -> None:
        now_s = asyncio.get_running_loop().time()
        text, for_s = "", ENDED_S
        if rest is not None:
            told = rest.told()
            told |= {name: max(0.0, told[name] - now_s) for name in _TIMES}
            text, for_s = orjson.dumps(told).decode(), ENDED_S + max(told[name] for name in _TIMES)
        args: list[str | float] = [digest(identity), self._own, text, for_s]
        self._link.ask(self._tell_script.command(self._keys, args), self._tell_script).add_done_callback(unawaited)

    def _returned(self) -> None:
        """Tell again of what rests, as Redis may have lost it."""
        now_s = asyncio.get_running_loop().time()
        for identity, (_, rest) in list(self._resting.items()):
            if max(rest.until_s, rest.asked_until_s) > now_s:
                self._send(identity, rest)
            else:
                del self._resting[identity]

    def _heard(self, target: bytes, age: bytes, by: bytes, text: bytes) -> None:
        """Have a target rest, or end its rest, unless this process has told so itself."""
        found = self._targets().get(target.decode())
        if found is None or by.decode() == self._own:
            return
        identity, label = found
        rest: TargetRest | None = None
        if text:
            told_s = asyncio.get_running_loop().time() - float(age)
            try:
                rest = TargetRest.heard(_present(orjson.loads(text), told_s))
            except (ValueError, TypeError, KeyError):
                log.warning("another version's news of a rest is not understood", extra={"target": label})
                return
        self._resting.pop(identity, None)
        self._health.hear(identity, label, rest)

    def _targets(self) -> dict[str, tuple[Identity, str]]:
        """Return the targets of the live table, those of single keys too, by their digests."""
        table = self._tables.current
        if self._known[0] != table.generation or not self._known[1]:
            every = [one for each in table.targets for one in (each, *each.by_key)]
            self._known = table.generation, {digest(one.identity): (one.identity, one.label) for one in every}
        return self._known[1]


def digest(identity: Identity) -> str:
    """Return what names a target in Redis."""
    return blake2b("\n".join(identity).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _present(told: JsonObject, told_s: float) -> JsonObject:
    """Return a rest on this process' clock."""
    return {**told, **{name: told_s + told[name] for name in _TIMES}}
