"""Log lines: JSON, or another form that the caller has; of all requests, or of some."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol, TextIO

import orjson

from gateway.telemetry.access_log import ALL, AccessLog
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.report import Attempt
from gateway.telemetry.writing import LineWriter
from gateway.wire.json import Json, JsonObject

log = logging.getLogger("gateway.access")

FRAMES: Final = 20
"""Number of innermost frames of a traceback in a log line."""

AGAIN_S: Final = 0.1
"""Seconds until lines that wait for the log's reader are tried again."""
CLOSE_S: Final = 1.0
"""Seconds that the reader has for the last lines."""

_OWN_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_OF_THE_RECORD: Final = frozenset({"time", "level", "logger", "event"})
"""Fields of a line that a record has as attributes of its own."""
_TALKATIVE: Final = ("LiteLLM", "httpx", "openai", "py.warnings")
"""Loggers of libraries whose messages contain prompts, keys or URLs. Never logged."""


class Form(Protocol):
    """How log lines look."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record without a line end."""

    def line(self, fields: JsonObject) -> bytes:
        """Return the line of a request with its end, of the fields that its JSON has."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, event, then the fields of `extra`.

    Of an exception only types and frames are written: its text may contain a prompt.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without a line end."""
        return as_json(fields_of(record))

    def line(self, fields: JsonObject) -> bytes:
        """Return the line of a request, in half the time per key, since all keys are text."""
        try:
            return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            return f"{as_json(fields)}\n".encode()


def fields_of(record: logging.LogRecord) -> JsonObject:
    """Return the fields of a record's line, in order. The values of `extra` may be any objects."""
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
    return line


class _Lines(logging.Handler):
    """Writes log lines. Lines of requests come as text, those of a turn of the event loop together.

    Nothing waits for the log's reader: lines that it does not take are dropped, and their number is told once it reads.
    """

    def __init__(self, stream: TextIO | None, form: Form, access: AccessLog) -> None:
        """`stream` is written to by its descriptor, if it has one; None drops everything."""
        super().__init__()
        self._form = form
        self.line = form.line
        self.access = access
        self.left_out = 0
        """Requests without a line, because of `access`."""
        self._stream = stream
        self._writer = _writer_for(stream)
        self._waiting: list[bytes] = []
        """Lines with their ends."""
        self._asked_again = False
        self.is_info = True
        """Lines of requests are wanted. A logger's `isEnabledFor` takes longer than to ask this."""

    @property
    def dropped(self) -> int:
        """Number of lines that were dropped."""
        return 0 if self._writer is None else self._writer.dropped

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record without a line end."""
        return self._form.format(record)

    def write(self, lines: Sequence[bytes]) -> None:
        """Write lines at once, all in one."""
        self._waiting += lines
        self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - the fields may be any objects
            line = as_json({"level": "error", "logger": record.name, "event": "a record that cannot be written"})
        self._waiting.append(f"{line}\n".encode())
        self.flush()

    def flush(self) -> None:
        """Write the waiting lines."""
        with self.lock or nullcontext():
            if self._waiting:
                lines, self._waiting = self._waiting, []
                self._put(b"".join(lines))
            elif self._writer is not None:
                self._writer.catch_up()
            if self._writer is not None and (self._writer.is_behind or self._writer.untold):
                self._look_after(self._writer)

    def close(self) -> None:
        """Write the waiting lines, as far as their reader takes them soon. Later lines are dropped."""
        self.flush()
        with self.lock or nullcontext():
            if self._writer is not None:
                self._writer.close(CLOSE_S)
        super().close()

    def _put(self, lines: bytes) -> None:
        if self._writer is not None:
            self._writer.write(lines)
        elif self._stream is not None:
            with suppress(OSError, ValueError):  # it may be closed
                self._stream.write(lines.decode())
                self._stream.flush()

    def _look_after(self, writer: LineWriter) -> None:
        """Tell how many lines were dropped once the reader has caught up; try again soon if it has not."""
        if writer.untold and writer.is_read and not writer.is_behind:
            fields = {"lines": writer.untold}
            writer.untold = 0
            line = log.makeRecord(__name__, logging.WARNING, "", 0, "log lines were dropped", (), None, extra=fields)
            self._put(f"{self.format(line)}\n".encode())
        if writer.is_behind and not self._asked_again:
            with suppress(RuntimeError):  # in another thread: the next line tries again
                asyncio.get_running_loop().call_later(AGAIN_S, self._try_again)
                self._asked_again = True

    def _try_again(self) -> None:
        self._asked_again = False
        self.flush()


def _writer_for(stream: TextIO | None) -> LineWriter | None:
    """Return the writer for a stream with a descriptor; None for a stream in memory, or for none."""
    if stream is None:
        return None
    try:
        stream.flush()
        return LineWriter(stream.fileno())
    except (OSError, ValueError):
        return None


_lines: _Lines | None = None
"""The handler for lines of requests; None if logging was not configured here."""


def dropped_lines() -> int:
    """Return the number of log lines that were dropped, because nobody read them in time."""
    return 0 if _lines is None else _lines.dropped


def left_out_requests() -> int:
    """Return the number of requests without a log line, since the access log is of some requests only."""
    return 0 if _lines is None else _lines.left_out


def configure_logging(
    level: str, *, stream: TextIO | None = None, form: Form | None = None, access: AccessLog = ALL
) -> None:
    """Send log records to `stream` (standard error) in a `form` (JSON): ours from `level` up, others' from WARNING up.

    `access` says which requests have a line. Replaces the handlers of the root logger.
    """
    global _lines
    if _lines is not None:
        _lines.close()
    handler = _lines = _Lines(stream or sys.stderr, form or JsonFormatter(), access)
    handler.addFilter(lambda record: not record.name.startswith(_TALKATIVE))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(level.upper())
    handler.is_info = log.isEnabledFor(logging.INFO)
    logging.captureWarnings(capture=True)
    # Not in our lines, so not collected (https://docs.python.org/3/howto/logging.html#optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def log_ended(ended: Sequence[EndedRow], *, event: str = "request") -> None:
    """Write the lines of finished requests, as far as the access log has them; at DEBUG for a successful probe.

    `event` is `shadow` for what a shadow got. Where logging was not configured here, as in a host's process, each is a
    record of the logger `gateway.access` with the same fields.
    """
    lines: list[bytes] = []
    handler = _lines
    if not (log.isEnabledFor(logging.INFO) if handler is None else handler.is_info):
        return
    some = None if handler is None or handler.access.is_whole else handler.access
    for row in ended:
        report, operation, status, stream, client, error, asked, seconds, ended_at = row
        level = "info"
        if operation == "probe" and status < 400:
            level = "debug"
            if not log.isEnabledFor(logging.DEBUG):
                continue
        if some is not None and handler is not None and not some.has(row):
            handler.left_out += 1
            continue
        line: JsonObject = {
            "time": timestamp(ended_at),
            "level": level,
            "logger": log.name,
            "event": event,
            "request_id": report.request_id,
            "operation": operation,
            "alias": report.alias or None,
            "target": report.target.name if report.target else None,
            "status": status,
            "ms": round(seconds * 10_000) / 10,  # faster than `round(ms, 1)`
            "stream": stream,
            "generation": report.generation or None,
            "attempts": list(map(Attempt.logged, report.attempts)),
        }
        if report.first_content_s is not None:
            line["first_content_ms"] = round(report.first_content_s * 10_000) / 10
        if report.calling is not None:
            line["calling"] = report.calling.name
        if report.tokens is not None:
            line["tokens"] = report.tokens
        if report.closed_tokens is not None:
            line["closed_tokens"] = report.closed_tokens
        if client is not None:
            line["client"] = client
        if report.limits is not None:
            line["group"] = report.limits.group
            if report.limits.limited is not None:
                line["limited"] = report.limits.limited
        if report.cache is not None:
            line["cache"] = report.cache
        if report.sticky is not None:
            line["sticky"] = report.sticky
        if report.trace_id is not None:
            line["trace_id"] = report.trace_id
        if asked is not None:
            line["method"], line["path"] = asked
        if error is not None:
            line["error"] = error
        if handler is None:
            number = logging.DEBUG if level == "debug" else logging.INFO
            log.log(number, line["event"], extra={name: line[name] for name in line.keys() - _OF_THE_RECORD})
        else:
            # Not through a logger, whose record costs as much as the line.
            lines.append(handler.line(line))
    if handler is not None and lines:
        handler.write(lines)


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


def as_json(value: object) -> str:
    """Return a line, or a value of one, as JSON, whatever objects it has in it."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # such as for a lone surrogate
        return json.dumps(value, default=_plain, skipkeys=True)


def _plain(value: object) -> Json:
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)
