"""Health and counters of targets, in memory. A reload keeps those of unchanged targets.

A target rests (is in cooldown) once enough of its requests failed, or when it asked for a pause by `Retry-After`:

1. A request counts when it leaves the target, so once, however often it was retried there.
2. A timeout counts for steps whose own limit is no longer than the one that passed, so a rest may be one for some steps
   and none for others.
3. A call during a rest, or the first one behind it, is a probe: its answer ends the rest, its failure prolongs it.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, TypeAlias

from gateway.engine.hedge_budget import Minutes
from gateway.engine.missing_paths import MissingPaths
from gateway.engine.paces import Latest, Pace, PaceKey, with_time
from gateway.engine.rests import NOBODY, Rest, TargetRest, of_both
from gateway.engine.window import PassedLimit, Slot, Window
from gateway.policy.failures import CLIENT_FAULTS, PAUSING, Kind
from gateway.policy.table import Step
from gateway.policy.target import Target
from gateway.wire.json import JsonObject

Identity: TypeAlias = tuple[str, str, str]
"""A target's name, its base URL, and the name of its key's source."""
Busy: TypeAlias = Mapping[tuple[str, str, str], int]
"""A target's label, its base URL, and the name of its key's source → its calls in flight, if there are any."""

MAX_TARGETS: Final = 10_000
"""Targets remembered, as wildcards can name any number. The least recently used idle ones are dropped first."""
_FORGOTTEN_PART: Final = 10
"""This part of them is dropped at a time."""

MAX_REST_S: Final = 600.0
"""Longest cooldown after an upstream's Retry-After, in seconds."""

BUDGET_WINDOW_S: Final = 10.0
BUDGET_SHARE: Final = 0.2
BUDGET_FLOOR: Final = 10
"""Retry budget of a target per window: this share of its attempts, and at least BUDGET_FLOOR."""

PROBE_S: Final = 1.0
"""Seconds between the probes of a target that has not answered yet; else the median time of its answers."""

_TIMES: Final = 15
"""Times of answers that the median is of."""

_PROBED_S: Final = 0.001
"""Cooldown, in a copy, of a target that is being probed."""


class Health:
    """The health of all targets. For the event loop only; points in time are seconds on its clock."""

    def __init__(self, *, max_targets: int = MAX_TARGETS) -> None:
        self._max_targets = max_targets
        self._few = max_targets // 2
        """Up to this number of them none needs to be marked as used."""
        self._targets: dict[Identity, _TargetHealth] = {}
        self.at_rest: set[Identity] = set()
        """Identities of the targets in cooldown. While it is empty, `resting` need not be called."""
        self.minutes = Minutes()
        """How many second calls the requests of aliases with a `hedge` may get now."""
        self.missing = MissingPaths()
        """The paths that endpoints lack."""
        self._uses = 0
        """Calls with one of several keys so far."""
        self.tell: Callable[[Identity, str, TargetRest | None], None] | None = None
        """Called with a target's identity, its label, and its rest when that begins or changes; None when it ends."""

    def begin(self, step: Step, *, now_s: float, retry: bool = False) -> Ticket:
        """Count an attempt that begins and return its ticket. The caller must call `done()` on it in every case."""
        target = step.target
        identity = target.identity
        health = self._targets.get(identity)
        if health is None or len(self._targets) > self._few:
            health = self._targets.pop(identity, None) or _TargetHealth(target.label)
            self._targets[identity] = health  # last in the dict: the most recently used
            if len(self._targets) > self._max_targets:
                self._forget_idle()
        health.in_flight += 1
        if not retry:
            if now_s - health.window_s >= BUDGET_WINDOW_S:
                health.turn_window(now_s)
            health.tries += 1
        rest = health.rest
        if rest is not None:
            if rest.covers(step.limits):
                health.begin_probe(rest, now_s)
            else:
                rest = None
        return Ticket(self, health, step, rest, now_s)

    def begin_key(self, step: Step, *, now_s: float) -> Ticket:
        """Count an attempt with one of several keys, for the key alone, as `begin` does."""
        ticket = self.begin(step, now_s=now_s)
        self._uses += 1
        ticket._target_health.used = self._uses
        return ticket

    def resting(self, steps: Sequence[Step], *, now_s: float) -> Mapping[int, Rest]:
        """Return position → rest, for those of `steps` whose target rests or is being probed."""
        if not self.at_rest:
            return NOBODY
        rests: dict[int, Rest] = {}
        for position, step in enumerate(steps):
            rest = self.rest(step, now_s=now_s)
            if step.by_key:
                rest = of_both(rest, [self.rest(one, now_s=now_s) for one in step.by_key])
            if rest is not None:
                rests[position] = rest
        return rests

    def labels_at_rest(self) -> set[str]:
        """Return the labels of the targets that rest or are being probed, whole or one key of them."""
        return {self._targets[identity].label for identity in self.at_rest if identity in self._targets}

    def in_flight(self, target: Target) -> int:
        """Return the number of calls of a target that have not ended, streams to their last event."""
        health = self._targets.get(target.identity)
        return 0 if health is None else health.in_flight

    def load(self, target: Target, key: PaceKey) -> tuple[int, Pace | None]:
        """Return what `in_flight` and `pace` do, with one look-up."""
        health = self._targets.get(target.identity)
        if health is None:
            return 0, None
        return health.in_flight, None if health.paces is None else health.paces.get(key)

    def pace(self, target: Target, key: PaceKey) -> Pace | None:
        """Return how fast a target answers; None if that is not known."""
        health = self._targets.get(target.identity)
        return None if health is None or health.paces is None else health.paces.get(key)

    def note_pace(self, target: Target, key: PaceKey, time_s: float, *, now_s: float, ended: bool = True) -> None:
        """Count the seconds that a target took until its first content, or until it was given up.

        `ended=False`: it was closed in the middle and would have taken longer.
        """
        health = self._targets.get(target.identity)
        if health is not None:
            paces = health.paces = health.paces or {}
            pace = paces.get(key)
            if ended or pace is None or time_s > pace.average_s:
                paces[key] = with_time(pace, time_s, now_s=now_s)
            latest = health.latest = health.latest or {}
            latest.setdefault(key, Latest()).add(time_s, now_s=now_s)

    def usual_s(self, target: Target, key: PaceKey, share: float, *, now_s: float) -> float | None:
        """Return the seconds within which a target brings this share of its first contents; None if not known."""
        health = self._targets.get(target.identity)
        latest = None if health is None or health.latest is None else health.latest.get(key)
        return None if latest is None else latest.percentile_s(share, now_s=now_s)

    def rest(self, step: Step, *, now_s: float) -> Rest | None:
        """Return the rest of one step's own target, be it one of a key; a rest that holds no longer is ended."""
        health = self._targets.get(step.target.identity)
        if health is None or health.rest is None:
            return None
        if not health.rest.holds_for(step.target):
            self.end_rest(step.target.identity, health)
            return None
        return health.rest.as_seen(step.limits, now_s)

    def hear(self, identity: Identity, label: str, rest: TargetRest | None) -> None:
        """Have a target rest, or end its rest, as another process tells."""
        tell, self.tell = self.tell, None
        health = self._targets.get(identity)
        if rest is not None:
            if health is None:
                health = self._targets[identity] = _TargetHealth(label)
            if health.rest is not None:
                rest.probes, rest.next_probe_s = health.rest.probes, health.rest.next_probe_s
            health.rest = rest
            self.at_rest.add(identity)
        elif health is not None and health.rest is not None:
            self.end_rest(identity, health)
        self.tell = tell

    def last_use(self, step: Step) -> int:
        """Return the serial number of the last call with a key; 0 if there was none."""
        health = self._targets.get(step.target.identity)
        return 0 if health is None else health.used

    def reset(self, name: str) -> int | None:
        """End the rests of the targets with this name or label and forget their failures.

        Return how many rested; None if no such target was called.
        """
        named = [(key, health) for key, health in self._targets.items() if name in (key[0], health.label)]
        rested = sum(health.rest is not None for _, health in named)
        for identity, health in named:
            self.end_rest(identity, health)
        return rested if named else None

    def snapshot(self, target: Target, now_s: float, *, of: Target | None = None) -> JsonObject:
        """Return a target's state and counters for `/-/targets`; for a wildcard, of all its models together.

        `of`: the target with all its keys, for one of its `by_key`, which rests while the whole does.
        """
        left = [self._left_s(target, now_s), None if of is None else self._left_s(of, now_s)]
        of_keys = [self._left_s(one, now_s) for one in target.by_key]
        if of_keys and None not in of_keys:
            left.append(min(of_keys, key=lambda left_s: left_s or 0.0))
        left_s = max((one for one in left if one is not None), default=None)
        known = self._known(target)
        return {
            "state": "ok" if left_s is None else "probing" if left_s == 0 else "cooldown",
            "cooldown_ends_in_s": None if left_s is None else round(left_s, 3),
            "attempts": dict(sum((health.counted() for health in known), Counter())),
            "in_flight": sum(health.in_flight for health in known),
        }

    def busy(self) -> Busy:
        """Return the calls in flight by target; all models of a wildcard are one."""
        found: dict[tuple[str, str, str], int] = {}
        for (_, base_url, source), health in self._targets.items():
            if health.in_flight:
                key = health.label, base_url, source
                found[key] = found.get(key, 0) + health.in_flight
        return found

    def _known(self, target: Target) -> list[_TargetHealth]:
        if not target.name.endswith("*"):
            return [health for health in (self._targets.get(target.identity),) if health is not None]
        source = target.endpoint.api_key.name
        return [one for key, one in self._targets.items() if one.label == target.label and key[2] == source]

    def _left_s(self, target: Target, now_s: float) -> float | None:
        """Return the seconds of the shortest rest left; 0 if it is over and has not been probed, None without one."""
        rests = [health.rest for health in self._known(target)]
        return min(
            (max(0.0, rest.until_s - now_s) for rest in rests if rest is not None and rest.holds_for(target)),
            default=None,
        )

    def copied(self, targets: Iterable[Target], *, now_s: float, alias: str = "") -> Health:
        """Return a copy for `targets`, and one alias' hedges, on a clock that reads 0 at `now_s`.

        Nothing is in flight in it. A target that is being probed is in cooldown for a moment more.
        """
        copy = Health()
        copy._uses = self._uses
        copy.minutes = self.minutes.copied(alias, now_s=now_s)
        for target in [one for each in targets for one in (each, *each.by_key)]:
            health = self._targets.get(target.identity)
            if health is None:
                continue
            twin = copy._targets[target.identity] = _TargetHealth(health.label)
            twin.requests = health.requests.shifted(-now_s)
            twin.times.extend(health.times)
            twin.paces = health.paces and {key: pace.shifted(-now_s) for key, pace in health.paces.items()}
            twin.latest = health.latest and {key: latest.shifted(-now_s) for key, latest in health.latest.items()}
            twin.answered_s, twin.used = health.answered_s - now_s, health.used
            twin.window_s, twin.tries, twin.retries = health.window_s - now_s, health.tries, health.retries
            if health.rest is not None:
                left_s = health.rest.until_s - now_s
                twin.rest = replace(
                    health.rest,
                    until_s=max(left_s, _PROBED_S) if health.rest.is_probed(now_s) else left_s,
                    asked_until_s=health.rest.asked_until_s - now_s,
                    probes=0,
                )
                copy.at_rest.add(target.identity)
        return copy

    def end_rest(self, identity: Identity, health: _TargetHealth) -> None:
        """End a target's rest, if it has one, and forget what led to it."""
        if self.tell is not None and health.rest is not None:
            self.tell(identity, health.label, None)
        health.rest = None
        health.requests = Window()
        self.at_rest.discard(identity)

    def _forget_idle(self) -> None:
        """Drop the least recently used targets that are idle: many at once, since finding them takes long."""
        wanted = len(self._targets) - self._max_targets + self._max_targets // _FORGOTTEN_PART
        idle = (identity for identity, health in self._targets.items() if not health.in_flight)
        for identity in list(islice(idle, wanted)):
            del self._targets[identity]
            self.at_rest.discard(identity)


class Ticket:
    """Records the outcome of one attempt in its target's health."""

    __slots__ = ("_began_s", "_counts", "_health", "_kind", "_passed", "_rest", "_slot", "_step", "_target_health")

    def __init__(
        self, health: Health, target_health: _TargetHealth, step: Step, rest: TargetRest | None, began_s: float
    ) -> None:
        """`rest`: what this attempt is a probe of."""
        self._health = health
        self._target_health = target_health
        self._step = step
        self._rest = rest
        self._began_s = began_s
        self._kind: str | None = None
        self._counts = False
        self._passed: PassedLimit | None = None
        self._slot: Slot | None = None

    def answered(self, now_s: float) -> None:
        """Record an answer, or for a stream the commit. Ends the rest that this attempt was a probe of."""
        self._kind = "ok"
        health = self._target_health
        health.answered_s = now_s
        requests = health.requests
        if now_s >= requests.slot.end_s:
            requests.turn(now_s, self._step.target.endpoint.cooldown.within_s)
            health.times.append(now_s - self._began_s)
            if len(health.times) > _TIMES:
                del health.times[0]
        slot = self._slot = requests.slot
        slot.answers += 1
        if self._rest is not None:
            self._end_rest()

    def failed(
        self,
        kind: Kind,
        *,
        now_s: float,
        retry_after_s: float | None = None,
        passed: PassedLimit | None = None,
        counts: bool = True,
    ) -> None:
        """Record a failed attempt. Call `left` if it was the request's last one on this target.

        `retry_after_s`: the upstream asked for a rest. `passed`: the limit that ended the attempt, if one did.
        `counts=False`: the failure says nothing about the target, as that of a stale pooled connection.
        """
        self._kind = kind.value
        health = self._target_health
        if kind in CLIENT_FAULTS:
            if counts:
                self.answered(now_s)
                self._kind = kind.value
            return
        # Begun before an answer that came meanwhile, it says nothing about the target since then.
        outdated = kind is Kind.TIMEOUT and self._began_s < health.answered_s
        self._counts, self._passed = counts and not outdated, passed
        if retry_after_s is not None and kind in PAUSING:
            self._pause(kind, now_s + min(retry_after_s, MAX_REST_S))
        elif self._counts and self._rest is not None and self._rest is health.rest:
            self._rest.until_s = max(self._rest.until_s, now_s + self._rest.cooldown.for_s)
            self._tell()

    def left(self, now_s: float) -> None:
        """Count the request as failed here: its last attempt on this target failed. May start a rest."""
        if not self._counts:
            return
        health, limits, cooldown = self._target_health, self._step.limits, self._step.target.endpoint.cooldown
        health.requests.fail(self._passed, now_s=now_s, within_s=cooldown.within_s)
        counts = health.requests.counts(now_s=now_s, within_s=cooldown.within_s)
        if counts.reach(cooldown, limits):
            rest = health.rest or self._new_rest()
            if rest.failed is not None:
                rest.failed = counts
            rest.until_s = max(rest.until_s, now_s + cooldown.for_s)
            self._tell()

    def broke(self, kind: Kind, *, now_s: float, passed: PassedLimit | None = None, counts: bool = True) -> None:
        """Record that a stream broke after its commit, which was counted as an answer."""
        self._kind = kind.value
        if counts:
            self._counts, self._passed = True, passed
            if self._slot is not None:
                self._slot.answers -= 1
            self.left(now_s)

    def refused(self, kind: Kind, *, now_s: float, retry_after_s: float | None) -> None:
        """Record that one of several keys was refused: it rests at once, by Retry-After, else for the cooldown's `for`.

        The attempt is one of a step of `Step.by_key`.
        """
        self._kind = kind.value
        rest = self._target_health.rest or self._new_rest()
        rest.failed, rest.refused_by = None, kind
        if retry_after_s is not None:
            self._pause(kind, now_s + min(retry_after_s, MAX_REST_S))
        else:
            rest.until_s = max(rest.until_s, now_s + rest.cooldown.for_s)
            self._tell()

    def take_retry(self, *, now_s: float) -> bool:
        """Take one retry from the target's budget; return False if it is used up.

        Call it when the retry is decided, not when it begins: a burst of failures waits for the same backoff.
        """
        return self._target_health.take_retry(now_s)

    def done(self) -> None:
        """End the attempt and count its outcome; a cancelled attempt has none."""
        health = self._target_health
        health.in_flight -= 1
        if self._kind == "ok":
            health.answers += 1
        elif self._kind is not None:
            health.attempts[self._kind] = health.attempts.get(self._kind, 0) + 1
        if self._rest is not None:
            self._rest.probes -= 1
            self._rest = None

    def _pause(self, kind: Kind, until_s: float) -> None:
        rest = self._target_health.rest or self._new_rest()
        rest.failed = None
        rest.asked = kind
        rest.asked_until_s = max(rest.asked_until_s, until_s)
        rest.until_s = max(rest.until_s, until_s)
        self._tell()

    def _tell(self) -> None:
        """Tell other processes of the target's rest."""
        if self._health.tell is not None:
            self._health.tell(self._step.target.identity, self._target_health.label, self._target_health.rest)

    def _new_rest(self) -> TargetRest:
        endpoint = self._step.target.endpoint
        rest = self._target_health.rest = TargetRest(endpoint.cooldown, endpoint.api_key.read())
        self._health.at_rest.add(self._step.target.identity)
        return rest

    def _end_rest(self) -> None:
        if self._rest is self._target_health.rest:
            self._health.end_rest(self._step.target.identity, self._target_health)


@dataclass(slots=True, eq=False)
class _TargetHealth:
    label: str
    requests: Window = field(default_factory=Window)
    rest: TargetRest | None = None
    """Stays after its end until a probe has answered."""
    answered_s: float = -math.inf
    """When the target last answered, or a stream of it committed."""
    times: list[float] = field(default_factory=list)
    """Seconds that some of its last _TIMES answers took, one of each slot of its window."""
    paces: dict[PaceKey, Pace] | None = None
    """Kept where a pool picks the fastest, or a hedge waits for a percentile; so is `latest`."""
    latest: dict[PaceKey, Latest] | None = None
    used: int = 0
    """Of one key of several: the serial number of its last call."""
    in_flight: int = 0
    answers: int = 0
    attempts: dict[str, int] = field(default_factory=dict)
    """Number by the kind of failure."""
    window_s: float = -math.inf
    """The start of the retry budget's window."""
    tries: int = 0
    """Attempts in the window, without retries."""
    retries: int = 0

    def counted(self) -> Counter[str]:
        """Return outcome → number of attempts."""
        return Counter({"ok": self.answers, **self.attempts} if self.answers else self.attempts)

    def begin_probe(self, rest: TargetRest, now_s: float) -> None:
        rest.probes += 1
        if now_s >= rest.until_s:
            rest.next_probe_s = now_s + (statistics.median(self.times) if self.times else PROBE_S)

    def take_retry(self, now_s: float) -> bool:
        if now_s - self.window_s >= BUDGET_WINDOW_S:
            self.turn_window(now_s)
        if self.retries >= max(BUDGET_FLOOR, BUDGET_SHARE * self.tries):
            return False
        self.retries += 1
        return True

    def turn_window(self, now_s: float) -> None:
        self.window_s, self.tries, self.retries = now_s, 0, 0
