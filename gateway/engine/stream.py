"""A stream on its way to the client: held back until it commits, judged, and cut off in time."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from dataclasses import replace
from typing import Final

from gateway.adapters.base import Chunk, Chunks, ChunkStream, Push
from gateway.concurrency.deadlines import until
from gateway.engine.health import Ticket
from gateway.errors import GatewayError, StreamBroken
from gateway.operations.chat import StreamJudge, counts_of
from gateway.policy.failures import Kind, UpstreamError
from gateway.policy.table import StreamPolicy
from gateway.policy.target import Target
from gateway.telemetry.report import CallReport

log = logging.getLogger(__name__)

CLOSE_S: Final = 1.0
"""How long an upstream's stream may take to close."""


class HoldExceeded(GatewayError):
    """A stream that is held back grew beyond the alias' `stream.max_bytes`."""

    status = 502
    code = "hold_exceeded"


class CommittedStream:
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
        self._limit = until(self._end_s, loop, timed_out)
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
            asked_s = self._loop.time()
            chunk = self._judged(await anext(self._source, None), asked_s)
            if chunk is None:
                return False
            self._hold(chunk, policy)
            if policy.hold == "first_token" and judge.is_whole:
                return False
        return policy.hold != "first_token"

    async def hold_all(self, policy: StreamPolicy, *, commit_s: float) -> None:
        """Take in the events after the first content, to the end of the stream. Raises as above."""
        while True:
            asked_s = self._loop.time()
            with self._limit.again(min(self._idle_limit_s(asked_s), commit_s)):
                chunk = self._judged(await anext(self._source, None), asked_s)
            if chunk is None:
                return
            self._hold(chunk, policy)

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> Chunk:
        if self._held:
            return self._held.popleft()
        chunk = None
        if not self._ended:
            try:
                if self._error is not None:
                    raise self._error
                asked_s = self._loop.time()
                with self._limit.again(self._idle_limit_s(asked_s)):
                    chunk = self._judged(await anext(self._source, None), asked_s)
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
        limit = self._limit.again(self._idle_limit_s(active_s))

        def judge(chunks: list[Chunk]) -> bool:
            nonlocal active_s
            sound = self._sound(chunks)
            if any(chunk.data is not None for chunk in sound):
                active_s = loop.time()
                limit.extend(self._idle_limit_s(active_s))
            return (not sound or push(sound)) and self._error is None

        try:
            with limit:
                await self._flow_from_source(judge)
        except UpstreamError as error:
            raise self._broken(error) from error
        self._idle_left_s -= loop.time() - active_s

    async def aclose(self) -> None:
        """Close the upstream. The first call counts."""
        if self._closed:
            return
        self._end()
        try:
            await close(self._source, self._target)
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

    def _judged(self, chunk: Chunk | None, asked_s: float) -> Chunk | None:
        """Take the next event, None at the end, into account and return it. Raises UpstreamError."""
        if chunk is None:
            if not self._judge.is_whole:
                raise UpstreamError(Kind.BAD_RESPONSE, status=200)
            self._ended = True
        elif chunk.data is None:
            self._idle_left_s -= self._loop.time() - asked_s
        else:
            self._idle_left_s = self._idle_s
            self._judge.see(chunk.data)
        return chunk

    def _idle_limit_s(self, asked_s: float) -> float:
        return min(asked_s + self._idle_left_s, self._end_s)

    def _broken(self, error: UpstreamError) -> StreamBroken:
        self._ticket.failed(error.kind, now_s=self._loop.time())
        attempts = self._report.attempts
        attempts[-1] = replace(attempts[-1], kind=error.kind)
        return StreamBroken(f"the stream of {attempts[-1].target} broke off: {error.kind}", attempts=attempts)


async def close(chunks: Chunks, target: Target) -> None:
    """Close a stream. An upstream that will not close holds nothing up."""
    try:
        with until(asyncio.get_running_loop().time() + CLOSE_S):
            await chunks.aclose()
    except TimeoutError:
        log.warning("a stream's upstream would not close", extra={"target": target.name})


def timed_out() -> UpstreamError:
    """Return the failure of an attempt whose time is up."""
    return UpstreamError(Kind.TIMEOUT)
