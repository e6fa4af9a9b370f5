"""A collector on the loopback: takes OTLP over HTTP, and says what came."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

_SERVER: Final = 2
"""The number of SpanKind SERVER."""
FAST: Final = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
"""Variables with which the gateway sends at once: milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentSpan:
    """One span as it came."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    is_server: bool
    attributes: dict[str, Any]
    is_error: bool
    start_ns: int
    end_ns: int
    state: str
    instance: str
    """The `service.instance.id`."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a metric as it came."""

    attributes: dict[str, Any]
    value: float
    """Of a histogram the number of values."""
    total: float


@dataclass(slots=True)
class OtlpReceiver:
    """The collector."""

    url: str = ""
    spans: list[SentSpan] = field(default_factory=list)
    metrics: dict[str, list[Point]] = field(default_factory=dict)
    """Name → the points that came last."""
    resources: list[dict[str, Any]] = field(default_factory=list)
    schemas: set[str] = field(default_factory=set)
    posts: list[str] = field(default_factory=list)
    """Paths, in order."""
    status: int = 200
    delay_s: float = 0.0
    hurry: threading.Event = field(default_factory=threading.Event)
    """Once it is set, no answer is delayed any more."""

    def take(self, path: str, body: bytes) -> bytes:
        """Take one request, and return its answer."""
        if path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            for resource in traces.resource_spans:
                about = _values(resource.resource.attributes)
                self.resources.append(about)
                for scope in resource.scope_spans:
                    self.schemas.add(scope.schema_url)
                    self.spans += [
                        SentSpan(
                            name=span.name,
                            trace_id=span.trace_id.hex(),
                            span_id=span.span_id.hex(),
                            parent_id=span.parent_span_id.hex(),
                            is_server=span.kind == _SERVER,
                            attributes=_values(span.attributes),
                            is_error=span.status.code == 2,
                            start_ns=span.start_time_unix_nano,
                            end_ns=span.end_time_unix_nano,
                            state=span.trace_state,
                            instance=about["service.instance.id"],
                        )
                        for span in scope.spans
                    ]
            return b""  # of protobuf: a message without fields
        metrics = ExportMetricsServiceRequest.FromString(body)
        for measured in metrics.resource_metrics:
            for of_scope in measured.scope_metrics:
                for metric in of_scope.metrics:
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    self.metrics[metric.name] = [
                        Point(_values(each.attributes), float(each.count), each.sum)
                        if metric.HasField("histogram")
                        else Point(_values(each.attributes), float(each.as_int), 0.0)
                        for each in points
                    ]
        return b""

    def trees(self) -> list[tuple[SentSpan, list[SentSpan]]]:
        """Return each request's span with those of its calls, in order, once the request's has come."""
        return [
            (span, sorted((each for each in self.spans if each.parent_id == span.span_id), key=_place))
            for span in self.spans
            if span.is_server
        ]


def _place(span: SentSpan) -> int:
    place: int = span.attributes["gateway.attempt"]
    return place


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in _each(attributes)}


def _each(attributes: Any) -> Iterator[KeyValue]:
    yield from attributes


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    assert kind is not None
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@contextmanager
def otlp_receiver(port: int = 0) -> Iterator[OtlpReceiver]:
    """Run a collector until the block ends."""
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.posts.append(self.path)
            if receiver.delay_s:
                receiver.hurry.wait(receiver.delay_s)
            answer = b"" if receiver.status != 200 else receiver.take(self.path, body)
            self.send_response(receiver.status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            with suppress(ConnectionError):  # it may have been slow on purpose
                self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def wait_for(reached: Callable[[], Any], *, within_s: float = 5.0) -> Any:
    """Return the first true value of `reached`, asked every few milliseconds."""
    ends_s = time.monotonic() + within_s
    while not (value := reached()):
        assert time.monotonic() < ends_s, "it did not come in time"
        time.sleep(0.01)
    return value
