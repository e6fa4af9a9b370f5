"""OpenTelemetry's part in the server: loaded after the socket listens, told of requests, and closed at the end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Final

from gateway.policy.overlay import Tables
from gateway.policy.secrets import mask_upstream_text
from gateway.server.exchange import Exchange
from gateway.server.paths import Paths
from gateway.telemetry.observer import BeginTrace, EndedRow, Observer
from gateway.telemetry.otel.settings import Settings
from gateway.telemetry.traces import OTHER_METHOD, Unsampled
from gateway.words import cut

if TYPE_CHECKING:
    from gateway.telemetry.otel.exporting import Exporting

log = logging.getLogger(__name__)

FLUSH_S: Final = 1.5
"""Seconds for the last spans and metrics when the process stops: a part of `ending.MARGIN_S`."""
_SLIM: Final = "routes-gateway-slim"
_LONGEST: Final = 256
"""Characters of a path or a host in a span."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


class Telemetry:
    """Sends spans and metrics to the collector that OpenTelemetry's variables name."""

    def __init__(
        self,
        settings: Settings,
        *,
        observer: Observer,
        tables: Tables,
        config_ok: Callable[[], bool],
        worker: int | None,
    ) -> None:
        """`config_ok` tells whether the file as last read runs; `worker` is the number of one of several processes."""
        self._settings = settings
        self._observer = observer
        self._tables = tables
        self._config_ok = config_ok
        self._worker = worker
        self._exporting: Exporting | None = None

    async def load(self) -> None:
        """Import the SDK in a thread, and tell it of requests from then on. What is wrong is logged, not raised."""
        for reason in self._settings.refused:
            log.warning("nothing is sent for one of OpenTelemetry's signals", extra={"reason": reason})
        if not self._settings.endpoints:
            return
        try:
            self._exporting = exporting = await asyncio.to_thread(self._start)
        except ImportError as error:
            missing = {"missing": error.name, "install": _install()}
            log.warning("an OTLP endpoint is set, and OpenTelemetry is not installed: nothing is sent", extra=missing)
            return
        except Exception as error:
            why = {"reason": mask_upstream_text(cut(str(error), _LONGEST))}
            log.exception("OpenTelemetry could not be started: nothing is sent", extra=why)
            return
        self._observer.add(exporting.hear)
        if exporting.makes_traces:
            self._observer.begin_trace = exporting.begin
        log.info("OpenTelemetry is on", extra={"endpoints": dict(self._settings.endpoints)})

    def _start(self) -> Exporting:
        from gateway.telemetry.otel.exporting import Exporting

        return Exporting(self._settings, tables=self._tables, config_ok=self._config_ok, worker=self._worker)

    def hear_shadow(self, row: EndedRow) -> None:
        """Send the spans of a shadow's calls."""
        if self._exporting is not None:
            self._exporting.hear_shadow(row)

    async def close(self) -> None:
        """Send what is there, for FLUSH_S at most."""
        exporting, self._exporting = self._exporting, None
        if exporting is None:
            return
        self._observer.remove(exporting.hear)
        self._observer.begin_trace = None
        # Not in the loop's own threads: the process would wait for one that hangs.
        loop = asyncio.get_running_loop()
        closed = loop.create_future()

        def close() -> None:
            exporting.close(FLUSH_S)
            loop.call_soon_threadsafe(_set, closed)

        threading.Thread(target=close, name="gateway-otel", daemon=True).start()
        await closed


def _install() -> str:
    """Return the command that installs what is missing, in a checkout: the package is on no index."""
    try:
        distribution(_SLIM)
    except PackageNotFoundError:
        return 'pip install ".[otel]"'
    return 'pip install "./deploy/slim[otel]"'


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def note_trace(exchange: Exchange, paths: Paths, begin: BeginTrace) -> None:
    """Begin the trace of a request."""
    request, report = exchange.request, exchange.report
    trace = begin(request.headers)
    if isinstance(trace, Unsampled):
        exchange.unsampled = trace
        return
    report.trace, report.trace_id = trace, f"{trace.trace_id:032x}"
    trace.method = request.method if request.method in _METHODS else OTHER_METHOD
    trace.host = cut(request.headers.get("host", ""), _LONGEST) or None
    trace.route = paths.route_of(request.path)
    trace.path = cut(request.path, _LONGEST)
    if trace.route is None:  # it may be anything
        trace.path = mask_upstream_text(trace.path)
