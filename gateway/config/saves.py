"""Decides when a save is complete: nobody has a file of it open for writing, and none has changed for a while."""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.errors import UsageError
from gateway.policy.regular_file import READING
from gateway.policy.stamp import Stamp, stamp_of
from gateway.policy.writers import QUIET_S as QUIET_S
from gateway.policy.writers import held_for_writing
from gateway.wire.json import EMPTY

log = logging.getLogger(__name__)

LONG_S: Final = 5.0
"""A save that takes longer is logged once; at the start it is an error."""
_HELD: Final = "a process has it open for writing"
TICK_S: Final = 0.05
"""Interval between two looks at a file that is being saved. A file that was renamed into place counts after one."""
REPLACED_S: Final = 1.0
"""Longest time that renames which follow each other closely are held back, to be one edit."""


@dataclass(frozen=True, slots=True)
class Look:
    """State of a file at one moment."""

    stamp: Stamp | None
    """None while there is no file."""
    held: bool | None
    """Whether a process has the file open for writing; None if the system does not tell."""

    def age_s(self, *, now: float) -> float | None:
        """Return the seconds since the last change, by the file's times; None without a file or if they lie ahead."""
        if self.stamp is None:
            return None
        age_s = now - max(self.stamp[3:]) / 1e9
        return age_s if age_s >= 0 else None


@dataclass(frozen=True, slots=True)
class Looks:
    """State of the config file and of the files that it includes at one moment."""

    main: Look
    included: Mapping[str, Look] = field(default_factory=lambda: EMPTY)
    """By path."""

    @property
    def stamps(self) -> dict[str, Stamp | None]:
        """The stamp of each file; the main file has the empty path."""
        return {"": self.main.stamp, **{path: look.stamp for path, look in self.included.items()}}

    @property
    def held(self) -> str | None:
        """Path of a file that a process has open for writing, empty for the main file; None without one."""
        if self.main.held:
            return ""
        return next((path for path, look in self.included.items() if look.held), None)

    def age_s(self, *, now: float) -> float | None:
        """Return the seconds since the last change of any file, by the files' times; None if that is not known."""
        ages = [look.age_s(now=now) for look in (self.main, *self.included.values())]
        known = [age_s for age_s in ages if age_s is not None]
        return min(known) if len(known) == len(ages) else None


class Save:
    """One save of one file or several, followed from look to look until it is complete.

    Times are points on one monotonic clock.
    """

    def __init__(self, path: Path, *, now_s: float) -> None:
        self._path = path
        self._began_s = self._changed_s = now_s
        self._last: dict[str, Stamp | None] | None = None
        self._changed = ""
        """The file that changed last."""
        self._told = False
        self._replaced_s: float | None = None
        """Since when each look found files that were renamed into place only."""

    def is_complete(self, looks: Looks, *, now_s: float, quiet_s: float = QUIET_S, in_place: bool = True) -> bool:
        """Tell whether the version of `looks` is whole. Logs once when that takes longer than LONG_S.

        Unless a file was changed `in_place`, TICK_S of rest are enough, so that several renames are one edit; and files
        that are replaced again and again need none after REPLACED_S, as each version of theirs is whole.
        """
        stamps = looks.stamps
        if stamps != self._last:
            self._changed_s = now_s
            before = self._last or {}
            self._changed = next((path for path in (*stamps, *before) if stamps.get(path) != before.get(path)), "")
        self._last = stamps
        held = looks.held
        if in_place or held is not None:
            self._replaced_s = None
        elif self._replaced_s is None:
            self._replaced_s = now_s
        if held is None and now_s - self._changed_s >= (quiet_s if in_place else TICK_S):
            return True
        if self._replaced_s is not None and now_s - self._replaced_s >= REPLACED_S:
            return True
        if not self._told and now_s - self._began_s >= LONG_S:
            self._told = True
            path, why = (self._changed, "it keeps changing") if held is None else (held, _HELD)
            log.warning(
                "the config file is still being written: the old routes stay",
                extra={"source": path or str(self._path), "reason": why, "for_s": LONG_S},
            )
        return False


def look_at(path: Path | str) -> Look:
    """Return the state of a file. Blocks for a few system calls."""
    try:
        found = os.stat(path)
    except OSError:
        return Look(None, None)
    if not stat.S_ISREG(found.st_mode):
        return Look(stamp_of(found), None)
    try:
        descriptor = os.open(path, READING)
    except OSError:
        return Look(stamp_of(found), None)
    try:
        held = held_for_writing(descriptor)
        return Look(stamp_of(os.fstat(descriptor)), held)
    finally:
        os.close(descriptor)


def wait_for_writer(path: Path, *, quiet_s: float = 0.0, limit_s: float = LONG_S) -> None:
    """Wait until no other process writes the file. Blocks; raises UsageError when `limit_s` is not enough.

    With `quiet_s` a file that changed within this many seconds is waited for too. A file that this process itself has
    open for writing is not: the caller, who asks to read it now, is the one who writes it.
    """
    give_up_s = time.monotonic() + limit_s
    told = False
    while True:
        look = look_at(path)
        held = look.held and not _held_by_us(look)
        age_s = look.age_s(now=time.time())
        if not held and (age_s is None or age_s >= quiet_s):
            return
        why = _HELD if held else "it keeps changing"
        if time.monotonic() >= give_up_s:
            raise UsageError(f"{path} is still being written after {limit_s:g} s: {why}")
        if held:
            quiet_s = QUIET_S
            if not told:
                told = True
                log.info("waiting until the config file is written", extra={"source": str(path)})
        time.sleep(TICK_S)


if sys.platform == "linux":
    import fcntl

    def _held_by_us(look: Look) -> bool:
        """Tell whether this process has the file open for writing."""
        names = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        for name in names:
            try:
                found = os.fstat(int(name))
                mode = fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_ACCMODE
            except OSError:  # the listing's own descriptor
                continue
            if look.stamp is not None and (found.st_dev, found.st_ino) == look.stamp[:2] and mode != os.O_RDONLY:
                return True
        return False

else:

    def _held_by_us(look: Look) -> bool:
        return False
