"""JSON log lines."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TextIO

import orjson

from gateway.telemetry.report import Attempt, CallReport
from gateway.wire.json import Json, JsonObject

log = logging.getLogger("gateway.access")

FRAMES: Final = 20
"""Number of innermost frames of a traceback in a log line."""

_OWN_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_OF_THE_RECORD: Final = frozenset({"time", "level", "logger", "event"})
"""Fields of a line that a record has as attributes of its own."""
_TALKATIVE: Final = ("LiteLLM", "httpx", "openai", "py.warnings")
"""Loggers of libraries whose messages contain prompts, keys or URLs. Never logged."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, event, then the fields of `extra`.

    Of an exception only types and frames are written: its text may contain a prompt.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without a line end."""
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
    """Writes log lines. Lines of requests come as text and are written together at the end of the event loop's turn."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._waiting: list[str] = []

    def write(self, line: str) -> None:
        """Write a line at the end of this turn, or at once outside an event loop; always before later log records."""
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
        """Write the waiting lines."""
        with self.lock or nullcontext():
            if self._waiting:
                lines, self._waiting = self._waiting, []
                try:
                    self.stream.write("\n".join(lines) + "\n")
                except (OSError, ValueError):
                    self.handleError(logging.makeLogRecord({"msg": "request"}))
            super().flush()


_lines: _Lines | None = None
"""The handler for lines of requests; None if logging was not configured here."""


def configure_logging(level: str, *, stream: TextIO | None = None) -> None:
    """Send log records to `stream` (standard error) as JSON: ours from `level` up, other libraries' from WARNING up.

    Replaces the handlers of the root logger.
    """
    global _lines
    handler = _lines = _Lines(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(lambda record: not record.name.startswith(_TALKATIVE))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # Not in our lines, so not collected (https://docs.python.org/3/howto/logging.html#optimization).
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
    asked: tuple[str, str] | None = None,
) -> None:
    """Write the line of a finished request soon; at DEBUG for a successful probe. `ended_at`: seconds since 1970.

    `asked`: method and path, where there is no such endpoint. Where logging was not configured here, as in a host's
    process, it is a record of the logger `gateway.access` with the same fields.
    """
    level = logging.DEBUG if operation == "probe" and status < 400 else logging.INFO
    if not log.isEnabledFor(level):
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
        "ms": round(ms * 10) / 10,  # faster than `round(ms, 1)`
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
    if asked is not None:
        line["method"], line["path"] = asked
    if error is not None:
        line["error"] = error
    if _lines is None:
        log.log(level, line["event"], extra={name: line[name] for name in line.keys() - _OF_THE_RECORD})
        return
    # Not through a logger, whose record costs as much as the line.
    _lines.write(_encode_plain(line))


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
    """Return the names of the types of an exception and its causes."""
    names: list[str] = []
    while exc is not None and len(names) < FRAMES:
        names.append(type(exc).__name__)
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    return names


def _places(exc: BaseException) -> list[str]:
    frames = traceback.walk_tb(exc.__traceback__)
    return [f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in frames][-FRAMES:]


def _encode_plain(line: JsonObject) -> str:
    """Encode a line whose keys are text, in half the time per key."""
    try:
        return orjson.dumps(line).decode()
    except TypeError:
        return _encode(line)


def _encode(line: JsonObject) -> str:
    try:
        return orjson.dumps(line, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # such as for a lone surrogate
        return json.dumps(line, default=_plain, skipkeys=True)


def _plain(value: object) -> Json:
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)
