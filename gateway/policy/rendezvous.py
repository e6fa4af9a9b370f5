"""Numbers for pairs of a key and a name, for rendezvous hashing: each depends on its name and the key alone.

The names are hashed once. A key then costs one hash, whatever the number of names: all are mixed with it at the same
time, as parts of one large integer that do not touch each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct
from typing import Final

BITS: Final = 64
"""Of each number."""

_BYTES: Final = BITS // 8
_LANE_BITS: Final = 2 * BITS
"""A product of two numbers fits, so that no lane reaches into the next one."""
_SHIFT: Final = 33
_FACTORS: Final = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
"""With the shifts between: the finalizer of MurmurHash3 (Austin Appleby, public domain), a bijection of 64 bits."""


class Rendezvous:
    """Some names, hashed."""

    __slots__ = ("_lanes", "_mask", "_ones", "_size_bytes", "_unpack")

    def __init__(self, names: Sequence[bytes]) -> None:
        starts = range(0, _LANE_BITS * len(names), _LANE_BITS)
        self._lanes = sum(_hash(name) << start for name, start in zip(names, starts, strict=True))
        self._ones = sum(1 << start for start in starts)
        self._mask = self._ones * (2**BITS - 1)
        self._size_bytes = _LANE_BITS // 8 * len(names)
        self._unpack = Struct("<" + f"Q{_BYTES}x" * len(names)).unpack

    def numbers(self, key: bytes) -> tuple[int, ...]:
        """Return a number from 0 to 2**64 - 1 for each name: as good as random, and always the same for this key."""
        mask = self._mask
        mixed = self._lanes ^ (_hash(key) * self._ones)
        for factor in _FACTORS:
            mixed ^= mixed >> _SHIFT & mask
            mixed = mixed * factor & mask
        mixed ^= mixed >> _SHIFT & mask
        return self._unpack(mixed.to_bytes(self._size_bytes, "little"))


def _hash(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=_BYTES).digest(), "little")
