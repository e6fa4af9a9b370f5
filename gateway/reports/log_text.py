"""Log lines for people: `--log-format text`.

A line of a request says, in this order: when it ended, its status, what was asked for, the attempts with their kinds,
the error, times, tokens, client and id. What a client or an upstream may have written is escaped, so that nobody can
forge a line or a colour.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.policy.problem import Told
from gateway.reports.attempts import chain
from gateway.reports.problems import PLAIN, Painter, as_text
from gateway.telemetry.logs import as_json, fields_of
from gateway.telemetry.report import CLIENT_GONE, NO_FALL
from gateway.wire.json import Json, JsonObject
from gateway.words import printable

_OF_EVERY_LINE: Final = frozenset({"time", "level", "logger", "event"})
_REQUESTS: Final = "gateway.access"
_OF_REQUESTS: Final = frozenset({"request", "shadow"})
_PLAIN_WORD: Final = re.compile(r"[^\s\"'=·\\]+")
"""What needs no quotes."""
_LINES: Final = frozenset({"problems", "traceback"})
"""Fields whose values are lines of their own below."""


class TextFormatter(logging.Formatter):
    """One line for each record, and lines below it that begin with two blanks for problems and tracebacks."""

    def __init__(self, painter: Painter = PLAIN, *, dated: bool = True) -> None:
        """`dated`: lines have the day. On a terminal it would be the same on each."""
        super().__init__()
        self._painter = painter
        self._time = slice(0 if dated else len("2026-11-29T"), None)

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines without the last line end."""
        fields = fields_of(record)
        if record.name == _REQUESTS and record.msg in _OF_REQUESTS and "attempts" in fields:
            return self._request(fields)
        return "\n".join(self._event(fields))

    def line(self, fields: JsonObject) -> bytes:
        """Return the line of a request with its end."""
        return f"{self._request(fields)}\n".encode()

    def _request(self, line: JsonObject) -> str:
        painter = self._painter
        asked = [line["operation"], *(["stream"] if line["stream"] else [])]
        if line.get("path"):
            asked = [_word(line["method"]), _word(line["path"])]
        elif line["alias"]:
            asked.append(painter.place(_word(line["alias"])))
        if line["event"] != "request":
            asked.insert(0, line["event"])
        attempts = chain(line["attempts"], line.get("calling"), painter)
        head = f"{line['time'][self._time]} {self._status(line)} {' '.join(asked)}"
        return " · ".join([f"{head}: {attempts}" if attempts else head, *self._rest(line)])

    def _status(self, line: JsonObject) -> str:
        status, painter = line["status"], self._painter
        if status >= 500 or (line.get("error") and "first_content_ms" in line):
            return painter.error(str(status))
        fell = any(each["kind"] not in NO_FALL for each in line["attempts"])
        return (painter.warning if status >= 400 or fell else painter.good)(str(status))

    def _rest(self, line: JsonObject) -> Iterator[str]:
        if error := line.get("error"):
            broken = " after the first content" if "first_content_ms" in line else ""
            paint = self._painter.error if line["status"] >= 500 or broken else self._painter.warning
            yield paint(f"{_word(error)}{broken}")
        elif line["status"] == CLIENT_GONE:
            yield self._painter.warning("the client left")
        yield f"{line['ms']:g}ms"
        if "first_content_ms" in line:
            yield f"first content {line['first_content_ms']:g}ms"
        if tokens := line.get("tokens"):
            yield _tokens(tokens)
        if closed := line.get("closed_tokens"):
            yield f"{_tokens(closed)} of closed calls"
        if line.get("cache"):
            yield f"cache {_word(line['cache'])}"
        if line.get("sticky"):
            yield f"sticky by {_word(line['sticky'])}"
        if line.get("limited"):
            yield self._painter.warning(f"limited by {_word(line['limited'])}")
        if line.get("client"):
            yield f"client {_word(line['client'])}"
        if line.get("group"):
            yield f"group {_word(line['group'])}"
        if line.get("trace_id"):
            yield f"trace {_word(line['trace_id'])}"
        yield _word(line["request_id"])

    def _event(self, line: JsonObject) -> Iterator[str]:
        level = line["level"]
        paint = {"error": self._painter.error, "critical": self._painter.error, "warning": self._painter.warning}
        event = paint.get(level, str)(f"{level} {printable(line['event'])}")
        whose = [] if line["logger"].partition(".")[0] == "gateway" else [f"logger={_word(line['logger'])}"]
        fields = [
            f"{_word(name)}={_value(value)}"
            for name, value in line.items()
            if name not in _OF_EVERY_LINE and name not in _LINES and value is not None
        ]
        yield " ".join([line["time"][self._time], event, *whose, *fields])
        if "problems" in line:
            yield from map(_below, self._problems(line["problems"]))
        for place in line.get("traceback", ()):
            yield _below(printable(place))

    def _problems(self, problems: Json) -> Iterator[str]:
        if isinstance(problems, Told):
            for problem in problems.listed:
                yield from as_text(problem, self._painter).split("\n")
            if problems.more:
                yield problems.more
        else:
            yield from map(printable, str(problems).split("\n"))


def _below(line: str) -> str:
    return f"  {line}"


def _tokens(tokens: Mapping[str, int]) -> str:
    """Return `12+34 tokens`: those of the prompt and of the completion; others by name."""
    both = f"{tokens.get('prompt', 0)}+{tokens.get('completion', 0)} tokens"
    others = [f"{count} {printable(name)}" for name, count in tokens.items() if name not in {"prompt", "completion"}]
    return f"{both} ({', '.join(others)})" if others else both


def _value(value: Json) -> str:
    if isinstance(value, str):
        return _word(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(map(_word, value))
    text = as_json(value)
    return _word(json.loads(text)) if text.startswith('"') else printable(text)


def _word(value: Json) -> str:
    """Return a text as one word, in quotes where it could be taken for several, without control characters."""
    text = str(value)
    if _PLAIN_WORD.fullmatch(text) and text.isprintable():
        return text
    return printable(json.dumps(text, ensure_ascii=False))
