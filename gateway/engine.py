"""Running a call: retries, fallbacks, limits, deadline and commit, for every adapter. Decisions are in `decisions`."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, TypeVar

from gateway.alarm import Limit, until
from gateway.answers import StreamJudge, counts_of, judge_reply, tokens_of
from gateway.decisions import FIRST, GiveUp, Outcome, Plan, Try, Wait, fits, next_step, targets_left
from gateway.errors import GatewayError, StreamBroken, UpstreamError, UpstreamFailed, UpstreamRefused
from gateway.state import NOBODY, State, Ticket
from gateway.table import Route, Step, StreamPolicy
from gateway.types import (
    Adapter,
    AdapterName,
    Adapters,
    Attempt,
    Call,
    CallReport,
    Chunk,
    Chunks,
    ChunkStream,
    Json,
    Kind,
    Operation,
    Push,
    Reply,
    Target,
)
from gateway.usage import usage_wanted, with_usage_last

log = logging.getLogger(__name__)

CLOSE_S: Final = 1.0
"""How long an upstream's stream may take to close."""

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


@dataclass(slots=True)
class Request:
    """One request, to be tried on targets. Nothing but pre hooks changes it."""

    operation: Operation
    model: str
    """The name asked for."""
    route: Route
    params: Mapping[str, Json]
    headers: Mapping[str, str]
    started_s: float
    """When it arrived, on the event loop's clock."""
    report: CallReport


class HoldExceeded(GatewayError):
    """A stream that is held back grew beyond the alias' `stream.max_bytes`."""

    status = 502
    code = "hold_exceeded"


class Engine:
    """Tries a route's targets until one answers. What outlives a call is in `state`."""

    def __init__(self, *, adapters: Adapters, state: State, jitter: Callable[[], float] = random.random) -> None:
        """`jitter` draws a number from 0 to 1 for each failed attempt: it spreads the retries."""
        self._adapters = adapters
        self._state = state
        self._jitter = jitter
        self._prepared: set[AdapterName] = set()

    def complete(self, request: Request) -> Coroutine[None, None, Reply]:
        """Return the first plain answer. Raises GatewayError when there is none."""
        return self._run(request, _complete)

    async def open_stream(self, request: Request) -> ChunkStream:
        """Return the first stream that commits. Raises GatewayError when none does.

        What is returned raises StreamBroken when the stream breaks afterwards, and ends only when it is whole.
        """
        stream = await self._run(request, _stream)
        request.report.first_content_s = asyncio.get_running_loop().time() - request.started_s
        return stream

    async def _run(self, request: Request, attempt: _Attempt[_T]) -> _T:
        """Obey `next_step` until an attempt succeeds. A successful `attempt` sees to its ticket itself."""
        loop = asyncio.get_running_loop()
        state, report, route = self._state, request.report, request.route
        steps = route.steps
        deadline_s = request.started_s + route.deadline_s
        plan: Plan | None = None
        outcomes: list[Outcome] = []
        errors: list[UpstreamError] = []
        while True:
            now_s = loop.time()
            resting = state.resting([step.target for step in steps], now_s=now_s) if state.at_rest else NOBODY
            if plan is None and not resting and now_s < deadline_s:
                decision = FIRST  # as `next_step` would say
            else:
                plan = plan or Plan(steps, deadline_s, route.max_attempts)
                following = next_step(plan, outcomes, now_s=now_s, resting=resting)
                if isinstance(following, Wait):
                    await asyncio.sleep(following.until_s - now_s)
                    continue
                if isinstance(following, GiveUp):
                    error = failure(following, outcomes, errors, request)
                    if isinstance(error, UpstreamRefused):
                        report.target = steps[outcomes[-1].step].target
                    raise error from (errors[-1] if errors else None)
                decision = following
                if resting and not decision.last_resort:
                    for passed in range(outcomes[-1].step + 1 if outcomes else 0, decision.step):
                        if passed in resting:
                            _note(report, steps[passed].target, "cooldown", None, 0.0)
            step = steps[decision.step]
            target = step.target
            name = target.endpoint.adapter
            adapter = self._adapters[name]
            ticket = state.begin(target, now_s=now_s, retry=decision.retry)
            report.calling = target
            try:
                if name not in self._prepared:
                    await adapter.prepare()
                    self._prepared.add(name)
                    now_s = loop.time()
                result = await attempt(request, adapter, step, ticket, loop, now_s, deadline_s)
            except UpstreamError as error:
                _note(report, target, error.kind, error.status, loop.time() - now_s)
                plan = plan or Plan(steps, deadline_s, route.max_attempts)
                outcomes.append(self.failed(plan, outcomes, decision, ticket, error, now_s=loop.time()))
                errors.append(error)
                ticket.done()
            except HoldExceeded as error:
                _note(report, target, Kind.BAD_RESPONSE, 200, loop.time() - now_s)
                error.attempts = tuple(report.attempts)
                ticket.done()
                raise
            except BaseException:
                ticket.done()
                raise
            else:
                _note(report, target, None, 200, loop.time() - now_s)
                report.target = target
                report.calling = None
                return result
            report.calling = None

    def failed(
        self,
        plan: Plan,
        outcomes: Sequence[Outcome],
        decision: Try,
        ticket: Ticket,
        error: UpstreamError,
        *,
        now_s: float,
    ) -> Outcome:
        """Record a failed attempt with its target's health and return it as an outcome."""
        outcome = Outcome(
            step=decision.step,
            kind=error.kind,
            ended_s=now_s,
            retry_after_s=error.retry_after_s,
            jitter=self._jitter(),
            stale_connection=error.reused_connection,
            last_resort=decision.last_resort,
        )
        too_long = not fits(plan, outcome, targets_left=targets_left(plan, [*outcomes, outcome]))
        # A target that was stopped by the request's own deadline may have been within its limits.
        out_of_time = error.kind is Kind.TIMEOUT and now_s >= plan.deadline_s
        opened = ticket.failed(
            error.kind,
            now_s=now_s,
            rest_s=error.retry_after_s if too_long else None,
            counts=error.counts and not out_of_time,
        )
        if opened:
            return replace(outcome, may_retry=False)
        then = next_step(plan, [*outcomes, outcome], now_s=now_s, resting={})
        retries = isinstance(then, Wait) or (isinstance(then, Try) and then.retry)
        if retries and not ticket.take_retry(now_s=now_s):
            return replace(outcome, may_retry=False)
        return outcome


class _Attempt(Protocol[_T_co]):
    """One attempt, begun at `now_s`. When it succeeds, it sees to its ticket itself."""

    async def __call__(
        self,
        request: Request,
        adapter: Adapter,
        step: Step,
        ticket: Ticket,
        loop: asyncio.AbstractEventLoop,
        now_s: float,
        deadline_s: float,
    ) -> _T_co: ...


async def _complete(
    request: Request,
    adapter: Adapter,
    step: Step,
    ticket: Ticket,
    loop: asyncio.AbstractEventLoop,
    now_s: float,
    deadline_s: float,
) -> Reply:
    call = _call(request, step)
    limit_s = min(now_s + call.limits.total_s, deadline_s)
    limit = until(limit_s, loop)
    try:
        with limit:
            reply = await adapter.complete(call, deadline=limit_s)
    except TimeoutError as error:
        if not limit.expired:
            raise
        raise UpstreamError(Kind.TIMEOUT) from error
    judge_reply(request.operation, reply.data)
    request.report.tokens = tokens_of(reply.data)
    ticket.answered()
    ticket.done()
    return reply


async def _stream(
    request: Request,
    adapter: Adapter,
    step: Step,
    ticket: Ticket,
    loop: asyncio.AbstractEventLoop,
    now_s: float,
    deadline_s: float,
) -> ChunkStream:
    limits = step.limits
    end_s = None if limits.stream_total_s is None else now_s + limits.stream_total_s
    commit_s = deadline_s if end_s is None else min(deadline_s, end_s)
    first_s = min(commit_s, now_s + limits.first_token_s)
    policy = request.route.stream
    stream: _CommittedStream | None = None
    limit = until(first_s, loop)
    try:
        try:
            with limit:
                opened = await adapter.stream(_call(request, step), deadline=first_s)
                if usage_wanted(request.params, step.params):
                    opened = with_usage_last(opened)
                stream = _CommittedStream(opened, step.target, request.report, ticket, loop, limits.idle_s, end_s)
                is_held = await stream.hold_until_content(policy)
        except TimeoutError as error:
            if not limit.expired:
                raise
            raise UpstreamError(Kind.TIMEOUT) from error
        if is_held:
            await stream.hold_all(policy, commit_s=commit_s)
    except BaseException:
        if stream is not None:
            await _close(opened.chunks, step.target)
        raise
    ticket.answered()
    return ChunkStream(stream, opened.headers, stream.take, stream.ended, stream.flow)


class _CommittedStream:
    """A stream on its way to the client: what was held back until commit first, then the rest as it comes."""

    def __init__(
        self,
        opened: ChunkStream,
        target: Target,
        report: CallReport,
        ticket: Ticket,
        loop: asyncio.AbstractEventLoop,
        idle_s: float,
        end_s: float | None,
    ) -> None:
        """`idle_s` is how long nothing may come, `end_s` a point on the loop's clock, None where there is none."""
        self._loop = loop
        self._source = opened.chunks
        self._take_from_source = opened.take
        self._source_ended = opened.ended
        self._flow_from_source = opened.flow
        self._target = target
        self._report = report
        self._ticket = ticket
        self._idle_s = idle_s
        self._idle_left_s = idle_s
        self._end_s = math.inf if end_s is None else end_s
        self._judge = StreamJudge()
        self._held: deque[Chunk] = deque()
        self._held_bytes = 0
        self._error: UpstreamError | None = None
        self._ended = False
        self._closed = False

    async def hold_until_content(self, policy: StreamPolicy) -> bool:
        """Take in events until there is content; return whether more is to be held back.

        Raises UpstreamError, as long as the stream can fall over.
        """
        judge = self._judge
        while not judge.has_content:
            chunk = await self._pull()
            if chunk is None:
                return False
            self._hold(chunk, policy)
            if policy.hold == "first_token" and judge.is_whole:
                return False
        return policy.hold != "first_token"

    async def hold_all(self, policy: StreamPolicy, *, commit_s: float) -> None:
        """Take in the events after the first content, to the end of the stream. Raises as above."""
        while (chunk := await self._pull_within(min(self._idle_limit_s(), commit_s))) is not None:
            self._hold(chunk, policy)

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> Chunk:
        if self._held:
            return self._held.popleft()
        try:
            chunk = None if self._ended else await self._pull_within(self._idle_limit_s())
        except UpstreamError as error:
            raise self._broken(error) from error
        if chunk is None:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    def take(self) -> list[Chunk]:
        """Return what is there already, judged; a break among it is told by the next that is waited for."""
        chunks = list(self._held)
        self._held.clear()
        if not self._ended and self._error is None:
            chunks += self._sound(self._take_from_source())
            if self._error is None and self._judge.is_whole and self._source_ended():
                self._end()
                self._ticket.done()
        return chunks

    def ended(self) -> bool:
        """Tell whether all of a whole stream was taken."""
        return self._closed and not self._held

    async def flow(self, push: Push) -> None:
        """Hand on what comes, judged. Raises StreamBroken when nothing came for too long."""
        if self._held or self._ended or self._error is not None:
            return
        loop = self._loop
        active_s = loop.time()
        limit = until(self._idle_limit_s(), loop)

        def judge(chunks: list[Chunk]) -> bool:
            nonlocal active_s
            sound = self._sound(chunks)
            if any(chunk.data is not None for chunk in sound):
                active_s = loop.time()
                limit.extend(self._idle_limit_s())
            return (not sound or push(sound)) and self._error is None

        try:
            await _within(limit, self._flow_from_source(judge))
        except UpstreamError as error:
            raise self._broken(error) from error
        self._idle_left_s -= loop.time() - active_s

    async def aclose(self) -> None:
        """Close the upstream. The first call counts."""
        if self._closed:
            return
        self._end()
        try:
            await _close(self._source, self._target)
        finally:
            self._ticket.done()

    def _end(self) -> None:
        self._closed = self._ended = True
        self._report.tokens = counts_of(self._judge.usage) if self._judge.usage else None

    def _sound(self, chunks: list[Chunk]) -> list[Chunk]:
        """Judge `chunks`; return them up to a break, which is kept to be told."""
        for position, chunk in enumerate(chunks):
            if chunk.data is not None:
                try:
                    self._judge.see(chunk.data)
                except UpstreamError as error:
                    self._error = error
                    return chunks[:position]
                self._idle_left_s = self._idle_s
        return chunks

    def _hold(self, chunk: Chunk, policy: StreamPolicy) -> None:
        """Hold an event back. Raises HoldExceeded."""
        self._held.append(chunk)
        self._held_bytes += len(chunk.raw) if chunk.raw is not None else len(str(chunk.data))
        if self._held_bytes > policy.max_bytes:
            raise HoldExceeded(f"the stream was held back and grew beyond stream.max_bytes ({policy.max_bytes})")

    def _pull_within(self, limit_s: float) -> Coroutine[None, None, Chunk | None]:
        return _within(until(limit_s, self._loop), self._pull())

    async def _pull(self) -> Chunk | None:
        """Return the next event, judged; None at the end of a whole stream."""
        if self._error is not None:
            raise self._error
        asked_s = self._loop.time()
        try:
            chunk = await anext(self._source)
        except StopAsyncIteration:
            if not self._judge.is_whole:
                raise UpstreamError(Kind.BAD_RESPONSE, status=200) from None
            self._ended = True
            return None
        if chunk.data is None:
            self._idle_left_s -= self._loop.time() - asked_s
        else:
            self._idle_left_s = self._idle_s
            self._judge.see(chunk.data)
        return chunk

    def _idle_limit_s(self) -> float:
        return min(self._loop.time() + self._idle_left_s, self._end_s)

    def _broken(self, error: UpstreamError) -> StreamBroken:
        self._ticket.failed(error.kind, now_s=self._loop.time())
        attempts = self._report.attempts
        attempts[-1] = replace(attempts[-1], kind=error.kind)
        return StreamBroken(f"the stream of {attempts[-1].target} broke off: {error.kind}", attempts=attempts)


async def _within(limit: Limit, awaitable: Awaitable[_T]) -> _T:
    """Await while `limit` lasts; passing it is an UpstreamError of kind `timeout`."""
    try:
        with limit:
            return await awaitable
    except TimeoutError as error:
        if not limit.expired:
            raise
        raise UpstreamError(Kind.TIMEOUT) from error


async def _close(chunks: Chunks, target: Target) -> None:
    """Close a stream. An upstream that will not close holds nothing up."""
    try:
        with until(asyncio.get_running_loop().time() + CLOSE_S):
            await chunks.aclose()
    except TimeoutError:
        log.warning("a stream's upstream would not close", extra={"target": target.name})


def _call(request: Request, step: Step) -> Call:
    return Call(request.operation, step.target, request.params, step.limits, step.params, request.headers)


def _note(
    report: CallReport, target: Target, kind: Kind | Literal["cooldown"] | None, status: int | None, elapsed_s: float
) -> None:
    report.attempts.append(Attempt(target.name, target.label, kind, status, elapsed_s * 1000))
    if kind != "cooldown":
        report.calls += 1


def failure(
    decision: GiveUp, outcomes: Sequence[Outcome], errors: Sequence[UpstreamError], request: Request
) -> GatewayError:
    """Return what the client gets when nothing answered (DESIGN section 4, last paragraph)."""
    attempts = request.report.attempts
    if errors:
        last = errors[-1]
        final = decision.reason == "stopped" or (
            decision.reason == "exhausted" and last.kind in {Kind.CONTEXT_WINDOW, Kind.NOT_FOUND}
        )
        status = last.status if last.status and last.status >= 400 else _STATUS_OF_KIND.get(last.kind)
        if final and status and last.kind not in {Kind.AUTH, Kind.BILLING}:
            return UpstreamRefused(
                status=status, kind=last.kind, body=last.body, attempts=attempts, headers=last.headers
            )
    kinds = {error.kind for error in errors}
    retry_after_s = None
    if kinds == {Kind.RATE_LIMIT}:
        status = 429
        retry_after_s = min((e.retry_after_s for e in errors if e.retry_after_s is not None), default=None)
    elif decision.reason == "deadline":
        status = 504
    elif all(outcome.kind is Kind.OVERLOADED or outcome.last_resort for outcome in outcomes):
        status = 503
    else:
        status = 502
    tried = ", ".join(f"{attempt.target} {attempt.kind}" for attempt in attempts) or "no attempt was made"
    passed = " before the deadline" if decision.reason == "deadline" else ""
    message = f"no target of {request.model!r} answered{passed}: {tried}"
    return UpstreamFailed(message, status=status, attempts=attempts, retry_after_s=retry_after_s)


_STATUS_OF_KIND: Final[Mapping[Kind, int]] = {
    Kind.BAD_REQUEST: 400,
    Kind.CONTENT_FILTER: 400,
    Kind.CONTEXT_WINDOW: 400,
    Kind.NOT_FOUND: 404,
}
"""The status of a refusal that came inside a response with a good one."""
