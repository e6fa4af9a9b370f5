"""Compare the shares in which targets answer a repeated request with those that a case expects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gateway.simulation.cases.expectations import Mismatch
from gateway.simulation.cases.file import Turn
from gateway.simulation.upstreams import best_match
from gateway.words import as_share, did_you_mean, share_of

DEVIATIONS: Final = 4.0
"""Standard deviations that a share may be off: a right policy fails once in 16,000 seeds."""


class Shares:
    """Counts who answers the requests of one turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._wanted: Mapping[str, float] = {
            name: share_of(share) for name, share in turn.expect.values.get("share", {}).items()
        }
        self._answers: Counter[str] = Counter()
        self._key: str | None = None

    def count(self, target: str | None, key: str | None) -> None:
        """Note who answered a request, None if nobody did, and where its key for a sticky pool is from."""
        self._key = key
        self._answers[best_match(target or "", self._wanted) or ""] += 1

    def mismatches(self, known: Iterable[str]) -> Iterator[Mismatch]:
        """Yield a mismatch if a share is not as expected, and one for each name that is no target's of `known`."""
        position = self._turn.expect.positions.get("share", self._turn.expect.position)
        names = sorted(known)
        for written in self._wanted:
            if not any(best_match(name, (written,)) for name in names):
                message = f"no chain that is asked for has the target {written!r}{did_you_mean(written, names)}"
                yield Mismatch(check="share", position=position, message=message)
        times = self._turn.times
        expected, actual = [], []
        for name, share in self._wanted.items():
            tolerance = tolerance_of(share, times)
            wanted = f"{name}  {as_share(share)}" + (f" ± {as_share(round(tolerance, 4))}" if tolerance else "")
            found = self._answers[name] / times
            expected.append(wanted)
            is_near = abs(found - share) <= tolerance + _ROUNDING
            actual.append(wanted if is_near else f"{name}  {as_share(round(found, 6))}")
        if expected != actual:
            if self._key is not None:
                actual.append(f"(a sticky pool: all of them have the same key, {self._key})")
            yield Mismatch(check="share", position=position, expected=tuple(expected), actual=tuple(actual))


_ROUNDING: Final = 1e-9


def tolerance_of(share: float, times: int) -> float:
    """Return by how much a share of so many requests may be off: four standard deviations; nothing for all or none."""
    return DEVIATIONS * math.sqrt(share * (1 - share) / times)
