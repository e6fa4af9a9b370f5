"""Which requests have a line in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.telemetry.ids import is_in_share
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.report import NO_FALL

SLOW_S: Final = 10.0
"""A request is slow whose first content, or whole plain answer, took longer."""


@dataclass(frozen=True, slots=True)
class AccessLog:
    """The value of `--access-log`."""

    share: float
    """Share of the ordinary requests that have a line, from 0 to 1: of each, all workers and replicas decide alike."""
    has_noteworthy: bool
    """Requests that failed, broke off, fell over or were slow have a line, whatever the share."""

    @property
    def is_whole(self) -> bool:
        """Every request has a line, so that none has to be asked for."""
        return self.share >= 1.0 and self.has_noteworthy

    def has(self, row: EndedRow) -> bool:
        """Tell whether a request has a line."""
        if self.has_noteworthy and is_noteworthy(row):
            return True
        return self.share > 0.0 and is_in_share(row[0].request_id, self.share)


ALL: Final = AccessLog(1.0, has_noteworthy=True)
NOTEWORTHY: Final = AccessLog(0.0, has_noteworthy=True)
OFF: Final = AccessLog(0.0, has_noteworthy=False)


def is_noteworthy(row: EndedRow) -> bool:
    """Tell whether a request failed, broke off, fell over or was slow."""
    report, _, status, _, _, error, _, seconds, _ = row
    if status >= 400 or error is not None:
        return True
    if (seconds if report.first_content_s is None else report.first_content_s) > SLOW_S:
        return True
    for attempt in report.attempts:  # noqa: SIM110 - a generator takes twice as long
        if attempt.kind not in NO_FALL:
            return True
    return False
