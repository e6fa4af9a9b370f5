"""Hedges: where an alias has a `hedge`, a second target is called beside one that takes long.

1. A call that has brought no content after the hedge's time gets the chain's next target beside it, if one is free to
   be called: it neither rests nor is the same target, `max_attempts` has room, and the alias' minute allows it.
2. The first answer, or the first stream that commits, wins. The other call is closed; it counts neither as a failure
   nor as an answer, and the client does not wait for it. It is closed too when the first call ends the request.
3. If the second call fails, its target counts as tried. After the same time another one may be called.
4. If the first call fails meanwhile, its target is retried as ever. Before the chain moves on, the second call ends, or
   has brought no content after the hedge's time either: then the chain calls its next target beside it, on the terms
   of 1. One that nested pre hooks wait for is not called so.

Bound requests are not hedged, nor those that an upstream keeps or runs tools for (`operations/hosted.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from gateway.adapters.base import Reply
from gateway.adapters.events import Stream
from gateway.engine.attempts import NONE, Engine, client_left, note_passed
from gateway.engine.health import Health
from gateway.engine.hedge_budget import Minute
from gateway.engine.limits.settled_stream import SettledStream
from gateway.engine.nested import NestedHooks
from gateway.engine.next_step import GiveUp, Plan, Try, Wait, step_beside
from gateway.engine.request import Course, RoutedRequest
from gateway.engine.stream import CommittedStream
from gateway.errors import GatewayError
from gateway.operations.hosted import may_be_sent_twice
from gateway.policy.table import Step
from gateway.policy.target import Target
from gateway.telemetry.report import ABANDONED, HEDGED_OUT, Attempt, CallReport, Closed
from gateway.wire.json import Json

_T = TypeVar("_T", Reply, Stream)

PERCENTILE: Final = 0.95
"""The share of a target's first contents that `hedge: p95` waits for."""

_Run: TypeAlias = Callable[[RoutedRequest, Course | None], Coroutine[None, None, _T]]


class Hedges:
    """Answers the requests of aliases with a `hedge`. For one event loop at a time."""

    def __init__(self, engine: Engine, health: Health) -> None:
        self._engine = engine
        self._health = health
        self._calls: set[asyncio.Task[None]] = set()
        """Calls in flight, and those that are being closed: within a second (`engine.stream.CLOSE_S`)."""

    async def complete(self, request: RoutedRequest) -> Reply:
        """Return the first plain answer, as the engine does."""
        return await self._race(request, self._engine.complete)

    async def open_stream(self, request: RoutedRequest) -> Stream:
        """Return the first stream that commits, as the engine does."""
        return await self._race(request, self._engine.open_stream)

    async def _race(self, request: RoutedRequest, run: _Run[_T]) -> _T:
        loop = asyncio.get_running_loop()
        minute = self._health.minutes.of(request.report.alias)
        minute.count(now_s=loop.time())
        race = Race(request, run, self._health, minute, self._start)
        return await race.run()

    def _start(self, call: Coroutine[None, None, None]) -> asyncio.Task[None]:
        # Not in a TaskGroup: the winner's client must not wait until the other call is closed.
        task = asyncio.get_running_loop().create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task


class _Calling(NamedTuple):
    """The last call of the chain."""

    plan: Plan
    course: Course
    position: int
    step: Step
    """With the key that is sent, where its target has several."""
    began_s: float


class Race(Generic[_T]):
    """The calls of one request: those of the chain, and at most one beside them. It is the request's `second`."""

    def __init__(
        self,
        request: RoutedRequest,
        run: _Run[_T],
        health: Health,
        minute: Minute,
        start: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self._request = request
        self._run: _Run[_T] = run
        self._health = health
        self._minute = minute
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._won: asyncio.Future[_T] = self._loop.create_future()
        self._chain: asyncio.Task[None] | None = None
        self._second: _Second | None = None
        self._settled: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._left_out: set[int] = set()
        """Steps that are not called beside another: a second call of theirs ended in what is no upstream's failure."""
        self._calling: _Calling | None = None
        self._has_content = False
        self._is_late = False
        """The second call has brought no content after the hedge's time, and the chain waits for it."""
        self._is_over = False
        """The calls that are left are closed."""
        self.unsupported: frozenset[int] = NONE
        self.after = 0

    async def run(self) -> _T:
        """Return the first answer, or the first stream that commits. Raises GatewayError when there is none."""
        self._request.second = self
        self._chain = self._start(self._follow_chain())
        try:
            return await self._won
        except asyncio.CancelledError as error:
            if self._won.done() and not self._won.cancelled() and self._won.exception() is None:
                self._start(_discard(self._won.result()))
            elif client_left(error):
                self._note_abandoned()
            raise
        finally:
            self._end()
            self._won = self._loop.create_future()  # an error's traceback has this frame: it would be a cycle
            self._won.cancel()

    @property
    def is_running(self) -> bool:
        """Another target is being called."""
        return self._second is not None

    @property
    def reserved(self) -> int:
        """The most attempts that the second call may make, but one unless it is late: that is kept in any case."""
        return 0 if self._second is None else self._second.most - (0 if self._is_late else 1)

    @property
    def busy(self) -> frozenset[int]:
        """The steps of the target that is called late: the chain goes on without them."""
        second = self._second
        return NONE if second is None or not self._is_late else second.same

    def goes_on(self, following: Try | Wait | GiveUp) -> bool:
        """Tell whether the chain may call its next target beside a second call that is late."""
        if not self._is_late or not isinstance(following, Try) or following.reason != "fallback":
            return False
        request, step = self._request, self._request.steps[following.step]
        if step.nested or not self._may_be_sent(step, request.nested):
            return False
        return self._minute.take(now_s=self._loop.time())

    def idle(self) -> None:
        """Note that the chain calls nobody now."""
        self._calling = None
        self._stop_waiting()

    def begin(self, plan: Plan, course: Course, position: int, step: Step) -> None:
        """Note that a step is called now, and wait for its content."""
        self._calling = _Calling(plan, course, position, step, self._loop.time())
        self._has_content = False
        self._wait()

    def has_content(self) -> None:
        """Note that the call has brought content, which is held back: none is called beside it any more."""
        self._has_content = True
        self._stop_waiting()

    async def settle(self) -> None:
        """Wait until the second call has failed or is late. If it answers, the task that waits is cancelled."""
        if self._second is not None:
            self._settled = self._loop.create_future()
            if not self._is_late:
                self._wait_for_second(self._second)
            await self._settled

    def _wait_for_second(self, second: _Second) -> None:
        """Set the time at which the second call is late."""
        self._stop_waiting()
        after_s = None if second.has_content_held else self._after_s(second.step.target)
        if after_s is not None:
            now_s = self._loop.time()
            since_s = now_s if second.calling is None else second.began_s
            self._timer = self._loop.call_at(
                max(now_s, since_s + after_s), self._note_late, second, second.calling, second.began_s
            )

    def _note_late(self, second: _Second, calling: Step | None, began_s: float) -> None:
        self._timer = None
        if second is not self._second or self._settled is None or self._won.done():
            return
        if second.has_content_held:
            return
        if calling is None or second.calling is None or second.began_s != began_s:
            self._wait_for_second(second)  # it is called anew, which takes its own time
            return
        self._is_late = True
        self._settle()

    def _settle(self) -> None:
        """Let the chain go on, if it waits for the second call."""
        settled, self._settled = self._settled, None
        if settled is not None and not settled.done():
            settled.set_result(None)

    async def _follow_chain(self) -> None:
        try:
            result = await self._run(self._request, None)
        except BaseException as error:
            if self._is_over:
                raise  # it was closed
            if self._second is not None:
                self._close_second(self._second)
            self._fail(error)
        else:
            if self._won.done():
                await _discard(result)
                return
            if self._second is not None:
                answer = self._request.report.attempts.pop()
                self._close_second(self._second)
                self._request.report.attempts.append(answer)
            self._won.set_result(result)

    def _wait(self) -> None:
        """Set the time at which a second target is called."""
        self._stop_waiting()
        calling = None if self._second is not None or self._has_content else self._calling
        after_s = None if calling is None else self._after_s(calling.plan.steps[calling.position].target)
        if after_s is not None:
            self._timer = self._loop.call_at(self._loop.time() + after_s, self._call_second)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _after_s(self, target: Target) -> float | None:
        hedge, pace = self._request.route.hedge, self._request.pace
        if hedge is None:
            return None
        if hedge.after_s is not None or pace is None:
            return hedge.after_s
        return self._health.usual_s(target, pace, PERCENTILE, now_s=self._loop.time())

    def _call_second(self) -> None:
        """Call a second target, if the first is still being called and another may be."""
        self._timer = None
        request = self._request
        last = self._calling
        if self._won.done() or last is None:
            return
        now_s = self._loop.time()
        course, calling = last.course, last.position
        unsupported = self.unsupported.union(last.plan.unsupported)
        plan = last.plan._replace(unsupported=unsupported)
        resting = self._health.resting(plan.steps, now_s=now_s)
        if request.room is not None:
            resting = request.room.resting(plan.steps, resting, now_s=now_s)
        found = step_beside(plan, course.outcomes, calling, resting=resting, left_out=self._left_out)
        if found is None or now_s >= plan.deadline_s:
            return
        position, most = found
        if not self._may_be_sent(plan.steps[calling], request.nested):
            return
        if not self._minute.take(now_s=now_s):
            return
        note_passed(request, range(max(calling + 1, self.after), position), unsupported, resting)
        self.after = max(self.after, calling + 1, position + 1)
        self._second = second = _Second(request, position, most, plan.steps)
        second.task = self._start(self._follow_second(second, course))

    def _may_be_sent(self, step: Step, nested: NestedHooks | None) -> bool:
        """Tell whether a step may get the request beside another; the pre hooks on the way to it have run."""
        request = self._request
        params: Mapping[str, Json] = request.params if nested is None else nested.params(step)
        if step.params.sent:
            params = {**params, **step.params.sent}
        return may_be_sent_twice(request.operation.name, params)

    async def _follow_second(self, second: _Second, course: Course) -> None:
        own, request = Course([], [], []), second.request
        try:
            if request.nested is not None:
                await request.nested.run(second.step, deadline_s=request.deadline_s)
            if not self._may_be_sent(second.step, request.nested):
                self._merge(second, own, course)
                return
            result = await self._run(request, own)
        except GatewayError:
            self._merge(second, own, course)
        except BaseException as error:
            if self._is_over or second.is_closed:
                raise
            self._fail(error)  # a fault of our own surfaces
        else:
            if self._won.done():
                await _discard(result)
                return
            self._close_chain()
            self._note_ended(second.rows())
            second.take_over(self._request, result)
            self._second = None
            self._won.set_result(result)

    def _merge(self, second: _Second, own: Course, course: Course) -> None:
        """Note that the second call failed, and go on waiting for the first, or let the chain go on."""
        self._note_ended(second.rows())
        before = len(course.outcomes)
        if self._calling is None and before:
            before -= 1  # the chain goes on from its own last failure
        course.outcomes[before:before] = own.outcomes
        course.errors[before:before] = own.errors
        course.lacks.extend(own.lacks)
        if own.lacks:
            self.unsupported |= {second.position}
        elif not own.outcomes:
            self._left_out.add(second.position)
        self._second, self._is_late = None, False
        if self._settled is not None:
            self._settle()
        elif not self._won.done():
            self._wait()

    def _fail(self, error: BaseException) -> None:
        if self._won.done():
            return
        if isinstance(error, asyncio.CancelledError):  # an adapter's own
            self._won.cancel()
        else:
            self._won.set_exception(error)

    def _close_chain(self) -> None:
        """Close the first call, and add it to the report."""
        assert self._chain is not None, "or there is no second call"
        self._is_over = True
        self._chain.cancel()
        self._request.report.calling = None
        if self._calling is not None:
            whole = self._calling.plan.steps[self._calling.position]
            self._note_closed(self._request.report, whole, self._calling.step, self._calling.began_s, hedge=False)

    def _close_second(self, second: _Second) -> None:
        """Close the second call, and add it to the report."""
        self._note_ended(second.rows())
        if second.calling is not None:
            self._note_closed(second.request.report, second.step, second.calling, second.began_s, hedge=True)
        self._second = None
        second.close(self._request.report)

    def _note_ended(self, rows: Sequence[Attempt]) -> None:
        """Add attempts of the second call to the report."""
        self._request.report.attempts += rows
        self._request.report.calls += len(rows)

    def _note_abandoned(self) -> None:
        """Add the calls that are being made to the report: the client leaves."""
        report = self._request.report
        report.calling = None
        if self._calling is not None:
            whole = self._calling.plan.steps[self._calling.position]
            self._note_closed(report, whole, self._calling.step, self._calling.began_s, hedge=False, why=ABANDONED)
        if (second := self._second) is not None:
            self._note_ended(second.rows())
            if second.calling is not None:
                own, began_s = second.request.report, second.began_s
                self._note_closed(own, second.step, second.calling, began_s, hedge=True, why=ABANDONED)

    def _note_closed(
        self,
        own: CallReport,
        step: Step,
        called: Step,
        began_s: float,
        *,
        hedge: bool,
        why: Closed = HEDGED_OUT,
    ) -> None:
        """Add a call that is closed to the report. `own`: that of the call; `called`: the step with the key sent."""
        request, now_s, target = self._request, self._loop.time(), step.target
        start_ms = (began_s - request.started_s) * 1000
        key = called.target.endpoint.api_key.short if step.by_key else None
        row = Attempt(target.name, target.label, why, None, (now_s - began_s) * 1000, key, start_ms, hedge)
        if own.trace is not None:
            row.traced = own.trace.call
        request.report.attempts.append(row)
        request.report.calls += 1
        if request.pace is not None and why == HEDGED_OUT:
            self._health.note_pace(target, request.pace, now_s - began_s, now_s=now_s, ended=False)

    def _end(self) -> None:
        self._is_over = True
        self._stop_waiting()
        self._request.second = None
        if self._chain is not None:
            self._chain.cancel()
        if self._second is not None:
            self._second.close(self._request.report)


class _Second:
    """One call beside another: a request of its own for one step of the chain, whose `second` it is."""

    def __init__(self, request: RoutedRequest, position: int, most: int, steps: Sequence[Step]) -> None:
        """The step at `position` gets `most` attempts."""
        self.position = position
        self.step = step = steps[position]
        identity = step.target.identity
        self.same = frozenset(number for number, one in enumerate(steps) if one.target.identity == identity)
        """The steps with its target."""
        self.most = most
        self.calling: Step | None = None
        """The step that is called now, with the key that is sent."""
        self.began_s = 0.0
        self.has_content_held = False
        self.is_closed = False
        self.task: asyncio.Task[None] | None = None
        self.is_running, self.reserved, self.after = False, 0, 0  # nothing is called beside a second call
        self.unsupported = self.busy = NONE
        report = request.report
        own = CallReport(report.request_id, report.alias, report.generation, calls=report.calls + 1)
        if report.trace is not None:
            own.trace = report.trace.beside()
        only = frozenset(range(len(steps))) - {position}
        route = replace(request.route, max_attempts=most)
        room = None if request.room is None else request.room.beside(own)
        self.request = replace(request, report=own, second=self, route=route, left_out=only, room=room)

    def idle(self) -> None:
        """Note that nobody is called now."""
        self.calling = None

    def begin(self, plan: Plan, course: Course, position: int, step: Step) -> None:
        """Note that the step is called now."""
        self.calling, self.began_s = step, asyncio.get_running_loop().time()
        self.has_content_held = False

    def has_content(self) -> None:
        """Note that the call has brought content, which is held back: the first whole stream wins."""
        self.has_content_held = True

    def goes_on(self, following: Try | Wait | GiveUp) -> bool:
        """Return False: it has one target."""
        return False

    async def settle(self) -> None:
        """Do nothing: there is no other call to wait for."""

    def rows(self) -> list[Attempt]:
        """Return the attempts that ended, for the report of the whole request."""
        rows = [attempt for attempt in self.request.report.attempts if attempt.was_called]
        for row in rows:
            row.hedge = True
        return rows

    def take_over(self, request: RoutedRequest, result: Reply | Stream) -> None:
        """Make this call's answer that of the whole request."""
        report, own = request.report, self.request.report
        report.target, report.tokens, report.first_content_s = own.target, own.tokens, own.first_content_s
        request.carrier, request.answered = self.request.carrier, self.request.answered
        stream = result.body if isinstance(result, Reply) else result
        if isinstance(stream, SettledStream):
            stream = stream.source
        if isinstance(stream, CommittedStream):
            stream.report = report

    def close(self, report: CallReport) -> None:
        """Cancel the call. What tokens it told until then are in `report` once it is closed."""
        own = self.request.report

        def note(_: asyncio.Task[None]) -> None:
            report.closed_tokens = own.closed_tokens or own.tokens

        self.is_closed = True
        if self.task is not None and not self.task.done():
            self.task.add_done_callback(note)
            self.task.cancel()


async def _discard(result: Reply | Stream) -> None:
    """Close an answer that nobody gets."""
    stream = result.body if isinstance(result, Reply) else result
    if stream is not None:
        await stream.aclose()
