"""JSON log lines, Prometheus metrics, and the ids that tie a request to both."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import sys
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TextIO

import orjson

from gateway.telemetry.counters import Counts, Requests, Tallies, Times
from gateway.types import Attempt, CallReport, Json, JsonObject

log = logging.getLogger("gateway.access")

FRAMES: Final = 20
"""How many frames of a traceback a log line holds, the innermost ones."""

_OWN_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_TALKATIVE: Final = ("LiteLLM", "httpx", "openai", "py.warnings")
"""Loggers of libraries that write prompts, keys or URLs into their messages."""

_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def request_id(given: str | None) -> str:
    """Return the client's own id if it is printable ASCII without blanks, of at most 128 characters; else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"req_{random.getrandbits(128):032x}"


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


class _Lines(logging.StreamHandler[TextIO]):
    """Writes log lines. Those of requests come as text, and leave together at the end of the event loop's turn."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._waiting: list[str] = []

    def write(self, line: str) -> None:
        """Write a line soon: at once outside an event loop, and always before any that is logged later."""
        self._waiting.append(line)
        if len(self._waiting) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self.flush)
        except RuntimeError:
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.flush()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits."""
        with self.lock or nullcontext():
            if self._waiting:
                lines, self._waiting = self._waiting, []
                try:
                    self.stream.write("\n".join(lines) + "\n")
                except (OSError, ValueError):
                    self.handleError(logging.makeLogRecord({"msg": "request"}))
            super().flush()


_lines: _Lines | None = None
"""Where the lines of requests go; None where logging was not configured here."""


def configure_logging(level: str, *, stream: TextIO | None = None) -> None:
    """Send every log record to `stream` (standard error) as JSON: ours from `level` up, other libraries' from WARNING.

    Replaces the handlers of the root logger.
    """
    global _lines
    handler = _lines = _Lines(stream or sys.stderr)
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
    report: CallReport,
    *,
    operation: str,
    status: int,
    ended_at: float,
    ms: float,
    stream: bool,
    client: str | None,
    error: str | None,
) -> None:
    """Write the one line of a finished request, soon. Probes that went well are for DEBUG.

    `ended_at` is in seconds since the epoch.
    """
    level = logging.DEBUG if operation == "probe" and status < 400 else logging.INFO
    if _lines is None or not log.isEnabledFor(level):
        return
    line: JsonObject = {
        "time": timestamp(ended_at),
        "level": "debug" if level == logging.DEBUG else "info",
        "logger": log.name,
        "event": "request",
        "request_id": report.request_id,
        "operation": operation,
        "alias": report.alias or None,
        "target": report.target.name if report.target else None,
        "status": status,
        "ms": round(ms * 10) / 10,  # to one decimal `round` goes by way of text
        "stream": stream,
        "generation": report.generation or None,
        "attempts": list(map(Attempt.public, report.attempts)),
    }
    if report.calling is not None:
        line["calling"] = report.calling.name
    if report.tokens is not None:
        line["tokens"] = report.tokens
    if client is not None:
        line["client"] = client
    if error is not None:
        line["error"] = error
    # Not through a logger: its record costs as much as the line itself.
    _lines.write(_encode_plain(line))


class Metrics:
    """One gateway's metrics, in a registry of their own. Labels come from the routing table, never from a client."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector

        self._registry = registry = CollectorRegistry()
        requests = Counts(
            "gateway_requests_total",
            "Requests by alias, operation and HTTP status; 499 when the client left.",
            ["alias", "operation", "status"],
        )
        self._attempts = Counts(
            "gateway_attempts_total",
            "Calls of targets by how they ended: ok, or the kind of the failure; `cooldown` when passed over.",
            ["target", "kind"],
        )
        seconds = Times(
            "gateway_request_seconds", "Seconds from a request's arrival to the end of its answer.", "alias"
        )
        self._first_content = Times(
            "gateway_first_content_seconds",
            "Seconds from a streaming request's arrival to the first content.",
            "alias",
        )
        tokens = Counts(
            "gateway_tokens_total", "Tokens as the answering targets reported them.", ["alias", "direction"]
        )
        self._requests = Requests(requests, self._attempts, seconds, tokens)
        registry.register(Tallies(requests, self._attempts, seconds, self._first_content, tokens))
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

    def count_request(self, report: CallReport, *, operation: str, status: int, seconds: float) -> None:
        """Count a finished request with its attempts and tokens."""
        attempts = report.attempts
        if len(attempts) == 1 and attempts[0].kind is None:
            self._requests.add(report.alias, operation, status, seconds, report.tokens, attempts[0].label)
        else:
            self._requests.add(report.alias, operation, status, seconds, report.tokens)
            for attempt in attempts:
                self._attempts.counts[attempt.label, attempt.kind or "ok"] += 1
        if report.first_content_s is not None:
            self._first_content.add(report.alias, report.first_content_s)

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

        self._requests.settle()
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC, to the millisecond."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return _second(whole) + _THOUSANDTHS[thousandths]


_THOUSANDTHS: Final = tuple(f".{thousandths:03d}Z" for thousandths in range(1000))


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


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


def _encode_plain(line: JsonObject) -> str:
    """Encode a line whose keys are text. Being ready for others makes each key take twice as long."""
    try:
        return orjson.dumps(line).decode()
    except TypeError:
        return _encode(line)


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
