"""Health and counters of targets, in memory. A reload keeps those of unchanged targets."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gateway.policy.failures import CLIENT_FAULTS, Kind
from gateway.policy.target import Target
from gateway.wire.json import JsonObject

MAX_TARGETS: Final = 10_000
"""Targets remembered, as wildcards can name any number. The least recently used idle ones are dropped first."""

MAX_REST_S: Final = 600.0
"""Longest cooldown after an upstream's Retry-After, in seconds."""

BUDGET_WINDOW_S: Final = 10.0
BUDGET_SHARE: Final = 0.2
BUDGET_FLOOR: Final = 10
"""Retry budget of a target per window: this share of its attempts, and at least BUDGET_FLOOR."""

_PROBED_S: Final = 0.001
"""Cooldown, in a copy, of a target that is being probed."""

NOBODY: Final[Mapping[int, float]] = MappingProxyType({})
"""`resting` without any cooldown."""


class Health:
    """The health of all targets. For the event loop only; points in time are seconds on its clock."""

    def __init__(self, *, max_targets: int = MAX_TARGETS) -> None:
        self._max_targets = max_targets
        self._targets: dict[tuple[str, str, str], _TargetHealth] = {}
        self.at_rest: set[tuple[str, str, str]] = set()
        """Identities of the targets in cooldown. While it is empty, `resting` need not be called."""

    def begin(self, target: Target, *, now_s: float, retry: bool = False) -> Ticket:
        """Count an attempt that begins and return its ticket. The caller must call `done()` on it in every case.

        An attempt of a target in cooldown is its probe: its outcome decides whether the cooldown ends.
        """
        identity = target.identity
        health = self._targets.get(identity)
        if health is None or len(self._targets) * 2 > self._max_targets:
            health = self._targets.pop(identity, None) or _TargetHealth(target.label)
            self._targets[identity] = health  # last in the dict: the most recently used
            if len(self._targets) > self._max_targets:
                self._forget_idle()
        health.in_flight += 1
        if not retry:
            if now_s - health.window_s >= BUDGET_WINDOW_S:
                health.turn_window(now_s)
            health.tries += 1
        probe = health.open_until_s is not None and not health.probing
        if probe:
            health.probing = True
        return Ticket(self, health, target, probe)

    def resting(self, targets: Iterable[Target], *, now_s: float) -> Mapping[int, float]:
        """Return position → end of the cooldown, for those of `targets` in cooldown or being probed."""
        if not self.at_rest:
            return NOBODY
        rests: dict[int, float] = {}
        for position, target in enumerate(targets):
            health = self._targets.get(target.identity)
            if health is None or health.open_until_s is None:
                continue
            if health.open_until_s > now_s or health.probing:
                rests[position] = max(health.open_until_s, now_s)
        return rests

    def snapshot(self, target: Target, now_s: float) -> JsonObject:
        """Return a target's state and counters for `/-/targets`; for a wildcard, of all its models together."""
        if target.name.endswith("*"):
            known = [health for health in self._targets.values() if health.label == target.label]
        else:
            known = [health for health in (self._targets.get(target.identity),) if health is not None]
        if not known:
            return {"state": "ok", "cooldown_ends_in_s": None, "attempts": {}, "in_flight": 0}
        resting = [health for health in known if health.open_until_s is not None]
        left_s = min((max(0.0, (health.open_until_s or 0.0) - now_s) for health in resting), default=None)
        probing = left_s == 0 or any(health.probing for health in resting)
        return {
            "state": "ok" if left_s is None else "probing" if probing else "cooldown",
            "cooldown_ends_in_s": None if left_s is None else round(left_s, 3),
            "attempts": dict(sum((health.counted() for health in known), Counter())),
            "in_flight": sum(health.in_flight for health in known),
        }

    def copied(self, targets: Iterable[Target], *, now_s: float) -> Health:
        """Return a copy for `targets` on a clock that reads 0 at `now_s`.

        Nothing is in flight in it. A target that is being probed is in cooldown for a moment more.
        """
        copy = Health()
        for target in targets:
            health = self._targets.get(target.identity)
            if health is None:
                continue
            twin = copy._targets[target.identity] = _TargetHealth(health.label)
            twin.failures.extend(failed_s - now_s for failed_s in health.failures)
            twin.window_s, twin.tries, twin.retries = health.window_s - now_s, health.tries, health.retries
            if health.open_until_s is not None:
                left_s = health.open_until_s - now_s
                twin.open_until_s = max(left_s, _PROBED_S) if health.probing else left_s
                copy.at_rest.add(target.identity)
        return copy

    def _forget_idle(self) -> None:
        for identity, health in list(self._targets.items()):
            if len(self._targets) <= self._max_targets:
                return
            if not health.in_flight:
                del self._targets[identity]
                self.at_rest.discard(identity)


class Ticket:
    """Records the outcome of one attempt in its target's health."""

    __slots__ = ("_health", "_kind", "_probe", "_target", "_target_health")

    def __init__(self, health: Health, target_health: _TargetHealth, target: Target, probe: bool) -> None:
        self._health = health
        self._target_health = target_health
        self._target = target
        self._probe = probe
        self._kind: str | None = None

    def answered(self) -> None:
        """Record an answer, or for a stream the commit. Ends the cooldown if this attempt was its probe."""
        self._kind = "ok"
        if self._probe:
            self._close()

    def failed(self, kind: Kind, *, now_s: float, rest_s: float | None = None, counts: bool = True) -> bool:
        """Record a failure. Return True if the target is in cooldown now.

        `rest_s`: a Retry-After too long to wait for, which starts a cooldown at once. `counts=False`: the failure says
        nothing about the target, as that of a stale pooled connection.
        """
        self._kind = kind.value
        health = self._target_health
        cooldown = self._target.endpoint.cooldown
        if kind in CLIENT_FAULTS and counts:
            if self._probe:
                self._close()
        elif rest_s is not None:
            self._open(now_s + min(rest_s, MAX_REST_S))
        elif counts and self._probe:
            self._open(now_s + cooldown.for_s)
        elif counts:
            health.failures.append(now_s)
            while health.failures[0] <= now_s - cooldown.within_s:
                health.failures.popleft()
            if len(health.failures) >= cooldown.failures:
                self._open(now_s + cooldown.for_s)
        return health.open_until_s is not None and health.open_until_s > now_s

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
            health.attempts[self._kind] += 1
        if self._probe:
            self._end_probe()

    def _open(self, until_s: float) -> None:
        health = self._target_health
        health.open_until_s = max(until_s, health.open_until_s or 0.0)
        health.failures.clear()
        self._health.at_rest.add(self._target.identity)
        self._end_probe()

    def _close(self) -> None:
        self._target_health.open_until_s = None
        self._target_health.failures.clear()
        self._health.at_rest.discard(self._target.identity)
        self._end_probe()

    def _end_probe(self) -> None:
        """End this attempt's role as the probe, so that it cannot disturb a later one."""
        if self._probe:
            self._probe = self._target_health.probing = False


@dataclass(slots=True, eq=False)
class _TargetHealth:
    label: str
    failures: deque[float] = field(default_factory=deque)
    """When the failures that count towards a cooldown ended."""
    open_until_s: float | None = None
    """The end of the cooldown; None outside one."""
    probing: bool = False
    in_flight: int = 0
    answers: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    """By the kind of failure."""
    window_s: float = 0.0
    """The start of the retry budget's window."""
    tries: int = 0
    """Attempts in the window, without retries."""
    retries: int = 0

    def counted(self) -> Counter[str]:
        """Return outcome → number of attempts."""
        return Counter({"ok": self.answers} if self.answers else {}) + self.attempts

    def take_retry(self, now_s: float) -> bool:
        if now_s - self.window_s >= BUDGET_WINDOW_S:
            self.turn_window(now_s)
        if self.retries >= max(BUDGET_FLOOR, BUDGET_SHARE * self.tries):
            return False
        self.retries += 1
        return True

    def turn_window(self, now_s: float) -> None:
        self.window_s, self.tries, self.retries = now_s, 0, 0
