"""Runs a call with retries, fallbacks, limits, deadline and commit, for every adapter. `next_step` decides."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

from gateway.adapters.base import Adapter, Adapters, NotSupported, Operation, PathMissing, Reply
from gateway.adapters.events import Stream
from gateway.engine.final_error import failure
from gateway.engine.health import Health, Ticket
from gateway.engine.keys import KeyTurn
from gateway.engine.limits.providers import NoRoom
from gateway.engine.missing_paths import is_translatable
from gateway.engine.next_step import FIRST, GiveUp, Outcome, Plan, Try, Wait, next_step
from gateway.engine.one_attempt import complete, held_limit_s, stream
from gateway.engine.request import Course, RoutedRequest
from gateway.engine.rests import NOBODY, Rest, without_room
from gateway.engine.room import FULL
from gateway.engine.stream import HoldExceeded, passed_limit
from gateway.errors import GatewayError, UpstreamRefused
from gateway.policy.echoes import Echoes
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.table import Step, other_models
from gateway.policy.target import AdapterName, Target
from gateway.telemetry.report import ABANDONED, Attempt, Closed, PassedOver

_T = TypeVar("_T")

NONE: Final[frozenset[int]] = frozenset()

_Attempt: TypeAlias = Callable[
    [RoutedRequest, Adapter, Step, Ticket, asyncio.AbstractEventLoop, float, float], Coroutine[None, None, _T]
]
"""Makes one attempt that begins at `now_s`, with `deadline_s` last. When it succeeds, it closes its ticket itself."""

Observer: TypeAlias = Callable[[Try | Wait | GiveUp, Mapping[int, Rest]], None]
"""Called with each decision of `next_step` and the rests by step; not for the usual first attempt."""


class Engine:
    """Tries a route's targets until one answers. `health` outlives a call."""

    def __init__(
        self,
        *,
        adapters: Adapters,
        health: Health,
        jitter: Callable[[], float] = random.random,
        observer: Observer | None = None,
    ) -> None:
        """`jitter` returns a random number from 0 to 1 for each failed attempt; it spreads the retries."""
        self._adapters = adapters
        self._health = health
        self._jitter = jitter
        self._observer = observer
        self._prepared: set[AdapterName] = set()

    def complete(self, request: RoutedRequest, course: Course | None = None) -> Coroutine[None, None, Reply]:
        """Return the first plain answer. Raises GatewayError when there is none; `course` then has the failures."""
        return self._run(request, complete, request.started_s + request.route.deadline_s, course)

    async def open_stream(self, request: RoutedRequest, course: Course | None = None) -> Stream:
        """Return the first stream that commits. Raises GatewayError when none does, likewise.

        The stream ends only when it is whole, and raises StreamBroken when it breaks.
        """
        if request.route.stream.hold == "full":
            request.end_s = request.started_s + held_limit_s(request.route)
        opened = await self._run(request, stream, request.deadline_s, course)
        request.report.first_content_s = request.loop.time() - request.started_s
        return opened

    async def _run(self, request: RoutedRequest, attempt: _Attempt[_T], deadline_s: float, course: Course | None) -> _T:
        """Follow `next_step` until an attempt succeeds. A successful `attempt` closes its ticket itself."""
        loop, report, route = request.loop, request.report, request.route
        health = self._health
        arranged = request.arranged
        if arranged is None:
            steps = route.steps
            unsupported = unsupported_steps(steps, request.operation)
        else:
            steps = arranged.steps
            unsupported = unsupported_steps(steps, request.operation, arranged.skipped)
        missing = health.missing
        if missing.remembered:
            lacking = missing.lacking(steps, request.operation, now_s=loop.time())
            if len(lacking) + len(unsupported) < len(steps):  # else the paths are asked for anew
                unsupported |= lacking
        if request.left_out:
            unsupported |= request.left_out
        plan: Plan | None = None
        # Made whole only for a second call: most requests have no failures.
        outcomes, errors, lacks = ([], [], []) if course is None else course
        failed: Ticket | None = None
        second, pace, room = request.second, request.pace, request.room
        keys: KeyTurn | None = None
        after = 0
        while True:
            now_s = loop.time()
            resting = health.resting(steps, now_s=now_s) if health.at_rest else NOBODY
            if room is not None:
                resting = room.resting(steps, resting, now_s=now_s)
            if second is not None:
                second.idle()
                unsupported, after = unsupported | second.unsupported, max(after, second.after)
                plan = Plan(steps, deadline_s, route.max_attempts - second.reserved, unsupported | second.busy)
            if keys is not None:
                pass  # the same target, with another key
            elif plan is None and not resting and not unsupported and now_s < deadline_s:
                decision = FIRST  # as `next_step` would say
            else:
                plan = plan or Plan(steps, deadline_s, route.max_attempts, unsupported)
                following = next_step(plan, outcomes, now_s=now_s, resting=resting)
                if second is not None and second.is_running and _moves_on(following) and not second.goes_on(following):
                    await _while_waiting(second.settle(), failed, loop)
                    continue
                if self._observer is not None:
                    self._observer(following, resting)
                if isinstance(following, Wait):
                    pause = (asyncio.sleep if room is None else room.pause)(following.until_s - now_s)
                    await (pause if second is None else _while_waiting(pause, failed, loop))
                    continue
                if failed is not None and not (isinstance(following, Try) and following.reason == "retry"):
                    failed.left(now_s)
                    failed = None
                if isinstance(following, GiveUp):
                    if following.reason in {"exhausted", "resting"} or following.rests:
                        left = NOBODY if following.reason == "exhausted" else resting
                        note_passed(request, range(after, len(steps)), unsupported, left)
                    error = failure(following, outcomes, errors, request, lacks, now_s=now_s)
                    if isinstance(error, UpstreamRefused):
                        report.target = steps[outcomes[-1].step].target
                    try:
                        raise error from (errors[-1] if errors else lacks[-1][1] if lacks else None)
                    finally:
                        del error  # its traceback has this frame: a cycle would keep the request's body
                decision = following
                if resting or unsupported:
                    left = without_room(resting) if decision.reason == "last_resort" else resting
                    note_passed(request, range(after, decision.step), unsupported, left)
            after = decision.step + 1
            step = steps[decision.step]
            target = step.target
            name = target.endpoint.adapters[request.operation.name]
            if missing.remembered:
                name = missing.carrier(target.endpoint, request.operation, now_s=now_s) or name
            request.carrier = name
            adapter = self._adapters[name]
            if step.by_key:
                keys = keys or KeyTurn(health, step, request.key_order)
                step, ticket = keys.begin(now_s=now_s, retry=decision.reason == "retry")
                target = step.target
            else:
                ticket = health.begin(step, now_s=now_s, retry=decision.reason == "retry")
            report.calling = target
            is_called = False
            try:
                if name not in self._prepared:
                    carrier = target.endpoint.adapters["chat"] if name == "translated" else name
                    if carrier not in self._prepared:
                        await self._adapters[carrier].prepare()
                        self._prepared.add(carrier)
                        now_s = loop.time()
                if request.nested is not None and await request.nested.run(step, deadline_s=deadline_s):
                    now_s = loop.time()
                if room is not None:
                    attempt = await room.take(step, attempt)
                    now_s = loop.time()
                if second is not None and plan is not None:
                    second.begin(plan, Course(outcomes, errors, lacks), decision.step, step)
                is_called = True
                result = await attempt(request, adapter, step, ticket, loop, now_s, deadline_s)
            except UpstreamError as error:
                _mask(error, target.endpoint.echoes)
                _note(request, target, error.kind, error.status, now_s, loop.time())
                if error.content_bytes is not None:
                    report.attempts[-1].content_bytes = error.content_bytes
                if keys is not None and keys.goes_on(
                    error,
                    ticket,
                    report,
                    now_s=loop.time(),
                    deadline_s=deadline_s,
                    has_room=room is None or room.has_room(step, now_s=loop.time()),
                ):
                    continue
                if pace is not None and error.kind is Kind.TIMEOUT:
                    health.note_pace(steps[decision.step].target, pace, loop.time() - now_s, now_s=loop.time())
                plan = plan or Plan(steps, deadline_s, route.max_attempts, unsupported)
                if request.held_s:
                    deadline_s = request.deadline_s
                    plan = plan._replace(deadline_s=deadline_s)
                outcomes.append(self.failed(plan, outcomes, decision, ticket, error, keys, now_s=loop.time()))
                if keys is not None:
                    error, keys = keys.of_all(error), None
                errors.append(error.with_traceback(None))  # has this frame, and is in it: a cycle, as below
                ticket.done()
                failed = ticket
            except NoRoom:  # as it had when that was asked
                ticket.done()
                if decision.reason != "retry":
                    after = decision.step  # it is passed over after all
                if keys is not None and (refused := keys.refused) is not None:  # so no further key is called
                    plan = plan or Plan(steps, deadline_s, route.max_attempts, unsupported)
                    outcomes.append(keys.outcome(self._outcome(decision, refused, now_s=loop.time()), refused))
                    errors.append(keys.of_all(refused))
                    after = decision.step + 1
                keys = None
            except NotSupported as error:
                status, elapsed_s, again = None, 0.0, False
                lacks.append((target.name, error.with_traceback(None)))
                if isinstance(error, PathMissing):
                    status, elapsed_s = error.status, loop.time() - now_s
                    if name == "relay":
                        missing.note(target.endpoint, request.operation, now_s=loop.time())
                        again = is_translatable(target.endpoint, request.operation)
                report.attempts.append(Attempt(target.name, target.label, "unsupported", status, elapsed_s * 1000))
                if report.trace is not None and status is not None:
                    report.attempts[-1].traced = report.trace.call
                if again:
                    after = decision.step  # it is the next one again, translated
                else:
                    unsupported |= {decision.step}
                keys = None
                plan = Plan(steps, deadline_s, route.max_attempts, unsupported)
                ticket.done()
            except HoldExceeded as error:
                _note(request, target, Kind.BAD_RESPONSE, 200, now_s, loop.time())
                error.attempts = tuple(report.attempts)
                ticket.done()
                raise
            except GatewayError as error:  # a nested alias' hook ends the request
                error.attempts = tuple(report.attempts)
                report.calling = None
                ticket.done()
                raise
            except BaseException as error:
                if is_called and second is None and client_left(error):  # where there is a second, the race notes it
                    _note(request, target, ABANDONED, None, now_s, loop.time())
                    if keys is not None:
                        keys.note(report)
                    report.calling = None
                ticket.done()
                raise
            else:
                if request.nested is not None:
                    request.answered = step
                _note(request, target, None, 200, now_s, loop.time())
                if keys is not None:
                    keys.note(report)
                report.target = target
                report.calling = None
                if pace is not None:
                    health.note_pace(steps[decision.step].target, pace, loop.time() - now_s, now_s=loop.time())
                return result
            report.calling = None

    def failed(
        self,
        plan: Plan,
        outcomes: Sequence[Outcome],
        decision: Try,
        ticket: Ticket,
        error: UpstreamError,
        keys: KeyTurn | None = None,
        *,
        now_s: float,
    ) -> Outcome:
        """Record a failed attempt with its target's health and return it as an outcome. `keys`: of several."""
        outcome = self._outcome(decision, error, now_s=now_s)
        # Stopped by the request's deadline, the target may have been within its limits. Its `total` is one of them.
        out_of_time = error.kind is Kind.TIMEOUT and now_s >= plan.deadline_s and error.limit != "stream_total_s"
        ticket.failed(
            error.kind,
            now_s=now_s,
            retry_after_s=error.retry_after_s,
            passed=passed_limit(error, plan.steps[decision.step].limits),
            counts=error.counts and not out_of_time,
        )
        if keys is not None:
            outcome = keys.outcome(outcome, error)
        then = next_step(plan, [*outcomes, outcome], now_s=now_s, resting={})
        retries = isinstance(then, Wait) or (isinstance(then, Try) and then.reason == "retry")
        return replace(outcome, over_budget=True) if retries and not ticket.take_retry(now_s=now_s) else outcome

    def _outcome(self, decision: Try, error: UpstreamError, *, now_s: float) -> Outcome:
        return Outcome(
            step=decision.step,
            kind=error.kind,
            ended_s=now_s,
            retry_after_s=error.retry_after_s,
            jitter=self._jitter(),
            stale_connection=error.reused_connection,
            last_resort=decision.reason == "last_resort",
            asked_once=bool(error.asked_once),
        )


async def _while_waiting(
    waiting: Coroutine[None, None, None], failed: Ticket | None, loop: asyncio.AbstractEventLoop
) -> None:
    """Wait, and count the request as failed at the last target if another call answers meanwhile."""
    try:
        await waiting
    except asyncio.CancelledError:
        if failed is not None:
            failed.left(loop.time())
        raise


def client_left(error: BaseException) -> bool:
    """Tell whether the request's task was cancelled: an adapter's own CancelledError does not count."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _moves_on(following: Try | Wait | GiveUp) -> bool:
    """Tell whether the last target is left, and the request may still be answered by another."""
    if isinstance(following, Try):
        return following.reason != "retry"
    return isinstance(following, GiveUp) and following.reason != "stopped"


def _mask(error: UpstreamError, echoes: Echoes) -> None:
    """Mask the endpoint's secrets in what a failure tells the client and the log. It was classified before."""
    if error.code is not None:
        error.code = echoes.mask(error.code)
    if error.body is not None:
        error.body = echoes.mask_body(error.body)
    if error.headers:
        error.headers = echoes.mask_headers(error.headers)


def _note(
    request: RoutedRequest,
    target: Target,
    kind: Kind | Closed | None,
    status: int | None,
    began_s: float,
    now_s: float,
) -> None:
    """Add a call that ended to the report."""
    report, name, label = request.report, target.name, target.label
    report.attempts.append(
        Attempt(name, label, kind, status, (now_s - began_s) * 1000, None, (began_s - request.started_s) * 1000)
    )
    report.calls += 1
    if report.trace is not None:
        report.attempts[-1].traced = report.trace.call


def note_passed(
    request: RoutedRequest, passed: range, unsupported: Collection[int], resting: Mapping[int, Rest]
) -> None:
    """Add the targets that were passed over between two attempts to the report."""
    for position in passed:
        target = request.steps[position].target
        kind: PassedOver | Kind | None = None
        if position in resting:
            rest = resting[position]
            kind = "cooldown" if rest.limit is None else "limited"
            if rest is FULL:
                kind = Kind.OVERLOADED
        if request.arranged is not None and position in request.arranged.skipped:
            kind = "condition"
        elif position in unsupported:
            kind = "unsupported"
            if request.bound is not None and request.operation.name in target.endpoint.adapters:
                kind = "bound"
        if kind is not None:
            request.report.attempts.append(Attempt(target.name, target.label, kind, None, 0.0))


def unsupported_steps(steps: Sequence[Step], operation: Operation, skipped: Collection[int] = NONE) -> frozenset[int]:
    """Return the positions of the steps whose target does not support the operation, or has another model.

    Those of `skipped` steps, whose condition is not met, are among them.
    """
    found = frozenset(skipped) if skipped else NONE
    name = operation.name
    for position, step in enumerate(steps):
        if name not in step.target.endpoint.adapters:
            found |= {position}
    return found | other_models(steps, found) if operation.same_model_only else found
