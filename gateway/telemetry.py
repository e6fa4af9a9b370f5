"""JSON log lines, Prometheus metrics, and the ids that tie a request to both."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TextIO, TypeVar

import orjson

from gateway.types import CallReport, Json, JsonObject

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

_Metric = TypeVar("_Metric", bound="MetricWrapperBase")

log = logging.getLogger("gateway.access")

FRAMES: Final = 20
"""How many frames of a traceback a log line holds, the innermost ones."""

LATENCY_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

_OWN_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_TALKATIVE: Final = ("LiteLLM", "httpx", "openai", "py.warnings")
"""Loggers of libraries that write prompts, keys or URLs into their messages."""

_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def request_id(given: str | None) -> str:
    """Return the client's own id if it is printable ASCII without blanks, of at most 128 characters; else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"req_{secrets.token_hex(16)}"


def traceparent(given: str | None) -> str | None:
    """Return a well-formed `traceparent` as it is, else None (https://www.w3.org/TR/trace-context/#traceparent-header)."""
    return given if given is not None and _TRACEPARENT.fullmatch(given) else None


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, event, then the fields of `extra`.

    Of an exception only types and places are written: its text may hold a prompt.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line: JsonObject = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
        }
        for name, value in record.__dict__.items():
            if name not in _OWN_ATTRIBUTES:
                line.setdefault(name, value)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"], line["traceback"] = _types(record.exc_info[1]), _places(record.exc_info[1])
        return _encode(line)


def configure_logging(level: str, *, stream: TextIO | None = None) -> None:
    """Send every log record to `stream` (standard error) as JSON: ours from `level` up, other libraries' from WARNING.

    Replaces the handlers of the root logger.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_is_discreet)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # Not in our lines, so not worth gathering for each (https://docs.python.org/3/howto/logging.html#optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def log_request(
    report: CallReport, *, operation: str, status: int, ms: float, stream: bool, client: str | None, error: str | None
) -> None:
    """Write the one line of a finished request. Probes that went well are for DEBUG."""
    level = logging.DEBUG if operation == "probe" and status < 400 else logging.INFO
    if not log.isEnabledFor(level):
        return
    fields: JsonObject = {
        "request_id": report.request_id,
        "operation": operation,
        "alias": report.alias or None,
        "target": report.target.name if report.target else None,
        "status": status,
        "ms": round(ms, 1),
        "stream": stream,
        "generation": report.generation or None,
        "attempts": [attempt.public() for attempt in report.attempts],
    }
    if report.calling is not None:
        fields["calling"] = report.calling.name
    if report.usage:
        fields["tokens"] = {side: count for side, count in tokens(report.usage).items() if count is not None}
    if client is not None:
        fields["client"] = client
    if error is not None:
        fields["error"] = error
    # Not `log.log`: it walks the stack for the caller's line, at every request.
    log.handle(log.makeRecord(log.name, level, "", 0, "request", (), None, extra=fields))


def tokens(usage: Mapping[str, Json]) -> dict[str, int | None]:
    """Return the `prompt` and `completion` counts of an upstream's usage; None for what is no sane count."""
    counts = {"prompt": usage.get("prompt_tokens"), "completion": usage.get("completion_tokens")}
    return {side: count if type(count) is int and 0 <= count < 2**53 else None for side, count in counts.items()}


class Metrics:
    """One gateway's metrics, in a registry of their own. Labels come from the routing table, never from a client."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "gateway_requests_total",
            "Requests by alias, operation and HTTP status; 499 when the client left.",
            ["alias", "operation", "status"],
            registry=registry,
        )
        self._attempts = Counter(
            "gateway_attempts_total",
            "Calls of targets by how they ended: ok, or the kind of the failure; `cooldown` when passed over.",
            ["target", "kind"],
            registry=registry,
        )
        self._seconds = Histogram(
            "gateway_request_seconds",
            "Seconds from a request's arrival to the end of its answer.",
            ["alias"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._first_content = Histogram(
            "gateway_first_content_seconds",
            "Seconds from a streaming request's arrival to the first content.",
            ["alias"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._tokens = Counter(
            "gateway_tokens_total",
            "Tokens as the answering targets reported them.",
            ["alias", "direction"],
            registry=registry,
        )
        self.in_flight = Gauge("gateway_in_flight", "Model requests being answered now.", registry=registry)
        self._config_ok = Gauge(
            "gateway_config_last_reload_successful",
            "1 if the config file as last read is what runs, else 0.",
            registry=registry,
        )
        self._config_at = Gauge(
            "gateway_config_last_reload_success_timestamp_seconds",
            "When the config file was last read and found good.",
            registry=registry,
        )
        self._cooldowns = Gauge(
            "gateway_target_cooldown",
            "1 while a target is left alone after failures, else 0; for a wildcard's, while any of its models is.",
            ["target"],
            registry=registry,
        )
        self._generation = Gauge(
            "gateway_config_generation", "Generation of the live routing table.", registry=registry
        )
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
        self._child = lru_cache(maxsize=4096)(_labelled)

    def count_request(self, report: CallReport, *, operation: str, status: int, seconds: float) -> None:
        """Count a finished request with its attempts and tokens."""
        alias = report.alias
        self._child(self._requests, alias, operation, status).inc()
        for attempt in report.attempts:
            self._child(self._attempts, attempt.label, attempt.kind or "ok").inc()
        if not alias:
            return
        self._child(self._seconds, alias).observe(seconds)
        if report.first_content_s is not None:
            self._child(self._first_content, alias).observe(report.first_content_s)
        if report.usage:
            for side, count in tokens(report.usage).items():
                if count:
                    self._child(self._tokens, alias, side).inc(count)

    def count_reload(self, *, ok: bool) -> None:
        """Count one look at the config file that said something new. May be called from any thread."""
        self._reloads.labels("ok" if ok else "refused").inc()

    def show_config(self, *, ok: bool, good_at: float, generation: int, digest: str) -> None:
        """Set what is known about the config file; `good_at` is in seconds since the epoch."""
        self._config_ok.set(ok)
        self._config_at.set(good_at)
        self._generation.set(generation)
        self._config.info({"digest": digest})

    def show_cooldowns(self, cooldowns: Mapping[str, bool]) -> None:
        """Set which targets, by label, are in cooldown. Any other target is forgotten."""
        self._cooldowns.clear()
        for target, cooling in cooldowns.items():
            self._cooldowns.labels(target).set(cooling)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics in the exposition format that `accept` asks for, and its content type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


def _labelled(metric: _Metric, *labels: object) -> _Metric:
    return metric.labels(*labels)


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def _types(exc: BaseException | None) -> list[str]:
    """Name the types of an exception and of those that led to it."""
    names: list[str] = []
    while exc is not None and len(names) < FRAMES:
        names.append(type(exc).__name__)
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    return names


def _places(exc: BaseException) -> list[str]:
    frames = traceback.walk_tb(exc.__traceback__)
    return [f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in frames][-FRAMES:]


def _is_discreet(record: logging.LogRecord) -> bool:
    return not record.name.startswith(_TALKATIVE)


def _encode(line: JsonObject) -> str:
    try:
        return orjson.dumps(line, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # such as half a surrogate pair, which orjson refuses
        return json.dumps(line, default=_plain, skipkeys=True)


def _plain(value: object) -> Json:
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)
