"""A stream on its way to the client: holds it back until commit, checks that it is whole, and applies its limits."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.adapters.base import Call
from gateway.adapters.events import Event, Stream, StreamJudge
from gateway.concurrency.deadlines import until
from gateway.engine.health import Ticket
from gateway.engine.window import PassedLimit
from gateway.errors import GatewayError, StreamBroken
from gateway.operations.base import UsageLast
from gateway.operations.typed_events import BytesJudge
from gateway.policy.failures import Kind, LimitName, UpstreamError
from gateway.policy.table import Step, StreamPolicy
from gateway.policy.target import Limits, Target
from gateway.telemetry.report import CallReport
from gateway.wire.json import JsonObject

log = logging.getLogger(__name__)

CLOSE_S: Final = 1.0
"""Seconds that an upstream's stream may take to close."""


class HoldExceeded(GatewayError):
    """A stream that is held back exceeded the alias' `stream.max_bytes`."""

    status = 502
    code = "hold_exceeded"


class CommittedStream:
    """A stream for the client: first the events that were held back until commit, then the rest as it comes."""

    def __init__(
        self,
        source: Stream,
        judge: StreamJudge,
        usage_last: UsageLast | None,
        step: Step,
        report: CallReport,
        ticket: Ticket,
        loop: asyncio.AbstractEventLoop,
        end_s: float | None,
    ) -> None:
        """`end_s`: when it must have ended, on the loop's clock; None for no limit."""
        self._echoes = step.target.endpoint.echoes
        self.headers = self._echoes.mask_headers(source.headers) if source.headers else source.headers
        self._loop = loop
        self._source = source
        self._judge = judge
        self._hears_runs = judge.hears_runs
        self._usage_last = usage_last
        self._step = step
        self.report = report
        """That of the request."""
        self._ticket = ticket
        self._idle_s = self._idle_left_s = step.limits.idle_s
        self._end_s = math.inf if end_s is None else end_s
        self._limit = until(self._end_s, loop, timed_out["idle_s"])
        self._held: list[Event] = []
        self._held_bytes = 0
        self._error: UpstreamError | None = None
        """The failure to raise after the events of the last `read`."""
        self._ended = False
        self._closed = False

    @property
    def first_data(self) -> JsonObject:
        """The first event that has data, of those that are held back; empty without one."""
        return next((event.data for event in self._held if event.data is not None), {})

    @property
    def held(self) -> list[Event]:
        """The events that are held back."""
        return self._held

    async def hold_until_content(self, policy: StreamPolicy) -> bool:
        """Read events until there is content; return whether more must be held back.

        Raises UpstreamError: another target can still be tried.
        """
        judge = self._judge
        while not judge.has_content:
            self._hold(await self._next(), policy)
            if self._ended or (policy.hold == "first_token" and judge.is_whole):
                return False
        return policy.hold != "first_token"

    async def hold_all(self, policy: StreamPolicy, *, commit_s: float) -> None:
        """Read the events after the first content, to the end of the stream, until `commit_s`. Raises as above."""
        while not self._ended:
            try:
                with self._limit.again(min(self._idle_limit_s(self._loop.time()), commit_s)):
                    self._hold(await self._next(), policy)
            except UpstreamError as error:
                raise self._named(error) from error.__cause__

    async def read(self) -> list[Event]:
        """Return the held events, then new ones; an empty list once the stream is whole. Raises StreamBroken."""
        if self._held:
            events, self._held = self._held, []
            return events
        limit = self._limit
        try:
            while not self._ended:
                if self._error is not None:
                    raise self._error
                asked_s = self._loop.time()
                limit_s = asked_s + self._idle_left_s
                limit.resume(limit_s if limit_s < self._end_s else self._end_s)
                try:
                    events = await self._source.read()
                except BaseException as error:
                    self._leave(error, asked_s)
                    raise
                limit.deadline_s = math.inf
                if len(events) == 1 and events[0].is_run:
                    self._idle_left_s = self._idle_s
                    if self._hears_runs:
                        self._judge.skip(events[0].raw or b"")
                    return events
                if events := self._judged(events, asked_s):
                    return events
        except UpstreamError as error:
            raise self._broken(error) from error
        await self.aclose()
        return []

    async def aclose(self) -> None:
        """Close the upstream. Safe to call twice."""
        if self._closed:
            return
        has_ended, self._closed, self._ended = self._ended, True, True
        self._limit.leave()
        self.report.tokens = self._judge.tokens
        self.report.next_number = self._judge.next_number
        try:
            if not has_ended:
                await close(self._source, self._step.target)
        finally:
            self._ticket.done()

    async def _next(self) -> list[Event]:
        if self._error is not None:
            raise self._error
        asked_s = self._loop.time()
        return self._judged(await self._source.read(), asked_s)

    def _judged(self, events: list[Event], asked_s: float) -> list[Event]:
        """Check events, none at the end, read from `asked_s` on; return those to pass on. Raises UpstreamError.

        A failure behind other events is raised at the next call.
        """
        if not events:
            return self._ending()
        active = False
        see, echoes = self._judge.see, self._echoes
        for position, event in enumerate(events):
            try:
                if event.data is not None:
                    see(event.data)
                    active = True
                    if echoes.is_in(event.data, event.raw):
                        name = event.name and echoes.mask(event.name.decode("utf-8", "replace")).encode()
                        events[position] = Event(echoes.mask_object(event.data), name=name)
                elif event.is_run:
                    active = True
                    if self._hears_runs:
                        self._judge.skip(event.raw or b"")
                elif event.is_end:
                    return [*self._passing(events[:position]), *self._ending(), event]
                elif event.raw is not None:
                    active = active or event.name is not None  # a translated ping; a comment has no name
                    event.raw = echoes.mask_lines(event.raw)
            except UpstreamError as error:
                if not position:
                    raise
                self._error = error
                events = events[:position]
                break
        if active:
            self._idle_left_s = self._idle_s
        else:
            self._idle_left_s -= self._loop.time() - asked_s
        return self._passing(events)

    def _passing(self, events: list[Event]) -> list[Event]:
        return events if self._usage_last is None else self._usage_last.passing(events)

    def _ending(self) -> list[Event]:
        """Return the last events once the source has ended. Raises UpstreamError if the stream is not whole."""
        if not self._judge.is_whole:
            raise UpstreamError(Kind.BAD_RESPONSE, status=200)
        self._ended = True
        return [] if self._usage_last is None else self._usage_last.last()

    def _hold(self, events: list[Event], policy: StreamPolicy) -> None:
        """Hold events back. Raises HoldExceeded."""
        self._held += events
        for event in events:
            self._held_bytes += len(event.raw) if event.raw is not None else len(str(event.data))
        if self._held_bytes > policy.max_bytes:
            raise HoldExceeded(f"the stream was held back and grew beyond stream.max_bytes ({policy.max_bytes})")

    def _idle_limit_s(self, asked_s: float) -> float:
        return min(asked_s + self._idle_left_s, self._end_s)

    def _leave(self, error: BaseException, asked_s: float) -> None:
        """End the limit as `Limit.leave` does. Its own error counts against the target only if it was waited for."""
        try:
            self._limit.leave(error)
        except UpstreamError as passed:
            passed.counts = asked_s < self._end_s  # else the client read so slowly
            raise

    def _named(self, error: UpstreamError) -> UpstreamError:
        """Return the failure with the limit that passed: this stream waits for events and for its end at once."""
        if error.limit is not None and self._loop.time() >= self._end_s:
            error.limit = "stream_total_s"
        return error

    def _broken(self, error: UpstreamError) -> StreamBroken:
        """Record the break, once, and return it as the client's error."""
        now_s = self._loop.time()
        attempts = self.report.attempts
        if self._error is not error or attempts[-1].kind is None:
            passed = passed_limit(self._named(error), self._step.limits)
            self._ticket.broke(error.kind, now_s=now_s, passed=passed, counts=error.counts)
            attempts[-1] = replace(attempts[-1], kind=error.kind)
        self._error = error
        self.report.next_number = self._judge.next_number
        return StreamBroken(f"the stream of {attempts[-1].target} broke off: {error.kind}", attempts=attempts)


def judge_of(stream: Stream, call: Call) -> StreamJudge:
    """Return a stream's judge: its content type decides, not what was asked for."""
    if "content-type" in stream.headers:
        return BytesJudge()
    return call.operation.judge_for(call.params, call.overrides.sent)


async def close(stream: Stream, target: Target) -> None:
    """Close a stream, waiting at most CLOSE_S."""
    try:
        with until(asyncio.get_running_loop().time() + CLOSE_S):
            await stream.aclose()
    except TimeoutError:
        log.warning("a stream's upstream would not close", extra={"target": target.name})


timed_out: Final[Mapping[LimitName, Callable[[], UpstreamError]]] = {
    name: partial(UpstreamError, Kind.TIMEOUT, limit=name)
    for name in ("connect_s", "first_token_s", "idle_s", "total_s", "stream_total_s")
}
"""By limit: the failure of an attempt when it has passed."""


def passed_limit(error: UpstreamError, limits: Limits) -> PassedLimit | None:
    """Return the limit that ended an attempt, with its seconds; None if none did."""
    return None if error.limit is None else PassedLimit(error.limit, getattr(limits, error.limit))
