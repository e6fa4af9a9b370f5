"""Which signals go to a collector, as OpenTelemetry's variables say. The SDK reads the others itself.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from gateway.policy.secrets import mask_url

Signal: TypeAlias = Literal["traces", "metrics"]

SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics")
PROTOCOL: Final = "http/protobuf"
"""The only one of OTLP's protocols that is spoken here, and the default of the specification."""
OLD_NAMES_TOO: Final = "gen_ai/dup"
"""In OTEL_SEMCONV_STABILITY_OPT_IN: the names of the conventions up to 1.41 beside those of today."""
LATEST: Final = "gen_ai_latest_experimental"
"""In the same place: today's names alone, as without the variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is exported, and where to."""

    endpoints: Mapping[Signal, str]
    """The address of each signal that is exported, without what is secret in it."""
    old_names: bool
    """The names of the conventions up to 1.41 are sent too."""
    deltas: bool
    """Metrics tell what came since the last export, and not since the start."""
    refused: tuple[str, ...]
    """What keeps a signal from being exported although it has an endpoint, in words for the log."""


def settings(environ: Mapping[str, str]) -> Settings | None:
    """Return what to export; None if no endpoint is set, or OpenTelemetry is switched off."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    endpoints: dict[Signal, str] = {}
    refused: list[str] = []
    for signal in SIGNALS:
        name = signal.upper()
        endpoint = environ.get(f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT", "").strip() or base
        if not endpoint:
            continue
        exporters = {each.strip() for each in environ.get(f"OTEL_{name}_EXPORTER", "").split(",")} - {""}
        if exporters and "otlp" not in exporters:
            if exporters != {"none"}:
                refused.append(
                    f"OTEL_{name}_EXPORTER is {' '.join(sorted(exporters))}: only otlp and none are known here"
                )
            continue
        variables = (f"OTEL_EXPORTER_OTLP_{name}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        variable = next((each for each in variables if environ.get(each, "").strip()), None)
        if variable is not None and environ[variable].strip() != PROTOCOL:
            refused.append(
                f"{variable} is {environ[variable].strip()}: only {PROTOCOL} is spoken here (port 4318, usually)"
            )
            continue
        if not _is_address(endpoint):
            own = f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT"
            given = own if environ.get(own, "").strip() else "OTEL_EXPORTER_OTLP_ENDPOINT"
            refused.append(f"{given} is no address such as http://127.0.0.1:4318")
            continue
        endpoints[signal] = mask_url(endpoint)
    if not endpoints and not refused:
        return None
    opted = {each.strip() for each in environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")}
    wanted = environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "").strip().lower()
    return Settings(
        endpoints=endpoints,
        old_names=OLD_NAMES_TOO in opted and LATEST not in opted,
        deltas=wanted in {"delta", "lowmemory"},
        refused=tuple(dict.fromkeys(refused)),
    )


def _is_address(text: str) -> bool:
    """Tell whether spans may be sent to a URL: its scheme is http or https, and it has a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets, or a port that is none
        return False
