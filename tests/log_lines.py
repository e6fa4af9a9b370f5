"""A log as the server writes it, for the length of a block."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.telemetry import logs
from gateway.telemetry.access_log import ALL, AccessLog


@contextmanager
def logging_to(
    stream: io.StringIO, level: str = "info", *, form: logs.Form | None = None, access: AccessLog = ALL
) -> Iterator[None]:
    """Write the log to `stream` as the server does; afterwards all is as it was."""
    root, ours = logging.getLogger(), logging.getLogger("gateway")
    before = (root.handlers[:], root.level, ours.level)
    gathered = (logging.logThreads, logging.logProcesses, logging.logMultiprocessing)
    lines = logs._lines
    logs.configure_logging(level, stream=stream, form=form, access=access)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:], root.level, ours.level = before
        logs._lines = lines
        logging.logThreads, logging.logProcesses, logging.logMultiprocessing = gathered
