"""Clients' keys: the file of `--client-keys-file`, read again whenever it changes."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.errors import UsageError
from gateway.policy.stamp import stamp

log = logging.getLogger(__name__)

_CLIENT_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_KEY: Final = re.compile(r"[!-~]{1,512}")
_SHA256: Final = re.compile(r"sha256:([0-9A-Fa-f]{64})")


class ClientKeys:
    """The clients' names and keys from a file that is read again whenever it changes.

    One client per line: `name key`, or `name sha256:<64 hex digits>` with the SHA-256 of the key. Several lines may
    share a name, so that keys can be rotated. Blank lines and comments (`#`) are skipped. If the file is missing or
    malformed after a change, that is logged once and the last valid keys stay in force.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = stamp(path)
        self._names = _read_keys(path)

    def name_of(self, key: str) -> str | None:
        """Return the name of the key's client, or None. The lookup by SHA-256 leaks nothing by its duration."""
        found = stamp(self._path)
        if found != self._stamp:
            self._stamp = found
            try:
                self._names = _read_keys(self._path)
            except UsageError as exc:
                log.warning("client keys not read again: the old ones stay", extra={"reason": str(exc)})
            else:
                log.info("client keys read again", extra={"keys": len(self._names)})
        return self._names.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest())


def _read_keys(path: Path) -> dict[bytes, str]:
    """Return SHA-256 of the key → client's name. Raises UsageError, whose text contains no key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the client keys file {path}: {why}") from exc
    names: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        fault = _fault(fields, names)
        if fault:
            raise UsageError(f"{path}:{number}: {fault}")
        names[_digest(fields[1])] = fields[0]
    if not names:
        raise UsageError(f"{path}: holds no key; write one client per line as `name key`")
    return names


def _fault(fields: list[str], names: Mapping[bytes, str]) -> str | None:
    if len(fields) != 2:
        return "a line is `name key` or `name sha256:<hex>`"
    name, key = fields
    if not _CLIENT_NAME.fullmatch(name):
        return "a client's name is made of letters, digits and . _ @ -, at most 64"
    if not _KEY.fullmatch(key):
        return "a key is printable ASCII, at most 512 characters"
    if key.startswith("sha256:") and not _SHA256.fullmatch(key):
        return "after sha256: stand 64 hex digits"
    if names.get(_digest(key), name) != name:
        return f"the key is that of client {names[_digest(key)]!r} already"
    return None


def _digest(key: str) -> bytes:
    hashed = _SHA256.fullmatch(key)
    return bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(key.encode()).digest()
