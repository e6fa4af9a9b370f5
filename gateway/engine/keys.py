"""Which of a target's several keys a call is made with, and what a refused key comes to.

1. Keys are used in turn: the one whose last call is longest ago is next. One that rests is passed over.
2. After `auth`, `billing` or `rate_limit` the key rests, and each other one that does not is called once, at once.
3. When all rest, so does the target. Called nevertheless, it is called with the key that may be called first.

All other failures are the target's, whichever key was sent. One key alone needs none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from gateway.engine.health import Health, Ticket
from gateway.engine.next_step import Outcome
from gateway.engine.window import PassedLimit
from gateway.policy.failures import KEY_FAULTS, Kind, UpstreamError
from gateway.policy.table import Step
from gateway.telemetry.report import CallReport

KeyOrder: TypeAlias = Callable[[Step], Sequence[Step] | None]
"""Returns the steps of `step.by_key` in the order in which a request tries them; None for in turn."""


class KeyTurn:
    """One attempt on a target with several keys: a call, and one more with each other key while keys are refused."""

    def __init__(self, health: Health, step: Step, order: KeyOrder | None = None) -> None:
        """`order`: for a request that keeps its keys, as those of a sticky pool do."""
        self._health = health
        self._step = step
        own_order = None if order is None else order(step)
        self._keys = sorted(step.by_key, key=health.last_use) if own_order is None else own_order
        self._tried: list[Step] = []
        self._limited: UpstreamError | None = None
        self.refused: UpstreamError | None = None
        """The last key's, if another one is called at once."""

    def begin(self, *, now_s: float, retry: bool) -> tuple[Step, Ticket]:
        """Return the step with the key of the next call, and the call's ticket."""
        step = self._free(now_s) or min(self._step.by_key, key=lambda key: self._patience(key, now_s))
        target = self._health.begin(self._step, now_s=now_s, retry=retry or bool(self._tried))
        self._tried.append(step)
        return step, KeyTicket(target, self._health.begin_key(step, now_s=now_s))

    def note(self, report: CallReport) -> None:
        """Say in the report which key the last attempt was made with."""
        report.attempts[-1].key = self._tried[-1].target.endpoint.api_key.short

    def goes_on(
        self,
        error: UpstreamError,
        ticket: Ticket,
        report: CallReport,
        *,
        now_s: float,
        deadline_s: float,
        has_room: bool = True,
    ) -> bool:
        """Tell whether another key is called at once after this failure, which is then recorded.

        `has_room`: its provider has room for a call.
        """
        self.note(report)
        if error.kind not in KEY_FAULTS or error.asked_once or now_s >= deadline_s or not has_room:
            return False
        if self._free(now_s) is None:
            return False
        if error.kind is Kind.RATE_LIMIT:
            self._limited = error.with_traceback(None)
        self.refused = error.with_traceback(None)
        ticket.failed(error.kind, now_s=now_s, retry_after_s=error.retry_after_s, counts=error.counts)
        ticket.done()
        report.calling = None
        return True

    def of_all(self, error: UpstreamError) -> UpstreamError:
        """Return the target's failure after that of the last key: a limit that passes, if one key reached it."""
        is_worse = error.kind in {Kind.AUTH, Kind.BILLING} and not error.asked_once
        return self._limited if self._limited is not None and is_worse else error

    def outcome(self, last: Outcome, error: UpstreamError) -> Outcome:
        """Return the target's outcome. `last` and `error` are the last key's, whose failure was recorded."""
        if last.kind not in KEY_FAULTS:
            return last
        rest = self._health.resting((self._step,), now_s=last.ended_s).get(0)
        asked_s = None if rest is None or rest.asked is not Kind.RATE_LIMIT else rest.until_s - last.ended_s
        return replace(last, kind=self.of_all(error).kind, retry_after_s=asked_s)

    def _free(self, now_s: float) -> Step | None:
        """Return the next key that was not tried and does not rest."""
        for key in self._keys:
            if key not in self._tried and self._health.rest(key, now_s=now_s) is None:
                return key
        return None

    def _patience(self, key: Step, now_s: float) -> tuple[bool, bool, float]:
        rest = self._health.rest(key, now_s=now_s)
        return (False, False, now_s) if rest is None else rest.patience


class KeyTicket(Ticket):
    """Records an attempt with one of several keys: a refusal with the key, which rests alone, the rest with both."""

    __slots__ = ("_key",)

    def __init__(self, target: Ticket, key: Ticket) -> None:
        super().__init__(target._health, target._target_health, target._step, target._rest, target._began_s)
        self._key = key

    def answered(self, now_s: float) -> None:
        super().answered(now_s)
        self._key.answered(now_s)

    def failed(
        self,
        kind: Kind,
        *,
        now_s: float,
        retry_after_s: float | None = None,
        passed: PassedLimit | None = None,
        counts: bool = True,
    ) -> None:
        if kind in KEY_FAULTS:
            super().failed(kind, now_s=now_s, counts=False)
            self._key.refused(kind, now_s=now_s, retry_after_s=retry_after_s)
        else:
            super().failed(kind, now_s=now_s, retry_after_s=retry_after_s, passed=passed, counts=counts)
            self._key.failed(kind, now_s=now_s, counts=False)

    def broke(self, kind: Kind, *, now_s: float, passed: PassedLimit | None = None, counts: bool = True) -> None:
        super().broke(kind, now_s=now_s, passed=passed, counts=counts)
        self._key.broke(kind, now_s=now_s, counts=False)

    def done(self) -> None:
        super().done()
        self._key.done()
