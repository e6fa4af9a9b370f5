"""Asks a routing table as a client would: the real provider and engine on a virtual clock, upstreams scripted."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import orjson

from gateway.adapters.base import Operation, Stream
from gateway.adapters.mock import OutcomeOf
from gateway.engine.health import State
from gateway.engine.pipeline import Pipeline
from gateway.errors import GatewayError, HookFailed, UpstreamRefused
from gateway.operations import operation_of
from gateway.policy.failures import Kind
from gateway.policy.overlay import Overlay
from gateway.policy.problem import Problems
from gateway.policy.table import RoutingTable
from gateway.simulation.upstreams import Upstreams
from gateway.simulation.walk import JITTER
from gateway.telemetry.report import CallReport
from gateway.wire.json import EMPTY, Json, JsonObject

REQUEST_ID: Final = "simulated"

_HEADER_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One attempt, with its times from the request's arrival."""

    target: str
    label: str
    """`target` as the file writes it, star and all."""
    kind: Kind | None
    """None when the target answered."""
    status: int | None
    started_s: float
    ended_s: float
    operation: Operation
    params: Mapping[str, Json]
    """The request after its hooks."""
    sent: JsonObject
    """The same with the file's parameters, as the target got it."""
    shown: JsonObject
    """`sent` as an output may show it."""


@dataclass(slots=True, kw_only=True)
class Observed:
    """What became of one request, as its client and the upstreams saw it."""

    alias: str | None = None
    target: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """The response's, with lower-case names."""
    attempts: tuple[Seen, ...] = ()
    skipped: tuple[str, ...] = ()
    """Targets passed over because they were in cooldown."""
    error: str | None = None
    """The code of the error that was answered, or that broke the stream."""
    text: str | None = None
    """What the assistant said, as far as it came; None when there was no answer."""
    body: Json = None
    """The plain answer's body, or the error's; None for a stream."""
    broken: bool = False
    """The stream broke off after its first content had gone out."""
    elapsed_s: float = 0.0
    first_content_s: float | None = None
    fault: str | None = None
    """What in the policy's own code went wrong, with its place: a hook's exception."""
    crashed: bool = False
    """The fault is none that the gateway knows how to answer."""

    @property
    def kind(self) -> Kind | None:
        """How the last attempt failed; None when it answered."""
        return self.attempts[-1].kind if self.attempts else None

    @property
    def waits_s(self) -> tuple[float, ...]:
        """The pauses between the attempts."""
        pairs = zip(self.attempts, self.attempts[1:], strict=False)
        return tuple(later.started_s - earlier.ended_s for earlier, later in pairs)


class _FixedTable:
    """Holds one table for good."""

    def __init__(self, table: RoutingTable) -> None:
        self.current = table
        self.problems: Problems = ()

    def set_overlay(self, overlay: Overlay) -> None:
        """Nothing is added to a table under test."""

    def reload(self) -> _FixedTable:
        """There is nothing to read again, and nothing wrong with it."""
        return self


class Simulator:
    """A gateway with one table, its health and counters at zero. Made and used within one virtual loop."""

    def __init__(self, table: RoutingTable, script: OutcomeOf) -> None:
        self._upstreams = Upstreams(script)
        self._pipeline = Pipeline(
            tables=_FixedTable(table), adapters=self._upstreams.adapters, health=State(), jitter=lambda: JITTER
        )

    def play(self, script: OutcomeOf) -> None:
        """Let the upstreams play another script from now on."""
        self._upstreams.script = script

    async def ask(self, body: JsonObject) -> Observed:
        """Send one request and follow its answer to the end. Raises nothing for what the policy does wrong."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        report = CallReport(request_id=REQUEST_ID)
        observed = Observed()
        first_call = len(self._upstreams.calls)
        try:
            operation = operation_of(body)
            if operation.wants_stream(body):
                await self._stream(operation, body, report, observed)
            else:
                await self._plain(operation, body, report, observed)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the server answers it with an envelope too
            _note_failure(observed, exc, report)
        observed.elapsed_s = loop.time() - started_s
        observed.alias = report.alias or None
        observed.target = report.target.name if report.target else None
        observed.first_content_s = report.first_content_s
        calls = self._upstreams.calls[first_call:]
        made = [attempt for attempt in report.attempts if attempt.was_called]
        observed.attempts = tuple(
            Seen(
                target=attempt.target,
                label=attempt.label,
                kind=None if attempt.kind is None else Kind(attempt.kind),
                status=attempt.status,
                started_s=called.started_s - started_s,
                ended_s=called.started_s - started_s + attempt.ms / 1000,
                operation=called.operation,
                params=called.params,
                sent=called.sent,
                shown=called.shown,
            )
            for attempt, called in zip(made, calls, strict=False)
        )
        observed.skipped = tuple(attempt.target for attempt in report.attempts if not attempt.was_called)
        return observed

    async def _plain(self, operation: Operation, body: JsonObject, report: CallReport, observed: Observed) -> None:
        reply = await self._pipeline.answer(operation, body, report=report)
        observed.body = reply.data
        observed.text = operation.text(reply.data)
        observed.headers = response_headers(report, reply.headers)

    async def _stream(self, operation: Operation, body: JsonObject, report: CallReport, observed: Observed) -> None:
        stream = await self._pipeline.open_stream(operation, body, report=report)
        observed.headers = response_headers(report, stream.headers, content_type="text/event-stream")
        observed.text = ""
        try:
            await _read(operation, stream, observed)
        except Exception as exc:  # noqa: BLE001 - status and headers have gone out; the stream breaks off
            observed.broken = True
            observed.error = exc.code if isinstance(exc, GatewayError) else GatewayError.code
            _note_fault(observed, exc)


async def _read(operation: Operation, stream: Stream, observed: Observed) -> None:
    async with aclosing(stream):
        while events := await stream.read():
            for event in events:
                observed.text = (observed.text or "") + (operation.text(event.data or {}) or "")


def response_headers(
    report: CallReport, more: Mapping[str, str] = EMPTY, *, content_type: str | None = "application/json"
) -> dict[str, str]:
    """Return the response headers as the server's `Exchange.headers` makes them, which needs aiohttp."""
    headers = {**more, "server": "gateway", "x-request-id": report.request_id}
    if content_type is not None:
        headers["content-type"] = content_type
    if content_type == "text/event-stream":
        headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
    headers["x-gateway-generation"] = str(report.generation)
    headers["x-gateway-attempts"] = str(report.calls)
    if report.target is not None:
        headers["x-gateway-target"] = quote(report.target.name, safe=_HEADER_SAFE)
    return headers


def _note_failure(observed: Observed, exc: Exception, report: CallReport) -> None:
    """Note what the client gets instead of an answer: `Exchange.failure`'s rule."""
    error = exc if isinstance(exc, GatewayError) else GatewayError("the gateway failed", attempts=report.attempts)
    observed.status, observed.error = error.status, error.code
    if isinstance(error, UpstreamRefused) and error.body:
        content_type = None if "content-type" in error.headers else "application/json"
        observed.body = orjson.loads(error.body)
        observed.headers = response_headers(report, error.headers, content_type=content_type)
    else:
        observed.body = error.envelope()
        observed.headers = response_headers(report, error.headers)
    _note_fault(observed, exc)


def _note_fault(observed: Observed, exc: Exception) -> None:
    """Say where a hook, or the gateway itself, failed. In a test the exception's text is nobody's secret."""
    if isinstance(exc, HookFailed):
        observed.fault = str(exc) if exc.__cause__ is None else f"{exc}{_where(exc.__cause__)}"
    elif not isinstance(exc, GatewayError):
        observed.crashed = True
        observed.fault = f"the gateway itself failed: {type(exc).__name__}{_where(exc)}"


def _where(exc: BaseException) -> str:
    """Return what an exception says and where it was raised, to be put after its name."""
    frames = traceback.extract_tb(exc.__traceback__)
    said = f": {exc}" if str(exc) else ""
    return f"{said}, at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else said
