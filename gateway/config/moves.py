"""Tells a rename from a write in place: a file that was renamed over the config file is whole at once (inotify(7))."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterable
from typing import Final

_IN_MODIFY: Final = 0x2
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_Q_OVERFLOW: Final = 0x4000
_IN_ONLYDIR: Final = 0x1000000
_MASK: Final = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE | _IN_ONLYDIR

_HEAD: Final = struct.Struct("iIII")
"""Head of `struct inotify_event`: watch, mask, cookie, and length of the name that follows."""
_CHUNK_BYTES: Final = 64 * 1024


_MOST_NAMES: Final = 10_000
"""Names whose events are kept; beyond that the events so far are forgotten."""


class Moves:
    """Notes which paths were renamed into place and not written since. One thread at a time.

    watchfiles does not tell the two apart: it reports both as an addition. Where inotify is missing (other systems, no
    free instance), nothing counts as renamed.
    """

    def __init__(self) -> None:
        self._folders: dict[int, str] = {}
        self._latest: dict[str, tuple[int, bool]] = {}
        """By path in a watched folder: number of its latest event, and whether that was a rename to it."""
        self._events = 0
        self._descriptor: int | None = None
        if sys.platform == "linux":
            # Slow to import, and only a server needs it.
            import ctypes

            self._libc = ctypes.CDLL(None, use_errno=True)
            descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            self._descriptor = descriptor if descriptor >= 0 else None

    def watch(self, folders: Iterable[str]) -> None:
        """Watch these folders, and no others. Calling it again is cheap, and finds folders that were made anew."""
        if self._descriptor is None:
            return
        watched: dict[int, str] = {}
        for folder in dict.fromkeys(folders):
            watch = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _MASK)
            if watch >= 0:
                watched[watch] = folder
        for watch in self._folders.keys() - watched.keys():
            self._libc.inotify_rm_watch(self._descriptor, watch)
        self._folders = watched

    def renamed(self, entries: Iterable[str]) -> bool:
        """Tell whether one of the paths was renamed into place, and none was created or written since.

        This is exact: the kernel queues an event before the call that causes it returns.
        """
        self._drain()
        return max((self._latest[entry] for entry in entries if entry in self._latest), default=(0, False))[1]

    def forget(self) -> None:
        """Forget the events so far: those versions of the files have been read."""
        self._latest.clear()

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _drain(self) -> None:
        while self._descriptor is not None:
            try:
                chunk = os.read(self._descriptor, _CHUNK_BYTES)
            except BlockingIOError:
                return
            at = 0
            while at < len(chunk):
                watch, mask, _, length = _HEAD.unpack_from(chunk, at)
                name = os.fsdecode(chunk[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0"))
                at += _HEAD.size + length
                if mask & _IN_Q_OVERFLOW or len(self._latest) >= _MOST_NAMES:  # what was dropped may have been a write
                    self._latest.clear()
                if watch in self._folders:
                    self._events += 1
                    path = os.path.join(self._folders[watch], name)
                    self._latest[path] = (self._events, bool(mask & _IN_MOVED_TO))
