"""Sends spans and metrics to a collector, with the SDK's queue, clock, samplers and exporters.

Nothing here blocks the event loop: a request leaves a row in a bounded queue, and threads of the SDK do the rest. A
collector that does not answer costs one log line, and what does not fit into the queue.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from gateway._version import __version__
from gateway.policy.overlay import Tables
from gateway.policy.secrets import mask_upstream_text
from gateway.telemetry.ids import traceparent
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.otel.measures import Measures
from gateway.telemetry.otel.names import SCHEMA_URL, SCOPE
from gateway.telemetry.otel.settings import Settings, Signal
from gateway.telemetry.otel.spans import EndedRequest, Spans
from gateway.telemetry.traces import MAX_STATE, Trace, Unsampled, new_span_id, traceparent_of

log = logging.getLogger(__name__)

SERVICE: Final = "routes-gateway"
"""`service.name`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has another one."""
_NO_CONTEXT: Final = Context()
DRAWN: Final = 128
"""New traces that are drawn at once."""
_LONGEST_REASON: Final = 200


class Exporting:
    """Sends what the settings ask for, until it is closed. Its threads run from the start."""

    def __init__(
        self, settings: Settings, *, tables: Tables, config_ok: Callable[[], bool], worker: int | None = None
    ) -> None:
        """`config_ok` tells whether the file as last read runs; `worker` is the number of one of several processes."""
        self._complaints = _Complaints()
        resource = _resource(worker)
        scope = InstrumentationScope(SCOPE, __version__, SCHEMA_URL)
        self._processor: BatchSpanProcessor | None = None
        self._meters: MeterProvider | None = None
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._sampler, self._ids = provider.sampler, provider.id_generator
        self._by_parent = _by_parent(self._sampler)
        self._drawn: list[int | Unsampled] = []
        """New traces, with the sampler's decisions. Many at once are drawn in half the time for each."""
        if "traces" in settings.endpoints:
            spans = Spans(resource=resource, scope=scope, old_names=settings.old_names)
            told = _Told("traces", settings.endpoints["traces"], self._complaints)
            self._processor = BatchSpanProcessor(_SpansOfRequests(OTLPSpanExporter(), spans, told))
        self._measures: Measures | None = None
        if "metrics" in settings.endpoints:
            self._measures = Measures(scope=scope, tables=tables, old_names=settings.old_names, deltas=settings.deltas)
            told = _Told("metrics", settings.endpoints["metrics"], self._complaints)
            reader = PeriodicExportingMetricReader(_MetricsOfRequests(OTLPMetricExporter(), self._measures, told))
            self._meters = MeterProvider([reader], resource, shutdown_on_exit=False)
            # The SDK asks its exporter for nothing as long as there is no instrument.
            meter = self._meters.get_meter(SCOPE, __version__)
            meter.create_observable_gauge(
                "gateway.config.generation",
                [lambda _: [Observation(tables.current.generation)]],
                description="Generation of the live routing table.",
            )
            meter.create_observable_gauge(
                "gateway.config.last_reload_successful",
                [lambda _: [Observation(int(config_ok()))]],
                description="1 if the config file as last read is what runs, else 0.",
            )
        for warning in self._complaints.taken():
            log.warning("OpenTelemetry complains about its settings", extra={"reason": warning})

    @property
    def makes_traces(self) -> bool:
        """Whether requests get a trace."""
        return self._processor is not None

    def begin(self, headers: Mapping[str, str]) -> Trace | Unsampled:
        """Return the trace of a request that begins: that of the client's `traceparent`, or a new one."""
        given = traceparent(headers.get("traceparent"))
        if given is None:
            if not self._drawn:
                self._drawn = [self._draw() for _ in range(DRAWN)]
            drawn = self._drawn.pop()
            return drawn if isinstance(drawn, Unsampled) else Trace(drawn, None, None)
        state = headers.get("tracestate")
        if state is not None and (len(state) > MAX_STATE or not state.isascii() or not state.isprintable()):
            state = None
        if self._by_parent is None:
            is_sampled = self._samples(int(given[3:35], 16))
        else:
            is_sampled = self._by_parent[int(given[-1], 16) & 1]
        if not is_sampled:
            return Unsampled(f"00-{given[3:35]}-{new_span_id():016x}-00", state)
        return Trace(int(given[3:35], 16), int(given[36:52], 16), state)

    def _draw(self) -> int | Unsampled:
        """Return a new trace id that is sampled, or what upstreams get of one that is not."""
        trace_id = self._ids.generate_trace_id()
        if self._samples(trace_id):
            return trace_id
        return Unsampled(traceparent_of(trace_id, new_span_id(), is_sampled=False), None)

    def _samples(self, trace_id: int) -> bool:
        found = self._sampler.should_sample(_NO_CONTEXT, trace_id, "request", SpanKind.SERVER).decision
        return found is Decision.RECORD_AND_SAMPLE

    def hear(self, ended: Sequence[EndedRow]) -> None:
        """Queue what is sampled, and count."""
        if self._processor is not None:
            for row in ended:
                if row[0].trace is not None:
                    self._processor.on_end(EndedRequest(row))
        if self._measures is not None:
            self._measures.hear(ended)

    def hear_shadow(self, row: EndedRow) -> None:
        """Queue the calls of a shadow, if its request is sampled. They are in no metric."""
        if self._processor is not None and row[0].trace is not None:
            self._processor.on_end(EndedRequest(row))

    def close(self, within_s: float) -> bool:
        """Send what is there and end the threads; return whether all was sent in time. Blocks."""
        ends_s = time.monotonic() + within_s
        closing: list[threading.Thread] = []
        for part in (self._processor, self._meters):
            if part is not None:
                closing.append(threading.Thread(target=part.shutdown, name="gateway-otel-close", daemon=True))
                closing[-1].start()
        for thread in closing:
            thread.join(max(0.0, ends_s - time.monotonic()))
        in_time = not any(thread.is_alive() for thread in closing)
        if not in_time:
            log.warning("the last spans or metrics were not sent in time", extra={"within_s": within_s})
        self._complaints.remove()
        return in_time


class _SpansOfRequests(SpanExporter):
    """Makes the spans of queued requests, and has them sent."""

    def __init__(self, exporter: SpanExporter, spans: Spans, told: _Told) -> None:
        self._exporter = exporter
        self._spans = spans
        self._told = told

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans of these requests."""
        made = [span for each in spans if isinstance(each, EndedRequest) for span in self._spans.of(each.row)]
        result = self._exporter.export(made)
        self._told.note(ok=result is SpanExportResult.SUCCESS, lost=len(made))
        return result

    def shutdown(self) -> None:
        """End what is being sent."""
        self._exporter.shutdown()


class _MetricsOfRequests(MetricExporter):
    """Adds our own counts to what the SDK has collected, and has them sent."""

    def __init__(self, exporter: OTLPMetricExporter, measures: Measures, told: _Told) -> None:
        super().__init__()
        self._exporter = exporter
        self._measures = measures
        self._told = told

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: object) -> MetricExportResult:
        """Send metrics."""
        counted = self._measures.data()
        # In one place: of two entries of a resource the encoder takes the last.
        of_us = [replace(each, scope_metrics=[*each.scope_metrics, *counted]) for each in metrics_data.resource_metrics]
        data = MetricsData(of_us)
        result = self._exporter.export(data, timeout_millis=timeout_millis)
        self._told.note(ok=result is MetricExportResult.SUCCESS)
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing: nothing is kept here."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **more: object) -> None:
        """End what is being sent."""
        self._exporter.shutdown()


class _Told:
    """Logs once that a signal is not taken, and once that it is again."""

    def __init__(self, signal: Signal, endpoint: str, complaints: _Complaints) -> None:
        self._signal = signal
        self._endpoint = endpoint
        self._complaints = complaints
        self._is_failing = False
        self._lost = 0

    def note(self, *, ok: bool, lost: int = 0) -> None:
        """Note that a batch was sent, or `lost`. For one thread."""
        reason = self._complaints.taken(self._signal.removesuffix("s"))
        fields: dict[str, str | int] = {"signal": self._signal, "endpoint": self._endpoint}
        if not ok:
            self._lost += lost
            if not self._is_failing:
                fields["reason"] = next(iter(reason), "unknown")
                log.warning(
                    "the collector does not take what is sent: tried again without a line for each", extra=fields
                )
        elif self._is_failing:
            if self._lost:
                fields["lost"] = self._lost
            log.info("the collector takes what is sent again", extra=fields)
            self._lost = 0
        self._is_failing = not ok


class _Complaints(logging.Handler):
    """Takes the library's own log lines, of which there is one for each try, and keeps the first of each logger."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: dict[str, str] = {}
        self._logger = logging.getLogger("opentelemetry")
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line's text, unless its logger has one."""
        if record.name not in self._texts:
            self._texts[record.name] = mask_upstream_text(record.getMessage()[:_LONGEST_REASON])

    def taken(self, part: str = "") -> list[str]:
        """Return what was kept of loggers with `part` in their name, and forget it."""
        names = [name for name in self._texts.copy() if part in name]
        return [self._texts.pop(name) for name in names]

    def remove(self) -> None:
        """Take no more."""
        self._logger.removeHandler(self)
        self._logger.propagate = True


def _by_parent(sampler: Sampler) -> tuple[bool, bool] | None:
    """Return the decisions for a client's trace that is not sampled, and for one that is; None if it does not matter.

    A sampler of the variables that looks at the parent looks at nothing else then: it need not be asked each time.
    """
    if not isinstance(sampler, ParentBased):
        return None

    def decision(flags: int) -> bool:
        parent = SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(flags))
        context = set_span_in_context(NonRecordingSpan(parent), _NO_CONTEXT)
        found = sampler.should_sample(context, 1, "request", SpanKind.SERVER).decision
        return found is Decision.RECORD_AND_SAMPLE

    return decision(0), decision(TraceFlags.SAMPLED)


class _OwnResource(Resource):
    """Who we are. The encoder asks each span's resource for its hash, for which the SDK writes all of it as JSON."""

    def __init__(self, like: Resource) -> None:
        super().__init__(like.attributes, like.schema_url)
        self._known_hash = super().__hash__()

    def __hash__(self) -> int:
        return self._known_hash


def _resource(worker: int | None) -> Resource:
    """Return who we are. Each of several workers is an instance of its own."""
    found = Resource.create()
    own: dict[str, str] = {}
    if str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        own[SERVICE_NAME] = SERVICE
    if SERVICE_VERSION not in found.attributes:
        own[SERVICE_VERSION] = __version__
    instance = found.attributes.get(SERVICE_INSTANCE_ID) or uuid.uuid4()
    own[SERVICE_INSTANCE_ID] = str(instance) if worker is None else f"{instance}-{worker}"
    return _OwnResource(found.merge(Resource(own)))
