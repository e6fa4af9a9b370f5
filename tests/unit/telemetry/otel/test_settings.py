"""What OpenTelemetry's variables switch on."""

from __future__ import annotations

import pytest

from gateway.telemetry.otel.settings import settings

BASE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {**BASE, "OTEL_SDK_DISABLED": "TRUE"},
        {**BASE, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_SERVICE_NAME": "x"},
    ],
)
def test_without_an_endpoint_it_is_off(environ: dict[str, str]) -> None:
    assert settings(environ) is None


@pytest.mark.parametrize(
    ("environ", "endpoints"),
    [
        (BASE, {"traces": "http://collector:4318", "metrics": "http://collector:4318"}),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/v1/traces"}, {"traces": "http://t/v1/traces"}),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m/v1/metrics"}, {"metrics": "http://m/v1/metrics"}),
        ({**BASE, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t"}, {"traces": "http://t", "metrics": "http://collector:4318"}),
        ({**BASE, "OTEL_METRICS_EXPORTER": "none"}, {"traces": "http://collector:4318"}),
        ({**BASE, "OTEL_TRACES_EXPORTER": "console, otlp", "OTEL_METRICS_EXPORTER": "none"}, {"traces": "http://collector:4318"}),
        ({**BASE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
         {"traces": "http://collector:4318"}),
    ],
)  # fmt: skip
def test_each_signal_has_its_endpoint(environ: dict[str, str], endpoints: dict[str, str]) -> None:
    found = settings(environ)
    assert found is not None
    assert found.endpoints == endpoints


def test_a_password_in_the_address_is_not_told() -> None:
    found = settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://me:s3cret-w0rd@collector/otlp"})
    assert found is not None
    assert "s3cret" not in repr(found)
    assert "collector/otlp" in found.endpoints["traces"]


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({**BASE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_METRICS_EXPORTER": "none"},
         "OTEL_EXPORTER_OTLP_PROTOCOL is grpc: only http/protobuf is spoken here (port 4318, usually)"),
        ({**BASE, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", "OTEL_METRICS_EXPORTER": "none"},
         "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is http/json: only http/protobuf is spoken here (port 4318, usually)"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[::1"},
         "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no address such as http://127.0.0.1:4318"),
        *[({"OTEL_EXPORTER_OTLP_ENDPOINT": wrong},
           "OTEL_EXPORTER_OTLP_ENDPOINT is no address such as http://127.0.0.1:4318")
          for wrong in ("collector:4318", "collector", "http://", "grpc://c:4317", "http://c:99999", "http://me:pw@c:x")],
        ({**BASE, "OTEL_TRACES_EXPORTER": "zipkin", "OTEL_METRICS_EXPORTER": "none"},
         "OTEL_TRACES_EXPORTER is zipkin: only otlp and none are known here"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told(environ: dict[str, str], reason: str) -> None:
    found = settings(environ)
    assert found is not None
    assert (found.endpoints, found.refused) == ({}, (reason,))


@pytest.mark.parametrize(
    ("opted", "old"),
    [("", False), ("http", False), ("http/dup,gen_ai/dup", True), ("gen_ai/dup,gen_ai_latest_experimental", False)],
)
def test_old_names_are_opted_for(opted: str, *, old: bool) -> None:
    found = settings({**BASE, "OTEL_SEMCONV_STABILITY_OPT_IN": opted})
    assert found is not None
    assert found.old_names is old


@pytest.mark.parametrize(
    ("preference", "deltas"), [("", False), ("Delta", True), ("lowmemory", True), ("cumulative", False)]
)
def test_metrics_are_sums_or_differences(preference: str, *, deltas: bool) -> None:
    found = settings({**BASE, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": preference})
    assert found is not None
    assert found.deltas is deltas
