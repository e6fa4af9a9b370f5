"""Makes one attempt: calls a target, within its limits, until there is an answer or a stream that commits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from gateway.adapters.base import Adapter, Call, Reply, Translation
from gateway.adapters.events import Stream
from gateway.concurrency.deadlines import until
from gateway.engine.health import Ticket
from gateway.engine.limits.uses import TextCount
from gateway.engine.request import RoutedRequest
from gateway.engine.stream import CommittedStream, HoldExceeded, close, judge_of, timed_out
from gateway.operations import params_for
from gateway.operations.base import STREAM_OPTIONS, UsageLast
from gateway.operations.traced import answered_attributes, asked_attributes
from gateway.policy.failures import UpstreamError
from gateway.policy.table import Route, Step
from gateway.telemetry.traces import Trace
from gateway.wire.json import Json

MAX_HELD_S: Final = 600.0
"""Seconds that a held stream may take in all, failover included, where no `total` is written."""


async def complete(
    request: RoutedRequest,
    adapter: Adapter,
    step: Step,
    ticket: Ticket,
    loop: asyncio.AbstractEventLoop,
    now_s: float,
    deadline_s: float,
) -> Reply:
    """Return the plain answer. Raises UpstreamError, NotSupported, or HoldExceeded.

    The attempt begins at `now_s` and ends by `deadline_s`, on the loop's clock. An answer closes the ticket.
    """
    call = _call(request, step)
    end_s = now_s + call.limits.total_s
    if end_s > deadline_s:
        end_s = deadline_s
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
    report = request.report
    report.tokens = operation.tokens(reply.data)
    if report.trace is not None:
        _trace_answer(report.trace, reply.data)
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


async def stream(
    request: RoutedRequest,
    adapter: Adapter,
    step: Step,
    ticket: Ticket,
    loop: asyncio.AbstractEventLoop,
    now_s: float,
    deadline_s: float,
) -> Stream:
    """Return the stream once it commits, likewise. It closes the ticket at its end."""
    limits = step.limits
    end_s = None if limits.stream_total_s is None else now_s + limits.stream_total_s
    commit_s = deadline_s if end_s is None else min(deadline_s, end_s)
    first_s = min(commit_s, now_s + limits.first_token_s)
    policy = request.route.stream
    committed: CommittedStream | None = None
    is_asked = False
    try:
        with until(first_s, loop, timed_out["first_token_s" if first_s != end_s else "stream_total_s"]):
            call = _call(request, step)
            operation = request.operation
            is_wanted = operation.usage_wanted(call.params, call.overrides.sent)
            if not is_wanted and (request.admission is not None or request.room is not None) and request.counts_tokens:
                is_asked = _ask_for_usage(call)
            opened = await adapter.stream(call)
            translation = _translation(request, step)
            is_told = is_wanted or is_asked or (translation is not None and translation.tells_usage)
            usage_last = UsageLast(is_told=is_wanted) if is_told else None
            judge = judge_of(opened, call)
            committed = CommittedStream(opened, judge, usage_last, step, request.report, ticket, loop, end_s)
            is_held = await committed.hold_until_content(policy)
        if is_held:
            if end_s is not None and not request.report.calls:
                request.end_s = max(request.end_s, end_s)  # the first attempt has its whole `total`
            if request.second is not None:
                request.second.has_content()
            content_s = loop.time()
            try:
                await committed.hold_all(policy, commit_s=request.end_s)
            except UpstreamError:
                request.held_s += loop.time() - content_s
                raise
    except BaseException as error:
        if committed is not None:
            if isinstance(error, asyncio.CancelledError):
                request.report.closed_tokens = judge.tokens
                if request.room is not None:
                    request.room.closed_tokens = judge.tokens
                request.report.closed_bytes = _text_bytes(committed, request)
            elif isinstance(error, HoldExceeded):
                request.report.closed_bytes = _text_bytes(committed, request)
            elif isinstance(error, UpstreamError):
                if judge.has_content:
                    error.content_bytes = _text_bytes(committed, request)
                error.asked_once = operation.asked_once(judge, call.params, call.overrides.sent)
            await close(opened, step.target)
        raise
    if request.report.trace is not None:
        _trace_answer(request.report.trace, committed.first_data)
    ticket.answered(loop.time())
    return committed


def _trace_answer(trace: Trace, data: Mapping[str, Json]) -> None:
    """Keep what an answer, or the first event of one, tells for its span, if its trace is sampled."""
    if trace.call is not None:
        trace.call.answered = answered_attributes(data)


def _translation(request: RoutedRequest, step: Step) -> Translation | None:
    """Return how the operation is put into another in this attempt; None if it is asked in its own words."""
    return request.operation.translation_for(step.target.endpoint) if request.carrier == "translated" else None


def _ask_for_usage(call: Call) -> bool:
    """Have a stream end with its token counts, which its client did not ask for; return whether it does.

    What the file's `params` say of `stream_options` stays.
    """
    if not call.operation.usage_on_demand or STREAM_OPTIONS in call.overrides.sent:
        return False
    options = call.params.get(STREAM_OPTIONS)
    if isinstance(options, dict) and options.get("include_usage"):
        return False  # in each event: what the client asked for stays as it is
    call.params = {**call.params, STREAM_OPTIONS: {**(options or {}), "include_usage": True}}
    return True


def _text_bytes(stream: CommittedStream, request: RoutedRequest) -> int:
    """Return the bytes of text that were held back, if limits need them."""
    if not request.counts_tokens:
        return 0
    text = TextCount(request.operation)
    text.add(stream.held)
    return text.bytes


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
    headers, trace = request.headers, request.report.trace
    if trace is not None:
        headers = trace.call_headers(step.target, headers)
        if trace.call is not None:
            trace.call.asked = asked_attributes({**params, **overrides.sent})
    return Call(
        operation, step.target, params, step.limits, overrides, headers, request.query, request.form, request.loop
    )
