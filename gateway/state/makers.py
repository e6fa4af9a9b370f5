"""Who made an id, as all replicas know it: a request that names it goes to its maker, whichever replica gets it."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import orjson

from gateway.engine.makers import MAX_ID, Maker, Makers, key_of_id
from gateway.state.link import Command, Link, Refusal, Unreachable

KEPT_S: Final = 30 * 86400
"""Vendors keep responses for 30 days."""
AGAIN_S: Final = 0.05
"""Before a second look: a client may be quicker than the process that answered it tells Redis."""
MAX_UNSENT: Final = 10_000
"""What an outage keeps back; beyond, the oldest are known here only."""


class StateMakers(Makers):
    """Remembers who made ids, and asks Redis for those that other processes' answers had.

    Redis has a hash of an id and its client, and the names of target and alias.
    """

    def __init__(self, link: Link, here: Makers) -> None:
        """`here` is asked first: it knows what this process, or the other workers beside it, have made."""
        super().__init__()
        self._link = link
        self._here = here
        self._unsent: deque[Command] = deque(maxlen=MAX_UNSENT)
        link.on_return.append(self._returned)

    def put(self, key: str, maker: Maker) -> None:
        """Remember it here and, without waiting, in Redis: before this process asks it for anything else."""
        self._here.put(key, maker)
        self._send(("SET", self._key(key), orjson.dumps(list(maker)), "EX", KEPT_S))

    def find(self, made: str, *, client: str | None) -> Maker | None:
        """Return who made an id, as far as it is known here."""
        return self._here.find(made, client=client)

    async def found(self, made: str, *, client: str | None) -> Maker | None:
        """Return who made an id; None too if Redis, which is asked for what is not known here, is out of reach."""
        maker = await self._here.found(made, client=client)
        if maker is not None or len(made) > MAX_ID:
            return maker
        key = key_of_id(made, client)
        try:
            text = await self._link.ask(("GET", self._key(key)))
            if text is None:
                await asyncio.sleep(AGAIN_S)
                text = await self._link.ask(("GET", self._key(key)))
        except (Unreachable, Refusal):
            return None
        maker = None if text is None else _maker(text)
        if maker is not None:
            self._here.put(key, maker)
        return maker

    def forget(self, made: str, *, client: str | None) -> None:
        """Forget an id. Another replica that knows it asks its maker, who has it no more."""
        self._here.forget(made, client=client)
        self._send(("DEL", self._key(key_of_id(made, client))))

    def _key(self, key: str) -> str:
        return f"{self._link.prefix}:made:{blake2b(key.encode('utf-8', 'surrogatepass'), digest_size=20).hexdigest()}"

    def _send(self, command: Command) -> None:
        self._link.ask(command).add_done_callback(partial(self._sent, command))

    def _sent(self, command: Command, answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled() and isinstance(answer.exception(), Unreachable):
            self._unsent.append(command)

    def _returned(self) -> None:
        """Send what an outage has kept back."""
        unsent, self._unsent = self._unsent, deque(maxlen=MAX_UNSENT)
        for command in unsent:
            self._send(command)


def _maker(text: bytes) -> Maker | None:
    """Return who made an id, as Redis has it; None for what another program, or another version, wrote."""
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    if not (
        isinstance(found, list) and len(found) == len(Maker._fields) and all(isinstance(one, str) for one in found)
    ):
        return None
    return Maker(*found)
