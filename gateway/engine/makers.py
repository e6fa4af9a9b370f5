"""Remembers which target made an id, and for which client: a bounded map, kept outside the table, of this process."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from gateway.policy.target import Target

MAX_IDS: Final = 100_000
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_ID: Final = 256
"""Characters of the longest id that is remembered."""
ENTRY_BYTES: Final = 200
"""What an entry takes beside its text, roughly."""


class Maker(NamedTuple):
    """Who made an id: a target by its name, and the account that it was called with."""

    target: str
    account: str
    """A hash of provider, base URL and the name of the key's source: another address or key is another account."""
    alias: str
    """The alias that was asked for, as written in the file."""


class Makers:
    """Id → maker, for each client on its own. Those not made or used for longest are forgotten first."""

    def __init__(self, *, max_ids: int = MAX_IDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_ids = max_ids
        self._max_bytes = max_bytes
        self._makers: dict[str, Maker] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._makers)

    @property
    def size_bytes(self) -> int:
        """What all entries take, roughly."""
        return self._bytes

    def note(self, ids: Iterable[str], target: Target, *, alias: str, client: str | None) -> None:
        """Remember that `target` made these ids for a client that asked for `alias`."""
        maker: Maker | None = None
        for each in ids:
            if len(each) > MAX_ID:
                continue
            maker = maker or _maker(target.identity, alias)
            self.put(key_of_id(each, client), maker)

    def put(self, key: str, maker: Maker) -> None:
        """Remember who made the id of `key`, which an other process' `note` made."""
        if self._makers.pop(key, None) is None:
            self._bytes += _size(key)
        self._makers[key] = maker
        while len(self._makers) > self._max_ids or self._bytes > self._max_bytes:
            oldest = next(iter(self._makers))
            del self._makers[oldest]
            self._bytes -= _size(oldest)

    def find(self, made: str, *, client: str | None) -> Maker | None:
        """Return who made an id for this client; None if that is not known, or was another client's."""
        if len(made) > MAX_ID:
            return None
        key = key_of_id(made, client)
        maker = self._makers.pop(key, None)
        if maker is not None:
            self._makers[key] = maker  # last in the dict: the most recently used
        return maker

    async def found(self, made: str, *, client: str | None) -> Maker | None:
        """Return the same, asking other processes too where there are any."""
        return self.find(made, client=client)

    def get(self, key: str) -> Maker | None:
        """Return who made the id of `key`."""
        return self._makers.get(key)

    def drop(self, key: str) -> None:
        """Forget the id of `key`."""
        if self._makers.pop(key, None) is not None:
            self._bytes -= _size(key)

    def forget(self, made: str, *, client: str | None) -> None:
        """Forget an id."""
        self.drop(key_of_id(made, client))


@lru_cache(maxsize=4096)
def account_of(identity: tuple[str, str, str]) -> str:
    """Return the account of a target's `identity`. Its base URL may hold a password, so it is hashed."""
    name, base_url, source = identity
    text = "\n".join((name.partition("/")[0], base_url, source))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@lru_cache(maxsize=4096)
def _maker(identity: tuple[str, str, str], alias: str) -> Maker:
    return Maker(identity[0], account_of(identity), alias)


def key_of_id(made: str, client: str | None) -> str:
    """Return the key of an id that was made for a client."""
    return made if client is None else f"{client}\n{made}"  # a client's name has no white space


def _size(key: str) -> int:
    return ENTRY_BYTES + len(key)
