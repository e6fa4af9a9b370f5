"""The home of kept answers that replicas share: an answer that one of them got serves the others.

A key is a hash, a value the answer as its cache keeps it. Redis forgets it by itself, and its age is by Redis' clock.
All keys have one hash tag, as the script that puts an answer drops others.
Answers are large: they have a link of their own, so that no request waits behind one for its limits.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from gateway.engine.cache.store import CacheStore, Entry, Kept
from gateway.state.link import LATE, Link, Script, unawaited

MAX_SHARED_BYTES: Final = 256 * 1024
"""Of one answer: on its way it holds up what else is asked for by the same connection."""
SHARED_ENTRY_BYTES: Final = 768
"""What an entry takes in Redis beside its content: its key, its places in two lists, and the objects around them."""
MAX_ASKED: Final = 64
"""Questions in flight, each for an answer that may be that large. Others wait until one of them is answered."""
MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""Of answers on their way to Redis. Beyond, an answer stays with this process."""
_HEAD: Final = struct.Struct("<Id")
"""What stands before the content: the step's position, and the seconds for which the answer is kept."""

_Asked: TypeAlias = "tuple[asyncio.Future[Any], asyncio.Future[Any]]"


class SharedCache:
    """A `CacheStore` over a link. What this process has put itself, and an outage, cost no round trip."""

    def __init__(
        self, link: Link, here: CacheStore, *, max_bytes: int, on_late: Callable[[], None] = lambda: None
    ) -> None:
        """`here` is asked first. `max_bytes`: of what all replicas have Redis keep; beyond, what ends first goes.

        `on_late` hears that an answer has taken LATE of the timeout. A request is not to wait for one Redis twice, here
        and then for its limits, so their link begins to look then. What it finds does not depend on this one.
        """
        self._link = link
        self._on_late = on_late
        self._here = here
        self._max_bytes = max_bytes
        self._keep = Script("common", "keep")
        link.scripts.append(self._keep)
        self._unsent_bytes = 0
        self._asked: dict[bytes, _Asked] = {}
        """Questions in flight: equal requests at once are one."""
        self._places = asyncio.Semaphore(MAX_ASKED)

    @property
    def max_entry_bytes(self) -> int:
        """As `here` says. Redis gets no more than MAX_SHARED_BYTES."""
        return self._here.max_entry_bytes

    async def get(self, key: bytes, *, fresh_s: float) -> Kept | None:
        """Return a fresh answer from here, else the younger of that and Redis'; no answer in time is none."""
        known = await self._here.get(key, fresh_s=fresh_s)
        if known is not None and known.age_s <= fresh_s:
            return known
        found: Kept | None = None
        if self._link.is_up:
            late = asyncio.get_running_loop().call_later(self._link.timeout_s * LATE, self._on_late)
            try:
                async with asyncio.timeout(self._link.timeout_s):
                    found = await self._found(key)
            except TimeoutError:
                pass
            finally:
                late.cancel()
        return known if found is None or (known is not None and known.age_s <= found.age_s) else found

    async def _found(self, key: bytes) -> Kept | None:
        """Return what Redis has. Who leaves while waiting for that ends nothing for others who do."""
        asked = self._asked.get(key)
        if asked is None and self._link.is_up:
            await self._places.acquire()
            asked = self._asked.get(key)
            if asked is None and self._link.is_up:
                asked = self._ask(key)
            else:
                self._places.release()
        if asked is None:
            return None
        await asyncio.wait(asked)
        return _kept(asked)

    def _ask(self, key: bytes) -> _Asked:
        """Ask, and give the place back once there is an answer, or none will come."""
        name = self._name(key)
        asked = self._link.ask(("GETRANGE", name, 0, _HEAD.size + MAX_SHARED_BYTES)), self._link.ask(("PTTL", name))

        def landed(answer: asyncio.Future[Any]) -> None:
            del self._asked[key]
            self._places.release()
            unawaited(answer)

        self._asked[key] = asked
        asked[0].add_done_callback(unawaited)
        asked[1].add_done_callback(landed)
        return asked

    def put(self, key: bytes, entry: Entry, *, keep_s: float) -> None:
        """Keep an answer here, and without waiting for that in Redis."""
        self._here.put(key, entry, keep_s=keep_s)
        size = len(entry.content)
        if size > min(MAX_SHARED_BYTES, self.max_entry_bytes) or not self._link.is_up:
            return
        if self._unsent_bytes + size > MAX_UNSENT_BYTES:
            return
        self._unsent_bytes += size

        def landed(answer: asyncio.Future[Any]) -> None:
            self._unsent_bytes -= size
            unawaited(answer)

        index = f"{self._link.prefix}:{{kept}}"
        args = (
            _HEAD.pack(entry.step, keep_s) + entry.content,
            key.hex(),
            max(1, round(keep_s * 1000)),
            SHARED_ENTRY_BYTES + size,
            self._max_bytes,
        )
        command = self._keep.command([self._name(key), index, f"{index}:bytes"], args)
        self._link.ask(command, self._keep).add_done_callback(landed)

    def _name(self, key: bytes) -> str:
        return f"{self._link.prefix}:{{kept}}:{key.hex()}"


def _kept(asked: _Asked) -> Kept | None:
    """Return the answer that Redis has; None if it has or gives none, or what no gateway has put there."""
    found, left = asked
    if found.exception() is not None or left.exception() is not None:
        return None
    value, left_ms = found.result(), left.result()
    if not isinstance(value, bytes) or not _HEAD.size < len(value) <= _HEAD.size + MAX_SHARED_BYTES or left_ms < 0:
        return None
    step, keep_s = _HEAD.unpack_from(value)
    age_s = keep_s - left_ms / 1000
    return Kept(Entry(step, value[_HEAD.size :]), max(0.0, age_s)) if 0 < keep_s < math.inf else None
