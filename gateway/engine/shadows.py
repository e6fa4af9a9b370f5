"""Shadows: send what a committed step got once more, to the alias' shadow, and drop the answer.

It touches nothing that requests see: the shadow has an engine and a health of its own, and starts after commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.adapters.base import Adapters, Operation
from gateway.adapters.events import Stream
from gateway.concurrency.steps import in_turns
from gateway.engine.attempts import Engine
from gateway.engine.health import Health
from gateway.engine.limits.estimate import PriceOf
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.request import RoutedRequest
from gateway.errors import GatewayError
from gateway.operations.hosted import may_be_sent_twice
from gateway.policy.failures import Kind
from gateway.policy.table import Route, Shadow
from gateway.policy.target import Target
from gateway.telemetry.ids import is_in_share
from gateway.telemetry.report import ABANDONED, CLIENT_GONE, Attempt, CallReport
from gateway.wire.json import Json

log = logging.getLogger(__name__)

MAX_IN_FLIGHT: Final = 16
"""Calls of shadows at once in the process; what comes then is dropped."""
MAX_S: Final = 60.0
"""Seconds for one call of a shadow, its whole answer included."""
MAX_CALLS: Final = 2
"""A kept connection that turns out to be closed is replaced once."""


@dataclass(slots=True)
class ShadowCall:
    """One request for a shadow, for log and metrics."""

    report: CallReport
    operation: str
    target: Target
    stream: bool
    started_s: float
    """On the event loop's clock."""
    status: int = CLIENT_GONE
    """As a client would have got it; 499 if it was dropped."""
    kind: str = "dropped"
    """`ok`, a kind of failure, `cooldown`, `limited`, `unsupported`, `error`, or `dropped`."""


class Shadows:
    """Sends requests to shadows and drops the answers. One event loop."""

    def __init__(
        self, *, adapters: Adapters, on_end: Callable[[ShadowCall], None], limits: ProviderLimits | None = None
    ) -> None:
        """`on_end` gets each call when it has ended, and those that were dropped. `limits` are those of providers."""
        self._limits = limits
        self._engine = Engine(adapters=adapters, health=Health())
        self._on_end = on_end
        self._group: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Own the calls until cancelled. Nothing is sent before, or after `drop`."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await asyncio.get_running_loop().create_future()
        finally:
            self._group = None

    def drop(self) -> None:
        """Cancel all calls and send nothing from now on."""
        self._group = None
        for task in tuple(self._running):
            task.cancel()

    def send(self, request: RoutedRequest, shadow: Shadow, *, stream: bool, price_of: PriceOf | None = None) -> None:
        """Send a request that has committed once more, soon, if the share and the rules of shadows say so."""
        report, operation = request.report, request.operation
        if self._group is None or not is_in_share(report.request_id, shadow.share):
            return
        answered = request.answered
        params = request.params if request.nested is None or answered is None else request.nested.params(answered)
        if request.bound is not None or not _may_repeat(operation, params, shadow):
            return
        call = ShadowCall(
            CallReport(report.request_id, report.alias, report.generation, shadow.step.target),
            operation.name,
            shadow.step.target,
            stream,
            asyncio.get_running_loop().time(),
        )
        if report.trace is not None:
            call.report.trace = report.trace.beside(is_shadow=True)
        if len(self._running) >= MAX_IN_FLIGHT:
            self._on_end(call)
            return
        again = RoutedRequest(
            operation,
            request.model,
            Route(alias=report.alias, steps=(shadow.step,), deadline_s=MAX_S, max_attempts=MAX_CALLS),
            params,
            request.headers,
            call.started_s,
            call.report,
            request.query,
        )
        task = self._group.create_task(self._sent(again, call, price_of))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _sent(self, request: RoutedRequest, call: ShadowCall, price_of: PriceOf | None) -> None:
        if await in_turns(request.operation.bound_to(request.params)):
            return
        report = call.report
        if request.route.is_limited and self._limits is not None:
            request.room = await self._limits.room(
                request.operation, request.params, request.route, report, price_of=price_of, waits=False
            )
            request.left_out = request.room.unpriced(request.steps)
        try:
            await self._read(request, call)
            call.status, call.kind = 200, "ok"
        except TimeoutError:
            call.status, call.kind = 504, Kind.TIMEOUT
            if report.attempts and report.attempts[-1].kind is None:
                report.attempts.pop()  # its answer did not end
            ms = (asyncio.get_running_loop().time() - call.started_s) * 1000
            report.attempts.append(Attempt(call.target.name, call.target.label, Kind.TIMEOUT, None, ms))
        except GatewayError as error:
            call.status = error.status
            last = report.attempts[-1].kind if report.attempts else None
            call.kind = "error" if last is None else last
        except Exception:
            call.status, call.kind = 500, "error"
            log.exception("a shadow's call failed unexpectedly", extra={"request_id": report.request_id})
        finally:
            self._on_end(call)

    async def _read(self, request: RoutedRequest, call: ShadowCall) -> None:
        """Read the whole answer."""
        async with asyncio.timeout(MAX_S):
            try:
                if call.stream:
                    await _drain(await self._engine.open_stream(request))
                else:
                    await self._engine.complete(request)  # JSON, so it is read
            except asyncio.CancelledError:
                if call.report.attempts and call.report.attempts[-1].kind == ABANDONED:
                    call.report.attempts.pop()  # no client left: its time is over, or the gateway's
                raise


async def _drain(stream: Stream) -> None:
    try:
        while await stream.read():
            pass
    finally:
        await stream.aclose()


def _may_repeat(operation: Operation, params: Mapping[str, Json], shadow: Shadow) -> bool:
    """Tell whether nothing is kept or run upstream when a request is sent once more."""
    sent = shadow.step.params.sent
    merged = {**params, **sent} if sent else params
    return operation.name != "responses" and may_be_sent_twice(operation.name, merged)
