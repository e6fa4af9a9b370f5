"""Reads and writes small regular files, whole; a named pipe, a device or a folder is an error and never waited for."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.policy.stamp import Stamp, stamp_of

READING: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""Flags of `os.open`. Without O_NONBLOCK, opening a named pipe would block until a writer opens it."""

_ATTEMPTS: Final = 3
"""Times that a file which changes while it is read is read."""


def read_regular_file(path: Path, *, limit_bytes: int) -> tuple[bytes, Stamp]:
    """Return the bytes and stamp of one version of a file.

    Raises OSError, also if it is larger than `limit_bytes` or no regular file. Such a file is not opened: opening a
    device can have effects.
    """
    _check(_found(path), limit_bytes)
    for _ in range(_ATTEMPTS):
        with open(path, "rb", opener=lambda name, _: os.open(name, READING)) as file:
            before = os.fstat(file.fileno())
            _check(before, limit_bytes)
            # One byte more: files of /proc have no size. None is a read that would block.
            data = file.read(limit_bytes + 1) or b""
            if len(data) > limit_bytes:
                raise _too_large(limit_bytes)
            if stamp_of(before) == stamp_of(os.fstat(file.fileno())):
                break
    return data, stamp_of(before)


def why(exc: OSError) -> str:
    """Return the reason of a failed read, in lower case."""
    return (exc.strerror or str(exc)).lower()


def _found(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except ValueError as exc:  # a name with a NUL character
        raise OSError(None, str(exc)) from None


def _check(found: os.stat_result, limit_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(None, "not a regular file")
    if found.st_size > limit_bytes:
        raise _too_large(limit_bytes)


def _too_large(limit_bytes: int) -> OSError:
    return OSError(None, f"larger than {limit_bytes} bytes")


def replace_file(
    path: Path,
    data: bytes,
    *,
    mode: int,
    before_rename: Callable[[Path], None] = lambda temporary: None,
    durable: bool = True,
) -> None:
    """Write a file so that at any moment, also after a crash, it is whole: the old version or the new one.

    `mode` are its rights while it is written, and afterwards unless `before_rename` changes them. Without `durable`
    nothing waits for the disk: the file is whole when this process is killed, not when the machine is. Raises OSError,
    and ValueError for a name with a NUL character.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        before_rename(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
