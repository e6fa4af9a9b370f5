"""The Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.policy.target import Target
from gateway.telemetry.counters import DIRECTIONS, Counts, Gauges, RequestCounts, Times
from gateway.telemetry.exposition import Family
from gateway.telemetry.logs import dropped_lines, left_out_requests
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.report import Attempt, CallReport

if TYPE_CHECKING:
    from prometheus_client import Counter

LIMITED: Final = frozenset({"limited", "budget_exceeded"})
"""Codes of the errors for requests that a limit refused."""
UNANSWERED: Final = "connection_closed"
"""A connection that was closed without an answer, since too many are open."""
REFUSALS: Final = ("shutting_down", "too_many_bodies", "too_many_connections", "too_many_requests", UNANSWERED)
"""Why the gateway itself had no room for a request: codes of errors, and UNANSWERED."""


class Metrics:
    """The metrics of one gateway, in a registry of its own. Labels come from the routing table, never from a client."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector

        self.registry = registry = CollectorRegistry()
        """The metrics that are few."""
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
            "`bound`, `condition`, `cooldown`, `limited`, `unsupported` if passed over.",
            ["kind", "target"],
        )
        self._answers = Counts(
            "gateway_answers_total",
            "Requests that were answered, by the target that did; `fallback` is yes if another one failed or rested.",
            ["alias", "fallback", "target"],
        )
        self._key_attempts = Counts(
            "gateway_key_attempts_total",
            "Calls by key and outcome, of providers with several keys; `key` is the start of its SHA-256.",
            ["key", "kind", "provider"],
        )
        self._broken_streams = Counts(
            "gateway_broken_streams_total",
            "Streams that broke after their first content had been sent, by the error that their clients got.",
            ["alias", "error", "target"],
        )
        self._refused = Counts(
            "gateway_refused_total",
            "Requests for which the gateway had no room, by the code of the error; `connection_closed` without any.",
            ["reason"],
        )
        for reason in REFUSALS:
            self._refused.counts[reason,] = 0
        self._limited = Counts(
            "gateway_limited_total",
            "Requests of clients that met a full limit of their group, by what came of it: `refused`, or `sent_on` to "
            "the alias of its `then`.",
            ["group", "limit", "outcome"],
        )
        self._limits_used = Gauges(
            "gateway_limit_used_ratio",
            "The part of a limit that is used, of a group that shares it or a provider; without a name of the client "
            "who has used most.",
            ["limit", "name", "owner"],
        )
        self._seconds = Times(
            "gateway_request_seconds", "Seconds from a request's arrival to the end of its answer.", "alias"
        )
        self._first_content = Times(
            "gateway_first_content_seconds", "Seconds from a streaming request's arrival to the first content.", "alias"
        )
        self._called = Times(
            "gateway_target_first_content_seconds",
            "Seconds from the call of a target to the first content of its stream.",
            "target",
        )
        self._tokens = Counts(
            "gateway_tokens_total",
            "Tokens as the answering targets reported them.",
            ["alias", "direction", "target"],
        )
        self._dropped = Counts(
            "gateway_log_lines_dropped_total", "Log lines dropped because nobody read them in time.", []
        )
        self._left_out = Counts(
            "gateway_access_log_left_out_total", "Requests without a log line, since --access-log is of some only.", []
        )
        self._shadow_calls = Counts(
            "gateway_shadow_calls_total",
            "Requests sent once more to an alias' shadow by outcome: ok, a kind of failure, `cooldown`, `limited`, "
            "`unsupported`, `dropped` if too many were in flight or the gateway ended, `error` for a fault of ours.",
            ["alias", "kind", "target"],
        )
        self._shadow_tokens = Counts(
            "gateway_shadow_tokens_total", "Tokens as shadows reported them.", ["alias", "direction"]
        )
        self._hedge_calls = Counts(
            "gateway_hedge_calls_total",
            "Calls begun beside another that took long, by outcome: ok, a kind of failure, `client_gone`, or "
            "`hedged_out` if the other ended the request.",
            ["alias", "kind", "target"],
        )
        self._hedge_tokens = Counts(
            "gateway_hedged_out_tokens_total",
            "Tokens that calls told before they were closed, since another answered first.",
            ["alias", "direction"],
        )
        self._cache = Counts(
            "gateway_cache_total",
            "Requests of aliases with a cache, by result: hit, collapsed if they waited for an equal one, stale if the "
            "chain failed, miss, bypass if none of their answers may be kept.",
            ["alias", "result"],
        )
        self._cooldowns = Gauges(
            "gateway_target_cooldown",
            "1 while a target is left alone after failures, else 0; for a wildcard's, while any of its models is.",
            ["target"],
        )
        self._key_cooldowns = Gauges(
            "gateway_key_cooldown",
            "1 while one of a provider's several keys is left alone for any of its targets, else 0.",
            ["key", "provider"],
        )
        self._alias_cooldowns = Gauges(
            "gateway_alias_cooldown",
            "1 while all targets of an alias are left alone, so that it calls them as a last resort only; not of "
            "wildcards.",
            ["alias"],
        )
        self._requests = RequestCounts(
            requests=requests,
            attempts=self._attempts,
            answers=self._answers,
            tokens=self._tokens,
            seconds=self._seconds,
            first_content=self._first_content,
            called=self._called,
        )
        self._members: Final = (
            requests,
            self._attempts,
            self._answers,
            self._key_attempts,
            self._broken_streams,
            self._refused,
            self._limited,
            self._limits_used,
            self._seconds,
            self._first_content,
            self._called,
            self._tokens,
            self._dropped,
            self._left_out,
            self._shadow_calls,
            self._shadow_tokens,
            self._hedge_calls,
            self._hedge_tokens,
            self._cache,
            self._cooldowns,
            self._key_cooldowns,
            self._alias_cooldowns,
        )
        self.in_flight = gauge("gateway_in_flight", "Model requests being answered now.")
        self._config_ok = gauge(
            "gateway_config_last_reload_successful", "1 if the config file as last read is what runs, else 0."
        )
        self._config_in_sync = gauge(
            "gateway_config_in_sync", "1 if the config files on disk are what runs, else 0; looked at for each scrape."
        )
        self._config_at = gauge(
            "gateway_config_last_reload_success_timestamp_seconds", "When the config file was last read and found good."
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

    def show(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Have a gauge that is asked for its value at each scrape."""
        from prometheus_client import Gauge

        Gauge(name, help_text, registry=self.registry).set_function(value)

    def settling(self) -> Iterator[None]:
        """Bring the families up to date, in steps of less than a millisecond."""
        yield from self._requests.settling()
        self._dropped.counts[()], self._left_out.counts[()] = dropped_lines(), left_out_requests()

    def families(self) -> list[Family]:
        """Return the metrics that may be many, as of the last `settling`."""
        return [member.family() for member in self._members]

    def count_workers(self, running: Callable[[], int]) -> Counter:
        """Show the number of workers, and return the counter of those that were replaced as they ended."""
        from prometheus_client import Counter

        self.show("gateway_workers", "Worker processes, those that end included.", running)
        return Counter("gateway_worker_restarts_total", "Workers replaced since they ended.", registry=self.registry)

    def count_state_errors(self, is_up: Callable[[], bool]) -> Callable[[str], None]:
        """Show whether the state that replicas share is asked; return what counts an answer that did not come."""
        from prometheus_client import Counter

        text = "1 while the Redis of --state is asked, else 0; of several workers, 0 if one cannot ask it."
        self.show("gateway_state_up", text, is_up)
        text = "Answers of the Redis of --state that did not come, by reason: connection, refused, timeout."
        errors = Counter("gateway_state_errors_total", text, ["reason"], registry=self.registry)
        for reason in ("connection", "refused", "timeout"):
            errors.labels(reason)
        return lambda reason: errors.labels(reason).inc()

    def show_cache(self, entries: Callable[[], int], size_bytes: Callable[[], int]) -> None:
        """Show what is kept of answers."""
        text = "Answers that are kept, those included whose time is over and whose room nobody needed."
        self.show("gateway_cache_entries", text, entries)
        self.show("gateway_cache_bytes", "Bytes that kept answers take, as counted for --cache-size.", size_bytes)

    def hear(self, ended: Sequence[EndedRow]) -> None:
        """Count finished requests with their attempts and tokens."""
        for report, operation, status, stream, _, error, _, seconds, ended_at in ended:
            attempts, content_s = report.attempts, report.first_content_s
            if len(attempts) == 1 and (only := attempts[0]).kind is None:
                if content_s is None:
                    self._requests.add(report.alias, operation, status, seconds, report.tokens, only.label)
                else:
                    self._requests.add_stream(
                        report.alias, operation, status, seconds, report.tokens, only.label, content_s, only.ms
                    )
                if only.key is not None:
                    self._count_key(only)
            else:
                self._count_one_by_one(report, operation, status, seconds)
            if report.cache is not None:
                self._cache.counts[report.alias, report.cache] += 1
            if error is not None:
                self._count_error(report, error, is_broken=stream and content_s is not None)
            limits = report.limits
            if limits is not None and limits.limited is not None:
                self._limited.counts[limits.group, limits.limited, "refused" if error in LIMITED else "sent_on"] += 1
            if report.trace_id is not None and report.alias:
                self._exemplify(report, report.trace_id, seconds, ended_at)

    def _count_one_by_one(self, report: CallReport, operation: str, status: int, seconds: float) -> None:
        """Count a request of several attempts, or of one that failed, or of none."""
        for attempt in report.attempts:
            self._attempts.counts[attempt.kind or "ok", attempt.label] += 1
            if attempt.key is not None:
                self._count_key(attempt)
            if attempt.hedge:
                self._hedge_calls.counts[report.alias, attempt.kind or "ok", attempt.label] += 1
        if report.closed_tokens is not None:
            for direction, tokens in _by_direction(report.closed_tokens):
                self._hedge_tokens.counts[report.alias, direction] += tokens
        answered = _answering(report)
        if report.alias and answered is not None:
            for direction, tokens in _by_direction(report.tokens or {}):
                if tokens:
                    self._tokens.counts[report.alias, direction, answered.label] += tokens
            if status < 400:
                self._answers.counts[report.alias, "yes" if report.fell_back else "no", answered.label] += 1
            if report.first_content_s is not None:
                self._called.add(answered.label, answered.ms / 1000)
        if report.first_content_s is None:
            self._requests.add(report.alias, operation, status, seconds, None, "")
        else:
            self._requests.add_stream(report.alias, operation, status, seconds, None, "", report.first_content_s, 0.0)

    def _count_key(self, attempt: Attempt) -> None:
        provider = attempt.label.partition("/")[0]
        self._key_attempts.counts[attempt.key, attempt.kind or "ok", provider] += 1

    def _count_error(self, report: CallReport, error: str, *, is_broken: bool) -> None:
        if is_broken:
            label = "" if report.target is None else report.target.label
            self._broken_streams.counts[report.alias, error, label] += 1
        elif error in REFUSALS:
            self._refused.counts[error,] += 1

    def _exemplify(self, report: CallReport, trace_id: str, seconds: float, at: float) -> None:
        self._seconds.exemplify(report.alias, seconds, trace_id, at)
        answered = _answering(report)
        if report.first_content_s is not None and answered is not None:
            self._first_content.exemplify(report.alias, report.first_content_s, trace_id, at)
            self._called.exemplify(answered.label, answered.ms / 1000, trace_id, at)

    def count_closed(self) -> None:
        """Count a connection that was closed without an answer, since too many are open."""
        self._refused.counts[UNANSWERED,] += 1

    def count_shadow(self, report: CallReport, *, target: Target, kind: str) -> None:
        """Count a request that was sent to a shadow, or dropped on the way there, with its tokens."""
        self._shadow_calls.counts[report.alias, kind, target.label] += 1
        for direction, tokens in _by_direction(report.tokens or {}):
            self._shadow_tokens.counts[report.alias, direction] += tokens

    def count_reload(self, *, ok: bool) -> None:
        """Count one reload of a changed config file. May be called from any thread."""
        self._reloads.labels("ok" if ok else "refused").inc()

    def show_config(self, *, ok: bool, in_sync: bool, good_at: float, generation: int, digest: str) -> None:
        """Set the metrics of the config file. `good_at`: seconds since the epoch."""
        self._config_ok.set(ok)
        self._config_in_sync.set(in_sync)
        self._config_at.set(good_at)
        self._generation.set(generation)
        self._config.info({"digest": digest})

    def show_cooldowns(
        self, targets: Mapping[str, bool], keys: Mapping[tuple[str, str], bool], aliases: Mapping[str, bool]
    ) -> None:
        """Set target label, (key, provider) and alias → whether it is in cooldown. All others are dropped."""
        self._cooldowns.values = {(target,): int(cooling) for target, cooling in targets.items()}
        self._key_cooldowns.values = {key: int(cooling) for key, cooling in keys.items()}
        self._alias_cooldowns.values = {(alias,): int(cooling) for alias, cooling in aliases.items()}

    def show_limits(self, used: Mapping[tuple[str, ...], float]) -> None:
        """Set (limit, name of its owner, kind of owner) → the part that is used. All others are dropped."""
        self._limits_used.values = used


def _answering(report: CallReport) -> Attempt | None:
    return next((attempt for attempt in report.attempts if attempt.kind is None), None)


def _by_direction(tokens: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the tokens by direction; a total that was told alone has none."""
    return [(direction, tokens[direction]) for direction in DIRECTIONS if direction in tokens]
