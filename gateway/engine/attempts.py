"""Runs a call with retries, fallbacks, limits, deadline and commit, for every adapter. `next_step` decides."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from gateway.adapters.base import Adapter, Adapters, Call, NotSupported, Operation, PathMissing, Reply, Translation
from gateway.adapters.events import Stream
from gateway.concurrency.deadlines import until
from gateway.engine.arrange import Arranged
from gateway.engine.bound import Bound
from gateway.engine.facts import RequestFacts
from gateway.engine.final_error import failure
from gateway.engine.health import NOBODY, Health, Rest, Ticket
from gateway.engine.keys import KeyOrder, KeyTurn
from gateway.engine.missing_paths import is_translatable
from gateway.engine.nested import NestedHooks
from gateway.engine.next_step import FIRST, GiveUp, Outcome, Plan, Try, Wait, next_step
from gateway.engine.stream import CommittedStream, HoldExceeded, close, judge_of, passed_limit, timed_out
from gateway.errors import GatewayError, UpstreamRefused
from gateway.operations import params_for
from gateway.operations.base import UsageLast
from gateway.policy.echoes import Echoes
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.table import Route, Step, other_models
from gateway.policy.target import AdapterName, Target
from gateway.telemetry.report import Attempt, CallReport, PassedOver
from gateway.wire.json import Json
from gateway.wire.multipart import Form

_T = TypeVar("_T")

NONE: Final[frozenset[int]] = frozenset()

MAX_HELD_S: Final = 600.0
"""Seconds that a held stream may take in all, failover included, where no `total` is written."""


@dataclass(slots=True)
class RoutedRequest:
    """A request with the route of its alias. Only pre hooks change it."""

    operation: Operation
    model: str
    """The name that the client asked for."""
    route: Route
    params: Mapping[str, Json]
    headers: Mapping[str, str]
    started_s: float
    """Its arrival on the event loop's clock."""
    report: CallReport
    query: str = ""
    """The query that goes upstream."""
    form: Form | None = None
    """The multipart form whose texts are `params`."""
    nested: NestedHooks | None = None
    """Set if a step of the route has hooks of nested aliases that this request must pass."""
    client: str | None = None
    """The name of the client whose key was sent."""
    bound: Bound | None = None
    """The only step that may be called, if the request is bound to one."""
    facts: RequestFacts | None = None
    """What the route's pools and conditions ask; None for a route without any."""
    arranged: Arranged | None = None
    """The steps in the order of the route's pools; None if that is the file's."""
    key_order: KeyOrder | None = None
    """In which order the request tries the keys of a target that has several; None: all in turn."""
    answered: Step | None = None
    """The step that answered, if `nested` is set."""
    carrier: AdapterName = "relay"
    """What carries the operation in the current attempt."""
    end_s: float = math.inf
    """The end of a held stream on the event loop's clock, failover included."""
    held_s: float = 0.0
    """Seconds in which broken attempts of a held stream brought content: the deadline stood still."""

    @property
    def deadline_s(self) -> float:
        """The last moment for content on the event loop's clock."""
        return min(self.started_s + self.route.deadline_s + self.held_s, self.end_s)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in the order in which they are tried."""
        return self.route.steps if self.arranged is None else self.arranged.steps


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

    def complete(self, request: RoutedRequest) -> Coroutine[None, None, Reply]:
        """Return the first plain answer. Raises GatewayError when there is none."""
        return self._run(request, _complete, request.started_s + request.route.deadline_s)

    async def open_stream(self, request: RoutedRequest) -> Stream:
        """Return the first stream that commits. Raises GatewayError when none does.

        The stream ends only when it is whole, and raises StreamBroken when it breaks.
        """
        if request.route.stream.hold == "full":
            request.end_s = request.started_s + held_limit_s(request.route)
        stream = await self._run(request, _stream, request.deadline_s)
        request.report.first_content_s = asyncio.get_running_loop().time() - request.started_s
        return stream

    async def _run(self, request: RoutedRequest, attempt: _Attempt[_T], deadline_s: float) -> _T:
        """Follow `next_step` until an attempt succeeds. A successful `attempt` closes its ticket itself."""
        loop = asyncio.get_running_loop()
        health, report, route = self._health, request.report, request.route
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
        if request.bound is not None:
            unsupported |= request.bound.others(len(steps))
        plan: Plan | None = None
        outcomes: list[Outcome] = []
        errors: list[UpstreamError] = []
        failed: Ticket | None = None
        lacks: list[tuple[str, NotSupported]] = []
        keys: KeyTurn | None = None
        after = 0
        while True:
            now_s = loop.time()
            resting = health.resting(steps, now_s=now_s) if health.at_rest else NOBODY
            if keys is not None:
                pass  # the same target, with another key
            elif plan is None and not resting and not unsupported and now_s < deadline_s:
                decision = FIRST  # as `next_step` would say
            else:
                plan = plan or Plan(steps, deadline_s, route.max_attempts, unsupported)
                following = next_step(plan, outcomes, now_s=now_s, resting=resting)
                if self._observer is not None:
                    self._observer(following, resting)
                if isinstance(following, Wait):
                    await asyncio.sleep(following.until_s - now_s)
                    continue
                if failed is not None and not (isinstance(following, Try) and following.reason == "retry"):
                    failed.left(now_s)
                    failed = None
                if isinstance(following, GiveUp):
                    if following.reason in {"exhausted", "resting"}:
                        left = resting if following.reason == "resting" else NOBODY
                        _note_passed(request, range(after, len(steps)), unsupported, left)
                    error = failure(following, outcomes, errors, request, lacks, now_s=now_s)
                    if isinstance(error, UpstreamRefused):
                        report.target = steps[outcomes[-1].step].target
                    try:
                        raise error from (errors[-1] if errors else lacks[-1][1] if lacks else None)
                    finally:
                        del error  # its traceback has this frame: a cycle would keep the request's body
                decision = following
                if resting or unsupported:
                    last_resort = decision.reason == "last_resort"
                    passed = range(after, decision.step)
                    _note_passed(request, passed, unsupported, NOBODY if last_resort else resting)
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
            try:
                if name not in self._prepared:
                    carrier = target.endpoint.adapters["chat"] if name == "translated" else name
                    if carrier not in self._prepared:
                        await self._adapters[carrier].prepare()
                        self._prepared.add(carrier)
                        now_s = loop.time()
                if request.nested is not None and await request.nested.run(step, deadline_s=deadline_s):
                    now_s = loop.time()
                result = await attempt(request, adapter, step, ticket, loop, now_s, deadline_s)
            except UpstreamError as error:
                _mask(error, target.endpoint.echoes)
                _note(report, target, error.kind, error.status, loop.time() - now_s)
                if keys is not None and keys.goes_on(error, ticket, report, now_s=loop.time(), deadline_s=deadline_s):
                    continue
                if arranged is not None and arranged.pace is not None and error.kind is Kind.TIMEOUT:
                    health.note_pace(steps[decision.step].target, arranged.pace, loop.time() - now_s, now_s=loop.time())
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
            except NotSupported as error:
                status, elapsed_s, again = None, 0.0, False
                lacks.append((target.name, error.with_traceback(None)))
                if isinstance(error, PathMissing):
                    status, elapsed_s = error.status, loop.time() - now_s
                    if name == "relay":
                        missing.note(target.endpoint, request.operation, now_s=loop.time())
                        again = is_translatable(target.endpoint, request.operation)
                report.attempts.append(Attempt(target.name, target.label, "unsupported", status, elapsed_s * 1000))
                if again:
                    after = decision.step  # it is the next one again, translated
                else:
                    unsupported |= {decision.step}
                keys = None
                plan = Plan(steps, deadline_s, route.max_attempts, unsupported)
                ticket.done()
            except HoldExceeded as error:
                _note(report, target, Kind.BAD_RESPONSE, 200, loop.time() - now_s)
                error.attempts = tuple(report.attempts)
                ticket.done()
                raise
            except GatewayError as error:  # a nested alias' hook ends the request
                error.attempts = tuple(report.attempts)
                report.calling = None
                ticket.done()
                raise
            except BaseException:
                ticket.done()
                raise
            else:
                if request.nested is not None:
                    request.answered = step
                _note(report, target, None, 200, loop.time() - now_s)
                if keys is not None:
                    keys.note(report)
                report.target = target
                report.calling = None
                if arranged is not None and arranged.pace is not None:
                    health.note_pace(steps[decision.step].target, arranged.pace, loop.time() - now_s, now_s=loop.time())
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
        outcome = Outcome(
            step=decision.step,
            kind=error.kind,
            ended_s=now_s,
            retry_after_s=error.retry_after_s,
            jitter=self._jitter(),
            stale_connection=error.reused_connection,
            last_resort=decision.reason == "last_resort",
            asked_once=bool(error.asked_once),
        )
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


async def _complete(
    request: RoutedRequest,
    adapter: Adapter,
    step: Step,
    ticket: Ticket,
    loop: asyncio.AbstractEventLoop,
    now_s: float,
    deadline_s: float,
) -> Reply:
    call = _call(request, step)
    end_s = min(now_s + call.limits.total_s, deadline_s)
    with until(end_s, loop, timed_out["total_s"]):
        reply = await adapter.complete(call)
    if reply.body is not None:
        return await _begun(reply.body, call, request, step, ticket, loop, now_s, end_s)
    operation = request.operation
    operation.check_reply(reply.data)
    operation.check_count(reply.data, call.params)
    echoes = step.target.endpoint.echoes
    if reply.headers:
        reply.headers = echoes.mask_headers(reply.headers)
    raw = reply.raw
    if echoes.in_answer(raw) if type(raw) is bytes else raw is None and echoes.in_value(reply.data):
        reply = Reply(echoes.mask_object(reply.data), headers=reply.headers)
    request.report.tokens = operation.tokens(reply.data)
    ticket.answered(loop.time())
    ticket.done()
    return reply


async def _begun(
    source: Stream,
    call: Call,
    request: RoutedRequest,
    step: Step,
    ticket: Ticket,
    loop: asyncio.AbstractEventLoop,
    now_s: float,
    end_s: float,
) -> Reply:
    """Return a plain answer that is no JSON, once its first content has come, until `end_s`."""
    policy = request.route.stream
    total_s = step.limits.stream_total_s
    judge = judge_of(source, call)
    stream = CommittedStream(
        source, judge, None, step, request.report, ticket, loop, None if total_s is None else now_s + total_s
    )
    try:
        with until(end_s, loop, timed_out["total_s"]):
            is_held = await stream.hold_until_content(policy)
        if is_held:
            await stream.hold_all(policy, commit_s=end_s)
    except BaseException:
        await close(source, step.target)
        raise
    ticket.answered(loop.time())
    request.report.first_content_s = loop.time() - request.started_s
    return Reply({}, headers=stream.headers, body=stream)


async def _stream(
    request: RoutedRequest,
    adapter: Adapter,
    step: Step,
    ticket: Ticket,
    loop: asyncio.AbstractEventLoop,
    now_s: float,
    deadline_s: float,
) -> Stream:
    limits = step.limits
    end_s = None if limits.stream_total_s is None else now_s + limits.stream_total_s
    commit_s = deadline_s if end_s is None else min(deadline_s, end_s)
    first_s = min(commit_s, now_s + limits.first_token_s)
    policy = request.route.stream
    stream: CommittedStream | None = None
    try:
        with until(first_s, loop, timed_out["first_token_s" if first_s != end_s else "stream_total_s"]):
            call = _call(request, step)
            opened = await adapter.stream(call)
            operation = request.operation
            is_wanted = operation.usage_wanted(call.params, call.overrides.sent)
            translation = _translation(request, step)
            is_told = is_wanted or (translation is not None and translation.tells_usage)
            usage_last = UsageLast(is_told=is_wanted) if is_told else None
            judge = judge_of(opened, call)
            stream = CommittedStream(opened, judge, usage_last, step, request.report, ticket, loop, end_s)
            is_held = await stream.hold_until_content(policy)
        if is_held:
            if end_s is not None and not request.report.calls:
                request.end_s = max(request.end_s, end_s)  # the first attempt has its whole `total`
            content_s = loop.time()
            try:
                await stream.hold_all(policy, commit_s=request.end_s)
            except UpstreamError:
                request.held_s += loop.time() - content_s
                raise
    except BaseException as error:
        if stream is not None:
            if isinstance(error, UpstreamError):
                error.asked_once = operation.asked_once(judge, call.params, call.overrides.sent)
            await close(opened, step.target)
        raise
    ticket.answered(loop.time())
    return stream


def _translation(request: RoutedRequest, step: Step) -> Translation | None:
    """Return how the operation is put into another in this attempt; None if it is asked in its own words."""
    return request.operation.translation_for(step.target.endpoint) if request.carrier == "translated" else None


def held_limit_s(route: Route) -> float:
    """Return the most seconds for a held stream, failover included: the longest `total` of the chain.

    A step without a `total` counts as MAX_HELD_S, or as the deadline if that is longer.
    """
    built_in_s = max(MAX_HELD_S, route.deadline_s)
    return max(step.limits.stream_total_s or built_in_s for step in route.steps)


def _call(request: RoutedRequest, step: Step) -> Call:
    operation = request.operation
    overrides = step.params
    if overrides.sent:
        translation = _translation(request, step)
        if translation is None or translation.params_are_own:
            overrides = params_for(operation, overrides)
        else:
            overrides = params_for(translation.operation, overrides)
    params = request.params if request.nested is None else request.nested.params(step)
    return Call(operation, step.target, params, step.limits, overrides, request.headers, request.query, request.form)


def _mask(error: UpstreamError, echoes: Echoes) -> None:
    """Mask the endpoint's secrets in what a failure tells the client and the log. It was classified before."""
    if error.code is not None:
        error.code = echoes.mask(error.code)
    if error.body is not None:
        error.body = echoes.mask_body(error.body)
    if error.headers:
        error.headers = echoes.mask_headers(error.headers)


def _note(report: CallReport, target: Target, kind: Kind | None, status: int | None, elapsed_s: float) -> None:
    report.attempts.append(Attempt(target.name, target.label, kind, status, elapsed_s * 1000))
    report.calls += 1


def _note_passed(request: RoutedRequest, passed: range, unsupported: Collection[int], resting: Collection[int]) -> None:
    """Add the targets that were passed over between two attempts to the report."""
    for position in passed:
        target = request.steps[position].target
        kind: PassedOver | None = "cooldown" if position in resting else None
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
