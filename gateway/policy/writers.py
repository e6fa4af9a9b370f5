"""Tells who writes a file: a version that is still being written is not read."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.policy.regular_file import READING
from gateway.policy.stamp import Stamp, stamp_of

QUIET_S: Final = 0.2
"""A file that was written in place counts once it has not changed for this long, where nobody tells who writes it."""


def is_half_written(path: Path, found: Stamp, *, before: Stamp | None, now: float) -> bool:
    """Tell whether the version `found` of a small file, which has been read already, may be half written.

    It is if a process has the file open for writing, or has written it meanwhile. Where the system does not tell who
    writes, it may be for QUIET_S after it was written in place; a file that was renamed into place of the version
    `before`, or whose symlink was, is whole at once. `now` is in seconds since the epoch.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device may have effects
            return False
        descriptor = os.open(path, READING)
    except (OSError, ValueError):
        return False
    try:
        held = held_for_writing(descriptor)
        if stamp_of(os.fstat(descriptor)) != found:
            return True
    finally:
        os.close(descriptor)
    if held is not None:
        return held
    in_place = before is not None and found[:2] == before[:2]
    return in_place and 0 <= now - max(found[3:]) / 1e9 < QUIET_S


if sys.platform == "linux":
    import fcntl

    def held_for_writing(descriptor: int) -> bool | None:
        """Tell whether any process has the file open for writing; None if the kernel does not say.

        It does not for another user's file (without CAP_LEASE) and on most network mounts. `descriptor` must be open
        for reading only.

        A read lease is refused with EAGAIN while the file is open for writing (F_SETLEASE(2const)). Whoever opens it
        for writing while the lease is held waits for the release and sends the holder a signal: by default SIGIO, which
        would end the process. Hence SIGURG, which is ignored by default, and a release at once; an explicit one, as a
        child forked meanwhile would keep the lease alive.
        """
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as exc:
            return True if exc.errno == errno.EAGAIN else None
        with suppress(OSError):  # a process stopped for longer than lease-break-time has lost its lease
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

else:

    def held_for_writing(descriptor: int) -> bool | None:
        """Return None: this system does not tell who has a file open for writing."""
        return None
