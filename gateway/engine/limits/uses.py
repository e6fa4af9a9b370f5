"""What a request has used, once it ended, however it did: what its reservation is settled by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.adapters.base import Operation, Reply
from gateway.adapters.events import Event
from gateway.engine.limits.estimate import Estimate
from gateway.operations.content import BYTES_PER_TOKEN
from gateway.policy.failures import Kind
from gateway.telemetry.report import CallReport
from gateway.wire.json import Spliced

UNUSED: Final = frozenset(
    {
        Kind.CONNECTION,
        Kind.RATE_LIMIT,
        Kind.OVERLOADED,
        Kind.SERVER_ERROR,
        Kind.AUTH,
        Kind.BILLING,
        Kind.NOT_FOUND,
        Kind.CONTEXT_WINDOW,
        Kind.BAD_REQUEST,
    }
)
"""Kinds of failures that come before a model has written anything, unless content had come."""


def was_called(report: CallReport) -> bool:
    """Tell whether an upstream was called, or is being called."""
    return report.calls > 0 or report.calling is not None


def tokens_used(
    report: CallReport, expected: Estimate, *, answered: bool, whole: bool = True, text_bytes: int = 0
) -> tuple[int, int, int]:
    """Return the tokens of input and output that a request has used, and how many of the input were cached.

    1. An answer that is whole, by its usage.
    2. No tokens, if every call ended before content in a kind of UNUSED.
    3. Else, and where a usage lacks a count or has 0: `seen_tokens`. `text_bytes`: those of all that a model wrote in a
       stream that committed, or in a plain answer that does not tell its output.

    `answered`: a target gave a plain answer, or a stream that committed. `whole`: all of it came.
    """
    if answered and whole:
        return told_tokens(report.tokens, expected, text_bytes)
    if not answered:
        called = [attempt for attempt in report.attempts if attempt.was_called]
        if report.calling is None and all(
            attempt.kind in UNUSED and attempt.content_bytes is None for attempt in called
        ):
            return 0, 0, 0
        text_bytes += report.closed_bytes + sum(attempt.content_bytes or 0 for attempt in called)
    return seen_tokens(report.tokens if answered else report.tokens or report.closed_tokens, expected, text_bytes)


def told_tokens(told: Mapping[str, int] | None, expected: Estimate, text_bytes: int) -> tuple[int, int, int]:
    """Return the counts of a whole answer: input, output, and how many of the input were cached.

    Each is as it was told. One that was not, or as 0, which some servers tell of all answers, is what the input was
    expected to be, or the text that came, over 4; of a `total` that was told alone, at least what exceeds the input.
    """
    if not told:
        return seen_tokens(told, expected, text_bytes)
    given = told.get("prompt") or expected[0]
    output = told.get("completion") or max(text_bytes // BYTES_PER_TOKEN, told.get("total", 0) - given)
    return given, output, told.get("cached", 0)


def seen_tokens(told: Mapping[str, int] | None, expected: Estimate, text_bytes: int) -> tuple[int, int, int]:
    """Return the counts of an answer that is not whole, or has no usage.

    Of the input, what was told until then or was expected, of the output, what was told, a `total` that was told alone
    without the input, or the text that came over 4: whichever is more.
    """
    text = text_bytes // BYTES_PER_TOKEN
    if not told:
        return expected[0], text, 0
    given = max(told.get("prompt", 0), expected[0])
    return given, max(told.get("completion", 0), told.get("total", 0) - given, text), told.get("cached", 0)


def text_bytes_of(operation: Operation, reply: Reply, told: Mapping[str, int] | None) -> int:
    """Return the bytes of all that a model wrote in a plain answer that does not tell its output; 0 for one that does.

    A long answer whose texts are shortened is measured as it came.
    """
    if told and told.get("completion"):
        return 0
    if operation.generates_text and type(reply.raw) is Spliced:
        return len(reply.raw)
    return operation.written_bytes(reply.data)


class TextCount:
    """Counts what a model wrote in a stream's events. Those that are not parsed are measured by the bytes around it."""

    __slots__ = ("_operation", "_run", "_run_bytes", "_runs", "_text_bytes")

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._text_bytes = 0
        self._runs = 0
        self._run_bytes = 0
        self._run: Event | None = None
        """The newest event that is a run, by which all of its shape are measured."""

    def add(self, events: list[Event]) -> None:
        """Count further events."""
        for event in events:
            if event.is_run:
                if self._run is not None and self._run.shape is not event.shape:
                    self._text_bytes = self.bytes
                    self._runs = self._run_bytes = 0
                raw = event.raw or b""
                self._runs += raw.count(b"\n\n") or raw.count(b"\r\n\r\n")
                self._run_bytes += len(raw)
                self._run = event
            elif event.data is not None:
                self._text_bytes += self._operation.written_bytes(event.data)

    @property
    def bytes(self) -> int:
        """The bytes so far, roughly where events were not parsed."""
        run = self._run
        if run is None or not self._runs:
            return self._text_bytes
        singles = run.singly()
        written = sum(self._operation.written_bytes(event.data or {}) for event in singles)
        around = (len(run.raw or b"") - written) / len(singles)
        return self._text_bytes + max(0, round(self._run_bytes - around * self._runs))
