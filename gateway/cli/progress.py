"""A line on standard error while a command works long: on a terminal alone, after a while, and gone at the end.

A thread of its own draws it, so that it is there in the middle of a long step too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Final, TextIO

from gateway.words import cut, printable

AFTER_S: Final = 0.5
"""A command that takes less shows none."""
EVERY_S: Final = 0.2
_BEGIN: Final = "\r\x1b[K"
"""ECMA-48: back to the first column, and the line is empty."""


class Progress:
    """What a command does now."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._began_s = time.monotonic()
        self._is_shown = False
        self._lock = Lock()
        self._ended = Event()

    def say(self, text: str) -> None:
        """Tell what is done now, such as `case 3 of 40`."""
        self._text = text

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Keep the line away while the block prints."""
        with self._lock:
            self._clear()
            yield

    def draw(self) -> None:
        """Show what is done until the end, once it has taken a while."""
        if self._ended.wait(AFTER_S):
            return
        while True:
            with self._lock:
                seconds = int(time.monotonic() - self._began_s)
                width = os.get_terminal_size(self._stream.fileno()).columns or 80
                self._put(_BEGIN + cut(printable(f"{self._text} ({seconds}s)"), width - 1))
                self._is_shown = True
            if self._ended.wait(EVERY_S):
                break
        with self._lock:
            self._clear()

    def end(self) -> None:
        """Have `draw` take its line away and return."""
        self._ended.set()

    def _clear(self) -> None:
        if self._is_shown:
            self._put(_BEGIN)
            self._is_shown = False

    def _put(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def is_watched(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether somebody looks at a stream: at a terminal that can move its cursor, and not in CI."""
    return stream.isatty() and environ.get("TERM") != "dumb" and not environ.get("CI")


@contextmanager
def progress(stream: TextIO, environ: Mapping[str, str]) -> Iterator[Progress]:
    """Show what the block does on `stream`, if somebody looks at it. Elsewhere it costs nothing."""
    made = Progress(stream)
    if not is_watched(stream, environ):
        yield made
        return
    drawing = Thread(target=made.draw, daemon=True)
    drawing.start()
    try:
        yield made
    finally:
        made.end()
        drawing.join()
