"""Counters in slots of ten seconds: calls, failures and times by target, and requests by alias.

They are counted from the first time that somebody looks, with what the last requests tell of the time before, until
nobody has looked for a while: so that they cost nothing where nobody ever does.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.policy.failures import CLIENT_FAULTS
from gateway.telemetry.observer import Ended, EndedRow
from gateway.telemetry.report import CLOSED, KEPT

SLOT_S: Final = 10
"""Seconds of one slot, from one multiple of it since the epoch to the next."""
SLOTS: Final = 90
"""Slots that are kept: a quarter of an hour."""
MINUTE: Final = 6
"""Slots of the last minute."""
MAX_FAILURES: Final = 10_000
"""Targets whose last failure is remembered; after that all are forgotten."""

MAX_HEARD: Final = 256
"""Requests that may wait to be counted."""
MAX_TIMES: Final = 500
"""Times that are looked at of one alias, target and slot: of more an even sample, which stands for all."""

_PER_E: Final = 1 / math.log(1.1)
"""Buckets of times: each ends 10 % above its begin, counted from 1 ms below 0."""


def _bucket(time_ms: float) -> int:
    return int(math.log(time_ms + 1.0) * _PER_E)


class Failure(NamedTuple):
    """The last failure of a target."""

    kind: str
    status: int | None
    at: float
    """Seconds since the epoch."""


class TargetCounts:
    """What one target did in some time."""

    __slots__ = ("calls", "failed", "times")

    def __init__(self) -> None:
        self.calls = 0
        """Calls that ended, without those closed since another one answered first."""
        self.failed = 0
        """Those that failed by the target's fault."""
        self.times: Counter[int] = Counter()
        """Bucket → answers: the milliseconds until the first content, of a plain answer the whole."""

    @staticmethod
    def heard(calls: int, failed: int, times: Mapping[str, int]) -> TargetCounts:
        """Return what another process counted."""
        counts = TargetCounts()
        counts.calls, counts.failed = calls, failed
        counts.times.update({int(bucket): number for bucket, number in times.items()})
        return counts

    def add(self, other: TargetCounts) -> None:
        """Add what another time, or another process, counted."""
        self.calls += other.calls
        self.failed += other.failed
        self.times.update(other.times)

    def percentile_ms(self, share: float) -> float | None:
        """Return the milliseconds within which this share of the answers began, to 10 %; None without any."""
        left = math.ceil(share * self.times.total())
        for bucket in sorted(self.times):
            left -= self.times[bucket]
            if left <= 0:
                return float(f"{math.exp((bucket + 1) / _PER_E) - 1:.2g}")
        return None


class AliasCounts:
    """What one alias' requests came to in some time."""

    __slots__ = ("bypassed", "fell", "hits", "misses", "requests")

    def __init__(self, requests: int = 0, fell: int = 0, hits: int = 0, misses: int = 0, bypassed: int = 0) -> None:
        self.requests = requests
        self.fell = fell
        """Answered by another target than the first one."""
        self.hits = hits
        """Got a kept answer, or that of an equal request."""
        self.misses = misses
        """Could have got one, but none was kept."""
        self.bypassed = bypassed
        """Could not have got one. All three are 0 for an alias without a cache."""

    def add(self, other: AliasCounts) -> None:
        """Add what another time, or another process, counted."""
        self.requests += other.requests
        self.fell += other.fell
        self.hits += other.hits
        self.misses += other.misses
        self.bypassed += other.bypassed

    def told(self) -> list[int]:
        """Return the arguments of an equal one."""
        return [self.requests, self.fell, self.hits, self.misses, self.bypassed]

    @property
    def hit_share(self) -> float | None:
        """The part of the requests that could get a kept answer which got one; None without any."""
        looked_up = self.hits + self.misses
        return self.hits / looked_up if looked_up else None


class _Slot:
    """Ten seconds."""

    __slots__ = ("aliases", "number", "quick", "targets")

    def __init__(self, number: int) -> None:
        self.number = number
        self.targets: dict[str, TargetCounts] = {}
        """By label: bounded in number."""
        self.aliases: dict[str, AliasCounts] = {}
        self.quick: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        """Alias → label → milliseconds of requests answered at their first call, until `settle` counts them."""

    def of_target(self, label: str) -> TargetCounts:
        return self.targets.setdefault(label, TargetCounts())

    def of_alias(self, alias: str) -> AliasCounts:
        return self.aliases.setdefault(alias, AliasCounts())

    def settle(self) -> None:
        """Move what was counted quickly to its places."""
        for alias, by_label in self.quick.items():
            for label, times_ms in by_label.items():
                self.of_alias(alias).requests += len(times_ms)
                target = self.of_target(label)
                target.calls += len(times_ms)
                every = len(times_ms) // MAX_TIMES + 1
                for time_ms in times_ms[::every]:
                    target.times[_bucket(time_ms)] += every
        self.quick.clear()


class LiveCounts:
    """The counters of the last quarter of an hour. For the event loop only."""

    def __init__(self, on_slot: Callable[[float], None] = lambda at: None) -> None:
        """`on_slot` is called as a slot begins, with the time."""
        self._on_slot = on_slot
        self._slots: deque[_Slot] = deque(maxlen=SLOTS)
        self._slot = _Slot(0)
        self._ends_at = 0.0
        self._heard: list[EndedRow] = []
        """Requests of this slot that are not counted yet: each alone would take twice the time."""
        self._failures: dict[str, Failure] = {}

    def hear(self, ended: Sequence[EndedRow]) -> None:
        """Count finished requests."""
        at = ended[-1][8]
        if at >= self._ends_at:
            self._turn(at)
        heard = self._heard
        heard += ended
        if len(heard) >= MAX_HEARD:
            self._count_heard()

    def _count_heard(self) -> None:
        quick = self._slot.quick
        for one in self._heard:
            report = one[0]
            attempts = report.attempts
            is_quick = len(attempts) == 1 and one[5] is None and report.cache is None
            if is_quick and (attempt := attempts[0]).kind is None:
                quick[report.alias][attempt.label].append(attempt.ms)
            elif report.alias:
                self._count(Ended(*one))
        self._heard.clear()

    def _count(self, one: Ended) -> None:
        """Count a request of more than one attempt, one that failed, or one of an alias with a cache."""
        slot, report = self._slot, one.report
        of_alias = slot.of_alias(report.alias)
        of_alias.requests += 1
        if (cache := report.cache) is not None:
            of_alias.hits += cache in KEPT
            of_alias.misses += cache == "miss"
            of_alias.bypassed += cache == "bypass"
        attempts = report.attempts
        for attempt in attempts:
            kind = attempt.kind
            if kind in CLOSED or not attempt.was_called:
                continue
            counts = slot.of_target(attempt.label)
            counts.calls += 1
            if kind is None:
                counts.times[_bucket(attempt.ms)] += 1
            elif kind not in CLIENT_FAULTS:
                counts.failed += 1
                self._note(attempt.label, Failure(str(kind), attempt.status, one.ended_at))
        if report.target is not None and one.status < 400:
            of_alias.fell += report.fell_back

    def _note(self, label: str, failure: Failure) -> None:
        if len(self._failures) >= MAX_FAILURES:
            self._failures.clear()
        self._failures[label] = failure

    @property
    def failures(self) -> Mapping[str, Failure]:
        """Target's label → its last failure."""
        self._count_heard()
        return self._failures

    def _turn(self, at: float) -> None:
        self._count_heard()
        self._slot.settle()
        self._slot = _Slot(int(at // SLOT_S))
        self._slots.append(self._slot)
        self._ends_at = float((self._slot.number + 1) * SLOT_S)
        self._on_slot(at)

    def targets(self, now: float, *, slots: int = MINUTE) -> dict[str, TargetCounts]:
        """Return target label → what it did in the last slots, the one that has not ended among them."""
        found: dict[str, TargetCounts] = {}
        for slot in self._last(now, slots):
            for label, counts in slot.targets.items():
                found.setdefault(label, TargetCounts()).add(counts)
        return found

    def aliases(self, now: float, *, slots: int = SLOTS) -> dict[str, AliasCounts]:
        """Return alias → what its requests came to in the last slots."""
        found: dict[str, AliasCounts] = {}
        for slot in self._last(now, slots):
            for alias, counts in slot.aliases.items():
                found.setdefault(alias, AliasCounts()).add(counts)
        return found

    def _last(self, now: float, slots: int) -> list[_Slot]:
        self._count_heard()
        self._slot.settle()
        return [slot for slot in self._slots if slot.number > int(now // SLOT_S) - slots]
