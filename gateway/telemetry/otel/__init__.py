"""OpenTelemetry: what requests came to, as spans and metrics over OTLP. Loaded only where an endpoint is set."""
