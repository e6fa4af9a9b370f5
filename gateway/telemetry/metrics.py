"""The Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from gateway.policy.target import Target
from gateway.telemetry.counters import Counts, RequestCounts, Tallies, Times
from gateway.telemetry.logs import dropped_lines, left_out_requests
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.report import CallReport

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Metric


class Registry(Protocol):
    """Metrics in the form of Prometheus' client library."""

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""


class Metrics:
    """The metrics of one gateway, in a registry of its own. Labels come from the routing table, never from a client."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector

        self._registry = registry = CollectorRegistry()
        gauge = partial(Gauge, registry=registry)
        requests = Counts(
            "gateway_requests_total",
            "Requests by alias, operation and HTTP status; 499 when the client left.",
            ["alias", "operation", "status"],
        )
        self._attempts = Counts(
            "gateway_attempts_total",
            "Calls of targets by outcome: ok, a kind of failure, `hedged_out` if another call ended the request, "
            "`client_gone` if the client left before its answer began, or "
            "`bound`, `condition`, `cooldown`, `unsupported` if passed over.",
            ["target", "kind"],
        )
        seconds = Times(
            "gateway_request_seconds", "Seconds from a request's arrival to the end of its answer.", "alias"
        )
        self._first_content = Times(
            "gateway_first_content_seconds", "Seconds from a streaming request's arrival to the first content.", "alias"
        )
        tokens = Counts(
            "gateway_tokens_total", "Tokens as the answering targets reported them.", ["alias", "direction"]
        )
        self._dropped = Counts(
            "gateway_log_lines_dropped_total", "Log lines dropped because nobody read them in time.", []
        )
        self._left_out = Counts(
            "gateway_access_log_left_out_total", "Requests without a log line, since --access-log is of some only.", []
        )
        self._shadow_calls = Counts(
            "gateway_shadow_calls_total",
            "Requests sent once more to an alias' shadow by outcome: ok, a kind of failure, `cooldown`, `unsupported`, "
            "`dropped` if too many were in flight or the gateway ended, `error` for a fault of ours.",
            ["alias", "target", "kind"],
        )
        self._shadow_tokens = Counts(
            "gateway_shadow_tokens_total", "Tokens as shadows reported them.", ["alias", "direction"]
        )
        self._hedge_calls = Counts(
            "gateway_hedge_calls_total",
            "Calls begun beside another that took long, by outcome: ok, a kind of failure, `client_gone`, or "
            "`hedged_out` if the other ended the request.",
            ["alias", "target", "kind"],
        )
        self._hedge_tokens = Counts(
            "gateway_hedged_out_tokens_total",
            "Tokens that calls told before they were closed, since another answered first.",
            ["alias", "direction"],
        )
        self._requests = RequestCounts(requests, self._attempts, seconds, tokens)
        registry.register(Tallies(requests, self._attempts, seconds, self._first_content, tokens))
        registry.register(Tallies(self._dropped, self._left_out))
        registry.register(Tallies(self._shadow_calls, self._shadow_tokens, self._hedge_calls, self._hedge_tokens))
        self.in_flight = gauge("gateway_in_flight", "Model requests being answered now.")
        self._config_ok = gauge(
            "gateway_config_last_reload_successful", "1 if the config file as last read is what runs, else 0."
        )
        self._config_at = gauge(
            "gateway_config_last_reload_success_timestamp_seconds", "When the config file was last read and found good."
        )
        self._cooldowns = gauge(
            "gateway_target_cooldown",
            "1 while a target is left alone after failures, else 0; for a wildcard's, while any of its models is.",
            ["target"],
        )
        self._generation = gauge("gateway_config_generation", "Generation of the live routing table.")
        self._config = Info("gateway_config", "SHA-256 of the config file that runs.", registry=registry)
        self._reloads = Counter(
            "gateway_config_reloads_total",
            "Looks at a changed config file after the start, by result: ok or refused.",
            ["result"],
            registry=registry,
        )
        for result in ("ok", "refused"):
            self._reloads.labels(result)
        ProcessCollector(registry=registry)

    @property
    def registry(self) -> CollectorRegistry:
        """What is counted until now."""
        self._requests.settle()
        self._dropped.counts[()], self._left_out.counts[()] = dropped_lines(), left_out_requests()
        return self._registry

    def count_workers(self, running: Callable[[], int]) -> Counter:
        """Show the number of workers, and return the counter of those that were replaced as they ended."""
        from prometheus_client import Counter, Gauge

        gauge = Gauge("gateway_workers", "Worker processes, those that end included.", registry=self._registry)
        gauge.set_function(running)
        return Counter("gateway_worker_restarts_total", "Workers replaced since they ended.", registry=self._registry)

    def hear(self, ended: Sequence[EndedRow]) -> None:
        """Count finished requests with their attempts and tokens."""
        for report, operation, status, _, _, _, _, seconds, _ in ended:
            attempts = report.attempts
            if len(attempts) == 1 and attempts[0].kind is None:
                self._requests.add(report.alias, operation, status, seconds, report.tokens, attempts[0].label)
            else:
                self._requests.add(report.alias, operation, status, seconds, report.tokens)
                for attempt in attempts:
                    self._attempts.counts[attempt.label, attempt.kind or "ok"] += 1
                    if attempt.hedge:
                        self._hedge_calls.counts[report.alias, attempt.label, attempt.kind or "ok"] += 1
                if report.closed_tokens is not None:
                    for direction, tokens in report.closed_tokens.items():
                        self._hedge_tokens.counts[report.alias, direction] += tokens
            if report.first_content_s is not None:
                self._first_content.add(report.alias, report.first_content_s)

    def count_shadow(self, report: CallReport, *, target: Target, kind: str) -> None:
        """Count a request that was sent to a shadow, or dropped on the way there, with its tokens."""
        self._shadow_calls.counts[report.alias, target.label, kind] += 1
        for direction, tokens in (report.tokens or {}).items():
            self._shadow_tokens.counts[report.alias, direction] += tokens

    def count_reload(self, *, ok: bool) -> None:
        """Count one reload of a changed config file. May be called from any thread."""
        self._reloads.labels("ok" if ok else "refused").inc()

    def show_config(self, *, ok: bool, good_at: float, generation: int, digest: str) -> None:
        """Set the metrics of the config file. `good_at`: seconds since the epoch."""
        self._config_ok.set(ok)
        self._config_at.set(good_at)
        self._generation.set(generation)
        self._config.info({"digest": digest})

    def show_cooldowns(self, cooldowns: Mapping[str, bool]) -> None:
        """Set target label → whether it is in cooldown. All other targets are dropped."""
        self._cooldowns.clear()
        for target, cooling in cooldowns.items():
            self._cooldowns.labels(target).set(cooling)


def render(registry: Registry, accept: str) -> tuple[bytes, str]:
    """Return a registry's metrics in the exposition format that `accept` asks for, and its content type."""
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    found: Any = registry  # the library says `CollectorRegistry`, and asks for `collect` only
    return encode(found), content_type
