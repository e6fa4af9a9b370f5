"""Keeps the last good version of a config on disk, for a start at which the file itself cannot be served."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import UsageError
from gateway.policy.regular_file import read_regular_file, replace_file, why
from gateway.wire.json import EMPTY, Json

log = logging.getLogger(__name__)

MAX_BYTES: Final = 256 * 1024 * 1024
"""Limit of what is read: a config's files, their names, and a head."""

_MAGIC: Final = b"gateway-last-good 1 "
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_STALE_S: Final = 60.0
"""A temporary file of this age belongs to a writer that was killed."""


class UnusableError(Exception):
    """What is kept cannot be used; the text says why, and holds nothing of the config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A version of a config that was live once."""

    main: bytes
    """The config file."""
    included: Mapping[str, bytes]
    """Further files by the names that the config file has for them, in their order."""
    accepted_at: float
    """When it went live, in seconds since the epoch."""


class LastGood:
    """The kept version of one config file, in a folder that only this user may write."""

    def __init__(self, folder: Path, config: Path) -> None:
        """Make the folder if it is not there. Raises UsageError if it cannot hold a config, which may have keys in it.

        Several gateways may share the folder: each config file has its own entry, by its absolute path.
        """
        _prepare(folder)
        self.folder = folder
        self._config = os.path.abspath(config)
        self._path = entry(folder, config, "routes-", ".last-good")

    def keep(self, main: bytes, included: Mapping[str, bytes] = EMPTY, *, accepted_at: float) -> None:
        """Write a version; if that fails, say so in the log."""
        reason = None
        try:
            self.write(main, included, accepted_at=accepted_at)
        except OSError as exc:
            reason = why(exc)
        if reason is not None:
            extra = {"folder": str(self.folder), "reason": reason}
            log.error("this version is not kept as the last good one: an older one stays", extra=extra)

    def write(self, main: bytes, included: Mapping[str, bytes] = EMPTY, *, accepted_at: float) -> None:
        """Keep a version in place of the one before. Blocks until it is on the disk; raises OSError."""
        files = {"": main, **included}
        head: dict[str, Json] = {
            "config": self._config,
            "accepted_at": accepted_at,
            "files": [[name, len(data)] for name, data in files.items()],
        }
        rest = b"\n".join([json.dumps(head).encode(), b"".join(files.values())])
        digest = hashlib.sha256(rest).hexdigest().encode()
        replace_file(self._path, b"".join([_MAGIC, digest, b"\n", rest]), mode=0o600)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename
        finally:
            os.close(folder)

    def read(self) -> Kept | None:
        """Return the kept version, None if there is none. Raises UnusableError."""
        try:
            data, _ = read_regular_file(self._path, limit_bytes=MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise UnusableError(f"cannot be read: {why(exc)}") from None
        first, _, rest = data.partition(b"\n")
        if not first.startswith(_MAGIC):
            raise UnusableError("was written by another version of the gateway, or is damaged")
        if first.removeprefix(_MAGIC) != hashlib.sha256(rest).hexdigest().encode():
            raise UnusableError("is damaged: its digest differs")
        line, _, body = rest.partition(b"\n")
        head = json.loads(line)
        files, at = dict[str, bytes](), 0
        for name, size in head["files"]:
            files[name] = body[at : at + size]
            at += size
        return Kept(main=files.pop(""), included=files, accepted_at=head["accepted_at"])


def entry(folder: Path, config: Path, before: str, after: str) -> Path:
    """Return the path of a config's own file in a folder, its name between `before` and `after`.

    Removes what a writer of it that was killed has left.
    """
    path = folder / f"{before}{hashlib.sha256(os.fsencode(os.path.abspath(config))).hexdigest()[:16]}{after}"
    for left in folder.glob(f".{path.name}.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_S:
                left.unlink()
    return path


def _prepare(folder: Path) -> None:
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise UsageError(f"the state folder {folder} is no folder")
    except (OSError, ValueError) as exc:
        reason = why(exc) if isinstance(exc, OSError) else str(exc)
        raise UsageError(f"cannot use the state folder {folder}: {reason}") from None
    if found.st_uid not in {os.geteuid(), 0} or found.st_mode & _OTHERS:
        whose = "others may write to it" if found.st_mode & _OTHERS else "it belongs to another user"
        raise UsageError(
            f"the state folder {folder} is not safe: {whose}, and what lies in it is served; "
            "name one that is not there yet, or `chmod go-w` it"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"cannot use the state folder {folder}: permission denied")
