"""Sends requests through the real engine and hooks of a routing table, with scripted upstreams on a virtual clock."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import Final
from urllib.parse import quote

import orjson

from gateway.adapters.base import Operation
from gateway.adapters.events import Stream
from gateway.adapters.mock import OutcomeOf
from gateway.engine.cache.cache import Cache
from gateway.engine.cache.streams import parsed_events
from gateway.engine.health import Health
from gateway.engine.limits.admission import Limits
from gateway.engine.limits.providers import ProviderLimits
from gateway.engine.pipeline import Pipeline
from gateway.errors import GatewayError, HookFailed, UpstreamRefused
from gateway.operations import OPERATIONS, check_request, operation_of
from gateway.policy.clients import Client
from gateway.policy.failures import Kind
from gateway.policy.overlay import Overlay
from gateway.policy.problem import Problems
from gateway.policy.table import RoutingTable
from gateway.simulation.buckets import simulated_store
from gateway.simulation.keeping import simulated_answers
from gateway.simulation.upstreams import Called, Upstreams
from gateway.simulation.walk import JITTER, SEED, seeded
from gateway.telemetry.report import CLOSED, CacheResult, CallReport, Closed
from gateway.wire.json import EMPTY, Json, JsonObject, decode_json

REQUEST_ID: Final = "simulated"
BEGIN: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""The time of day, unless told otherwise, when the clock of a simulation is at 0: noon of a Monday."""

_HEADER_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One attempt. Its times are seconds from the request's arrival."""

    target: str
    label: str
    """`target` as the file writes it, wildcards included."""
    kind: Kind | Closed | None
    """None when the target answered."""
    status: int | None
    started_s: float
    ended_s: float
    call: Called
    """The request that reached the target."""


@dataclass(slots=True, kw_only=True)
class Observed:
    """The outcome of one request, for its client and for the upstreams."""

    alias: str | None = None
    target: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Headers of the response, with lower-case names."""
    attempts: tuple[Seen, ...] = ()
    """In the order in which they began."""
    skipped: tuple[str, ...] = ()
    """Targets that were passed over, in cooldown or by a condition."""
    sticky: str | None = None
    """Where the key of the first sticky pool that has one is from."""
    error: str | None = None
    """Code of the error in the response or in the broken stream."""
    group: str | None = None
    """The client's group, where the file has `clients`."""
    limited: str | None = None
    """The limit that refused the request, or sent it to another alias."""
    cache: CacheResult | None = None
    """How a request of an alias with a cache was answered."""
    text: str | None = None
    """Text of the answer, or of the part that arrived; None without an answer."""
    body: Json = None
    """Body of the plain answer or of the error; None for a stream."""
    broken: bool = False
    """Whether the stream failed after its first content."""
    elapsed_s: float = 0.0
    first_content_s: float | None = None
    fault: str | None = None
    """A hook's exception and its place; or the gateway's own, when `crashed`."""
    crashed: bool = False
    """Whether an exception was raised that is no GatewayError."""

    @property
    def retry_after_s(self) -> float | None:
        """Seconds of the response's Retry-After; None without one, and for a date."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() else None

    @property
    def kind(self) -> Kind | Closed | None:
        """Kind of the last attempt's failure, of those that ended by themselves; None when it answered."""
        return next((one.kind for one in reversed(self.attempts) if one.kind not in CLOSED), None)

    @property
    def waits_s(self) -> tuple[float, ...]:
        """Seconds between each attempt and the next; 0 if that began beside it."""
        return tuple(max(0.0, later.started_s - earlier.ended_s) for earlier, later in pairwise(self.attempts))


OPERATION_NAMES: Final = tuple(OPERATIONS)
"""The names of all operations that can be asked for."""


class _FixedTable:
    """One table that never changes, in place of the pipeline's live tables."""

    def __init__(self, table: RoutingTable) -> None:
        self.current = table
        self.problems: Problems = ()

    def set_overlay(self, overlay: Overlay) -> None:
        """Ignore the overlay."""

    def reload(self) -> _FixedTable:
        """Return itself: there is no file to read."""
        return self


class Simulator:
    """A gateway with one table, fresh health, empty limits and no kept answers. Use it in one virtual loop."""

    def __init__(self, table: RoutingTable, script: OutcomeOf, *, seed: int = SEED, begin: datetime = BEGIN) -> None:
        """`seed` is that of the draws in pools; at `begin` the loop's clock is at 0."""

        def wall_clock() -> float:
            return begin.timestamp() + loop.time()

        loop = asyncio.get_running_loop()
        self._upstreams = Upstreams(script)
        limits = Limits(simulated_store(begin.timestamp()))
        pipeline = partial(
            Pipeline,
            tables=_FixedTable(table),
            adapters=self._upstreams.adapters,
            health=Health(),
            jitter=lambda: JITTER,
            draw=seeded(seed),
            wall_clock=wall_clock,
            limits=limits,
            provider_limits=ProviderLimits(limits.reservations),
        )
        self._pipeline = pipeline(cache=Cache(simulated_answers()))
        self._uncached = pipeline()

    def play(self, script: OutcomeOf) -> None:
        """Use another script for the calls from now on."""
        self._upstreams.script = script

    async def left_by_pre_hooks(self, body: JsonObject, operation: str | None = None) -> JsonObject | None:
        """Return a request as the asked alias' pre hooks leave it; None if one ends the request. Nothing is called."""
        asked = OPERATIONS[operation] if operation else operation_of(body)
        try:
            return await self._pipeline.left_by_pre_hooks(asked, body)
        except Exception:  # noqa: BLE001 - `ask` tells which, and where
            return None

    async def ask(
        self,
        body: JsonObject,
        operation: str | None = None,
        *,
        headers: Mapping[str, str] = EMPTY,
        client: Client | None = None,
        beside: int = 0,
        uncached: bool = False,
    ) -> Observed:
        """Send one request and read its answer to the end. An exception becomes a part of the result.

        `operation` is told by the body's fields if it is None. `headers`, with lower-case names, are the client's.
        `beside`: so many equal requests come just before it, and are being answered when it comes.
        `uncached`: it stands for one that differs from all others, so that no kept answer is given.
        """
        pipeline = self._uncached if uncached else self._pipeline
        async with asyncio.TaskGroup() as tasks:
            for _ in range(beside):
                tasks.create_task(self._ask(pipeline, body, operation, headers, client, is_held=True))
            asked = tasks.create_task(self._ask(pipeline, body, operation, headers, client))
        return asked.result()

    async def _ask(
        self,
        pipeline: Pipeline,
        body: JsonObject,
        operation: str | None,
        headers: Mapping[str, str],
        client: Client | None,
        *,
        is_held: bool = False,
    ) -> Observed:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        report = CallReport(request_id=REQUEST_ID, generation=pipeline.tables.current.generation)
        observed = Observed()
        calls = self._upstreams.record(are_held=is_held)
        try:
            asked = OPERATIONS[operation] if operation else operation_of(body)
            check_request(asked, body)
            if asked.wants_stream(body):
                stream = await pipeline.open_stream(asked, body, report=report, client=client, client_headers=headers)
                await _read(stream, asked, report, observed)
            else:
                reply = await pipeline.answer(asked, body, report=report, client=client, client_headers=headers)
                if reply.body is not None:
                    await _read(reply.body, asked, report, observed)
                else:
                    data = (
                        reply.data if reply.raw is None else decode_json(bytes(reply.raw))
                    )  # a kept one is bytes only
                    observed.body, observed.text = data, asked.text(data)
                    observed.headers = _response_headers(report, reply.headers)
        except Exception as exc:  # noqa: BLE001 - the server answers any exception with an envelope too
            _note_failure(observed, exc, report)
        observed.elapsed_s = loop.time() - started_s
        observed.alias = report.alias or None
        observed.target = report.target.name if report.target else None
        observed.sticky = report.sticky
        observed.cache = report.cache
        if report.limits is not None:
            observed.group, observed.limited = report.limits.group, report.limits.limited
        observed.first_content_s = report.first_content_s
        made = sorted([one for one in report.attempts if one.was_called], key=attrgetter("start_ms"))
        observed.attempts = tuple(
            Seen(
                target=attempt.target,
                label=attempt.label,
                kind=attempt.ended,
                status=attempt.status,
                started_s=called.started_s - started_s,
                ended_s=called.started_s - started_s + attempt.ms / 1000,
                call=called,
            )
            for attempt, called in zip(made, calls, strict=False)
        )
        observed.skipped = tuple(attempt.target for attempt in report.attempts if not attempt.was_called)
        return observed


async def _read(stream: Stream, operation: Operation, report: CallReport, observed: Observed) -> None:
    """Read a stream of events or bytes to its end."""
    content_type = stream.headers.get("content-type", "text/event-stream")
    observed.headers = _response_headers(report, stream.headers, content_type=content_type)
    observed.text = ""
    try:
        async with aclosing(stream):
            while events := await stream.read():
                for event in events:
                    if content_type.startswith("text/plain"):
                        observed.text += (event.raw or b"").decode("utf-8", "replace")
                    kept = event.raw.removesuffix(operation.stream_end) if event.is_end and event.raw else b""
                    for each in parsed_events(kept) if kept else (event,):  # a kept stream comes as its end
                        observed.text += operation.text(each.data or {}) or ""
    except Exception as exc:  # noqa: BLE001 - status and headers are sent, so any exception breaks the stream
        observed.broken = True
        observed.error = exc.code if isinstance(exc, GatewayError) else GatewayError.code
        _note_fault(observed, exc)


def _response_headers(
    report: CallReport, more: Mapping[str, str], *, content_type: str | None = "application/json"
) -> dict[str, str]:
    """Return the response headers as the server's `Exchange.headers` does, which needs aiohttp."""
    headers = {**more, "server": "gateway", "x-request-id": report.request_id}
    if content_type is not None:
        headers["content-type"] = content_type
    if content_type == "text/event-stream":
        headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
    headers["x-gateway-generation"] = str(report.generation)
    headers["x-gateway-attempts"] = str(report.calls)
    if report.target is not None:
        headers["x-gateway-target"] = quote(report.target.name, safe=_HEADER_SAFE)
    for line in () if report.limits is None else report.limits.head.splitlines():
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return headers


def _note_failure(observed: Observed, exc: Exception, report: CallReport) -> None:
    """Record the error response, by the same rule as the server's `Exchange.failure`."""
    error = exc if isinstance(exc, GatewayError) else GatewayError("the gateway failed", attempts=report.attempts)
    observed.status, observed.error = error.status, error.code
    content_type: str | None = "application/json"
    if isinstance(error, UpstreamRefused) and error.body:
        content_type = None if "content-type" in error.headers else content_type
        observed.body = orjson.loads(error.body)
    else:
        observed.body = error.envelope()
    observed.headers = _response_headers(report, error.response_headers(), content_type=content_type)
    _note_fault(observed, exc)


def _note_fault(observed: Observed, exc: Exception) -> None:
    """Record the text and place of a hook's or the gateway's own exception. In a simulation it is no secret."""
    if isinstance(exc, HookFailed):
        observed.fault = str(exc) if exc.__cause__ is None else f"{exc}{_where(exc.__cause__)}"
    elif not isinstance(exc, GatewayError):
        observed.crashed = True
        observed.fault = f"the gateway itself failed: {type(exc).__name__}{_where(exc)}"


def _where(exc: BaseException) -> str:
    """Return `: text, at file:line` of an exception."""
    frames = traceback.extract_tb(exc.__traceback__)
    text = f": {exc}" if str(exc) else ""
    return f"{text}, at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else text
