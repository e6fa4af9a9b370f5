"""Writes lines to a descriptor without ever waiting for its reader: what does not fit is dropped and counted."""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TextIO

MAX_WAITING_BYTES: Final = 256 * 1024
"""Lines that wait for a reader who is behind. Further ones are dropped."""
PART_BYTES: Final = 64 * 1024
"""Most bytes of one write of waiting lines: what a pipe holds."""
PIECE_BYTES: Final = min(select.PIPE_BUF, 4096)
"""A pipe that is ready for writing takes this much at once."""

_LINE_END: Final = 0x0A


def open_lines(path: Path) -> TextIO:
    """Open a file that lines are added to; never wait for a reader of a pipe. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    return os.fdopen(descriptor, "w", encoding="utf-8")


class LineWriter:
    """Writes whole lines. Its owner sees to it that one thread at a time calls it."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` stays the caller's, and blocking: its flags are shared with other processes."""
        self._own: int | socket.socket | None = None
        """A second way to the same file that does not block; None where there is none."""
        self._write = self._way_to(descriptor)
        self._descriptor = descriptor
        self._waiting = bytearray()
        """Lines not written yet, the first perhaps in part."""
        self._is_within = False
        """The last write ended within a line."""
        self._is_cut = False
        """The rest of that line is lost: its end must come before the next one."""
        self.dropped = 0
        """Number of lines that nobody will see."""
        self.untold = 0
        """How many of them the log does not tell yet. Its owner resets it."""
        self.is_read = True
        """The last write did not fail; it may have found no room."""

    @property
    def is_behind(self) -> bool:
        """Lines wait for the reader."""
        return bool(self._waiting)

    def write(self, lines: bytes) -> None:
        """Write lines, each with its line end; keep what does not fit, and drop what would be too much."""
        if self._waiting:
            if len(self._waiting) + len(lines) > MAX_WAITING_BYTES:
                self.catch_up()
            if self._waiting and len(self._waiting) + len(lines) > MAX_WAITING_BYTES:
                self._drop(lines)
                return
            self._waiting += lines
            self.catch_up()
            return
        sent = self._send(lines)
        if sent < len(lines):
            self._waiting += lines[sent:]

    def catch_up(self, within_s: float = 0.0) -> None:
        """Write what waits, as far as the reader takes it within so many seconds."""
        ends_at = time.monotonic() + within_s
        while self._waiting:
            piece = bytes(self._waiting[:PART_BYTES])
            sent = self._send(piece)
            del self._waiting[:sent]
            if sent == len(piece):
                continue
            left_s = ends_at - time.monotonic()
            if left_s <= 0:
                return
            select.select((), (self._descriptor,), (), left_s)

    def close(self, within_s: float) -> None:
        """Write what waits, for so many seconds at most, and drop the rest and all that comes later."""
        self.catch_up(within_s)
        self._drop(self._waiting)
        self._waiting.clear()
        self._write = _refuse
        if isinstance(self._own, int):
            os.close(self._own)
        elif self._own is not None:
            self._own.close()
        self._own = None

    def _send(self, data: bytes) -> int:
        """Write; return how many bytes need no other write. Lines are dropped if nobody can ever read them."""
        size = len(data)
        sent = 0
        try:
            if self._is_cut:
                self._write(b"\n")
                self._is_cut = self._is_within = False
            while sent < size:
                sent += self._write(data[sent:] if sent else data)
                self._is_within = data[sent - 1] != _LINE_END
        except BlockingIOError:
            return sent
        except OSError:  # the reader is gone, or the disk is full
            self._drop(data[sent:])
            self._is_cut, self.is_read = self._is_within, False
            return size
        self.is_read = True
        return sent

    def _drop(self, lines: bytes | bytearray) -> None:
        count = lines.count(b"\n")
        self.dropped += count
        self.untold += count

    def _way_to(self, descriptor: int) -> Callable[[bytes], int]:
        """Return a function that writes some bytes at once, or raises BlockingIOError."""
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            return _refuse
        if stat.S_ISREG(mode):
            return partial(os.write, descriptor)
        if stat.S_ISSOCK(mode):
            self._own = connection = socket.socket(fileno=os.dup(descriptor))
            return lambda data: connection.send(data, socket.MSG_DONTWAIT)
        try:
            # Opened anew, a pipe or terminal has flags of its own; a duplicate would share them with other processes.
            self._own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:  # no Linux, or another user's
            return partial(_write_if_ready, descriptor)
        return partial(os.write, self._own)


def _write_if_ready(descriptor: int, data: bytes) -> int:
    if not select.select((), (descriptor,), (), 0)[1]:
        raise BlockingIOError
    return os.write(descriptor, data[:PIECE_BYTES])


def _refuse(_: bytes) -> int:
    raise BrokenPipeError
