"""Has this file changed: one answer for config files, key files and files of client keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, and the times of the last write and of the last change, in nanoseconds."""


def stamp(path: Path | str) -> Stamp | None:
    """Return what is another once a file was written, replaced or had its times set back; None when there is none."""
    try:
        return stamp_of(os.stat(path))
    except OSError:
        return None


def stamp_of(found: os.stat_result) -> Stamp:
    """Return the stamp that a stat shows."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
