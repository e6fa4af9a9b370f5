"""Detects changes of a file: of the config, a key file or the client keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, mtime and ctime in nanoseconds."""


def stamp(path: Path | str) -> Stamp | None:
    """Return a value that differs after any write, replacement or change of times; None if there is no file."""
    try:
        return stamp_of(os.stat(path))
    except (OSError, ValueError):  # a name with a NUL character is a ValueError
        return None


def stamp_of(found: os.stat_result) -> Stamp:
    """Return the stamp of a stat result."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
