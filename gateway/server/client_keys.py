"""Clients' keys and the operators' token: the files of `--client-keys-file` and `--admin-token-file`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.concurrency.pacing import paced, resting
from gateway.errors import UsageError
from gateway.policy.keys import MAX_KEY_FILE_BYTES, KeySource
from gateway.policy.regular_file import read_regular_file, why
from gateway.policy.stamp import Stamp, stamp

log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Limit of the client keys file: 100,000 lines of 160 characters fit."""

_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_KEY: Final = re.compile(r"[!-~]{1,512}")
_SHA256: Final = re.compile(r"sha256:([0-9A-Fa-f]{64})")
_ADMIN: Final = "admin"
_GROUP: Final = "group="
_LINE: Final = "a line is `name key` or `name sha256:<hex>`, then `group=NAME` and `admin` where they are wanted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A line of the client keys file without its key."""

    name: str
    group: str | None = None
    """The group that a line of this name gives; lines of a name share it."""
    is_admin: bool = False
    """The key of this line opens the operators' paths."""


class ClientKeys:
    """The clients by key, from a file that is read again whenever it changes.

    One key per line: `name key`, or `name sha256:<64 hex digits>` with the SHA-256 of the key; then, in any order,
    `group=NAME` and `admin`. Several lines may share a name, so that keys can be rotated. Blank lines and comments
    (`#`) are skipped. If the file is missing or malformed after a change, that is logged once and the last valid keys
    stay in force. Raises UsageError if that is so at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: Stamp | None
        self._clients, self.has_admin, self._stamp = _read_clients(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="client-keys")
        """Its own, because hooks may keep all threads of the event loop busy."""
        self._reading: asyncio.Future[None] | None = None

    def changed(self) -> bool:
        """Tell whether the file is another one than was read last."""
        return stamp(self._path) != self._stamp

    async def refresh(self) -> None:
        """Read the changed file in a thread. Requests that come meanwhile wait for the same read."""
        if self._reading is None:
            self._reading = asyncio.get_running_loop().run_in_executor(self._thread, self.read_again)
            self._reading.add_done_callback(self._read_done)
        await asyncio.shield(self._reading)

    def read_again(self) -> None:
        """Read the file now, or keep the old keys. Blocks for about a second if it has 100,000 lines."""
        before = stamp(self._path)
        try:
            with resting():
                clients, has_admin, self._stamp = _read_clients(self._path)
        except UsageError as exc:
            self._stamp = before
            log.warning("client keys not read again: the old ones stay", extra={"reason": str(exc)})
        else:
            self._clients, self.has_admin = clients, has_admin
            log.info("client keys read again", extra={"keys": len(clients)})

    def client_of(self, key: str) -> Client | None:
        """Return the client of a key, or None. The lookup by SHA-256 leaks nothing by its duration."""
        return self._clients.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest())

    def _read_done(self, _: asyncio.Future[None]) -> None:
        self._reading = None


def admin_token(path: Path) -> KeySource:
    """Return the operators' token, which is read again whenever its file changes. Raises UsageError without one."""
    token = KeySource(name="admin token", file=path)
    if token.read() is None:
        try:
            read_regular_file(path, limit_bytes=MAX_KEY_FILE_BYTES)
        except OSError as exc:
            raise UsageError(f"cannot read the admin token file {path}: {why(exc)}") from None
        raise UsageError(
            f"the admin token file {path} holds no token: write one line of printable ASCII without spaces"
        )
    return token


def _read_clients(path: Path) -> tuple[dict[bytes, Client], bool, Stamp]:
    """Return SHA-256 of the key → its client, whether one is an admin, and the file's stamp.

    Raises UsageError, whose text contains no key.
    """
    try:
        data, found = read_regular_file(path, limit_bytes=MAX_FILE_BYTES)
        text = data.decode()
    except OSError as exc:
        raise UsageError(f"cannot read the client keys file {path}: {why(exc)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read the client keys file {path}: it is not UTF-8 text") from None
    clients = _Lines().read(text, path)
    return clients, any(client.is_admin for client in paced(clients.values())), found


class _Lines:
    """Reads the lines of a client keys file."""

    def __init__(self) -> None:
        self._clients: dict[bytes, Client] = {}
        self._groups: dict[str, str] = {}
        """Name → the group that its lines give."""
        self._shared: dict[Client, Client] = {}
        """One object for all lines that differ in their keys only."""

    def read(self, text: str, path: Path) -> dict[bytes, Client]:
        """Return SHA-256 of the key → its client. Raises UsageError."""
        for number, line in enumerate(paced(text.splitlines()), start=1):
            fields = line.split()
            if not fields or fields[0].startswith("#"):
                continue
            fault = self._add(fields)
            if fault:
                raise UsageError(f"{path}:{number}: {fault}")
        if not self._clients:
            raise UsageError(f"{path}: holds no key; write one client per line as `name key`")
        if not self._groups:
            return self._clients
        return {digest: self._with_group(client) for digest, client in paced(self._clients.items())}

    def _add(self, fields: list[str]) -> str | None:
        """Add a line's client; return the fault of the line, or None."""
        if len(fields) < 2:
            return _LINE
        name, key, *options = fields
        digest = _digest(key)
        other = self._clients.get(digest)
        fault = _fault(name, key, options) or self._fault_of_group(name, options)
        if fault is None and other is not None and other.name != name:
            fault = f"the key is that of client {other.name!r} already"
        if fault is None:
            client = Client(name=name, is_admin=_ADMIN in options or (other is not None and other.is_admin))
            self._clients[digest] = self._shared.setdefault(client, client)
        return fault

    def _fault_of_group(self, name: str, options: list[str]) -> str | None:
        for option in options:
            group = option.removeprefix(_GROUP)
            if option != _ADMIN and self._groups.setdefault(name, group) != group:
                return "an earlier line of this name gives another group; a name has one"
        return None

    def _with_group(self, client: Client) -> Client:
        group = self._groups.get(client.name)
        wanted = client if group is None else Client(name=client.name, group=group, is_admin=client.is_admin)
        return self._shared.setdefault(wanted, wanted)


def _fault(name: str, key: str, options: list[str]) -> str | None:
    """Return what is wrong with the fields of a line, each by itself. Repeats no field: any may be a key."""
    if not _NAME.fullmatch(name):
        return "a client's name is made of letters, digits and . _ @ -, at most 64"
    if not _KEY.fullmatch(key):
        return "a key is printable ASCII, at most 512 characters"
    if key.startswith("sha256:") and not _SHA256.fullmatch(key):
        return "after sha256: stand 64 hex digits"
    if key == _ADMIN or key.startswith(_GROUP):
        return "the key comes second, before `group=NAME` and `admin`"
    groups = [option.removeprefix(_GROUP) for option in options if option.startswith(_GROUP)]
    if len(groups) + options.count(_ADMIN) != len(options):
        return _LINE
    if len(groups) > 1:
        return "a line has one `group=NAME`"
    if groups and not _NAME.fullmatch(groups[0]):
        return "a group's name is made of letters, digits and . _ @ -, at most 64"
    return None


def _digest(key: str) -> bytes:
    hashed = _SHA256.fullmatch(key)
    return bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(key.encode()).digest()
