"""What one process tells of itself for the state, and the sum of what several tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.engine.health import Busy
from gateway.engine.limits.store import Fill
from gateway.server.live.counts import AliasCounts, Failure, TargetCounts
from gateway.server.live.fills import NO_FILLS, Fills, joined_fills
from gateway.wire.json import JsonObject


class KeptAnswers(NamedTuple):
    """The kept answers of one process, or of several together."""

    entries: int
    bytes: int
    max_bytes: int
    """0: none are kept."""


class RedisSeen(NamedTuple):
    """The Redis of `--state`, as one process sees it, or several together."""

    address: str
    """Without user, password and options."""
    is_up: bool
    """It is asked for limits, by all of them."""


NOTHING_KEPT: Final = KeptAnswers(0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process at one moment, or several together."""

    worker: int | None
    """Its number among several."""
    requests: int
    """Serial number of its last request."""
    in_flight: int
    waiting_for: tuple[str, ...]
    """What its table needs and is not loaded yet."""
    is_draining: bool
    counted_since: float
    """Seconds since the epoch from which on the counts are whole."""
    busy: Busy
    minute: Mapping[str, TargetCounts]
    """Target's label → what it did in the last minute."""
    quarter: Mapping[str, AliasCounts]
    """Alias → what its requests came to in the last quarter of an hour."""
    failures: Mapping[str, Failure]
    """Target's label → its last failure."""
    fills: Fills = NO_FILLS
    kept: KeptAnswers = NOTHING_KEPT
    redis: RedisSeen | None = None

    def told(self) -> JsonObject:
        """Return it for the channel."""
        return {
            "worker": self.worker,
            "requests": self.requests,
            "in_flight": self.in_flight,
            "waiting_for": list(self.waiting_for),
            "is_draining": self.is_draining,
            "counted_since": self.counted_since,
            "busy": [[*key, number] for key, number in self.busy.items()],
            "minute": {label: [one.calls, one.failed, one.times] for label, one in self.minute.items()},
            "quarter": {alias: one.told() for alias, one in self.quarter.items()},
            "failures": {label: list(one) for label, one in self.failures.items()},
            "fills": [self.fills.number, [list(one) for one in self.fills.rows]],
            "kept": list(self.kept),
            "redis": None if self.redis is None else list(self.redis),
        }

    @staticmethod
    def heard(fields: JsonObject) -> Part:
        """Return what another process told."""
        return Part(
            worker=fields["worker"],
            requests=fields["requests"],
            in_flight=fields["in_flight"],
            waiting_for=tuple(fields["waiting_for"]),
            is_draining=fields["is_draining"],
            counted_since=fields["counted_since"],
            busy={(label, url, source): number for label, url, source, number in fields["busy"]},
            minute={label: TargetCounts.heard(*one) for label, one in fields["minute"].items()},
            quarter={alias: AliasCounts(*one) for alias, one in fields["quarter"].items()},
            failures={label: Failure(*one) for label, one in fields["failures"].items()},
            fills=Fills([Fill(*one) for one in fields["fills"][1]], fields["fills"][0]),
            kept=KeptAnswers(*fields["kept"]),
            redis=None if fields["redis"] is None else RedisSeen(*fields["redis"]),
        )


def joined(parts: Sequence[Part]) -> Part:
    """Return several processes as one; there is at least one."""
    busy: dict[tuple[str, str, str], int] = {}
    minute: dict[str, TargetCounts] = {}
    quarter: dict[str, AliasCounts] = {}
    failures: dict[str, Failure] = {}
    redis = [part.redis for part in parts if part.redis is not None]
    for part in parts:
        for key, number in part.busy.items():
            busy[key] = busy.get(key, 0) + number
        for label, of_target in part.minute.items():
            minute.setdefault(label, TargetCounts()).add(of_target)
        for alias, of_alias in part.quarter.items():
            quarter.setdefault(alias, AliasCounts()).add(of_alias)
        for label, failure in part.failures.items():
            known = failures.get(label)
            if known is None or known.at < failure.at:
                failures[label] = failure
    return Part(
        worker=None,
        requests=sum(part.requests for part in parts),
        in_flight=sum(part.in_flight for part in parts),
        waiting_for=tuple(dict.fromkeys(what for part in parts for what in part.waiting_for)),
        is_draining=all(part.is_draining for part in parts),
        counted_since=max(part.counted_since for part in parts),
        busy=busy,
        minute=minute,
        quarter=quarter,
        failures=failures,
        fills=joined_fills(part.fills for part in parts),
        kept=KeptAnswers(*map(sum, zip(*(part.kept for part in parts), strict=True))),
        redis=RedisSeen(redis[0].address, all(one.is_up for one in redis)) if redis else None,
    )
