"""Clients' keys and the operators' token: the files of `--client-keys-file` and `--admin-token-file`."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Final

from gateway.concurrency.pacing import paced, resting
from gateway.errors import UsageError
from gateway.policy.clients import Client
from gateway.policy.keys import MAX_KEY_FILE_BYTES, KeySource
from gateway.policy.regular_file import read_regular_file, why
from gateway.policy.stamp import Stamp, stamp
from gateway.policy.writers import is_half_written
from gateway.wire.local_faults import is_exhaustion

log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Limit of the client keys file: 100,000 lines of 160 characters fit."""
REFRESH_S: Final = 1.0
"""Seconds that a request waits at most for a changed file to be read."""
AGAIN_S: Final = 0.02
"""Seconds between two looks at a file that is being written."""

_ADMIN: Final = "admin"
_GROUP: Final = "group="
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_KEY: Final = re.compile(r"[!-~]{1,512}")
_SHA256: Final = re.compile(r"sha256:([0-9A-Fa-f]{64})")
_GOOD: Final = re.compile(
    rf"\s*({_NAME.pattern})\s+(?:{_SHA256.pattern}|(?!sha256:|{_GROUP}|{_ADMIN}\s)({_KEY.pattern}))"
    rf"((?:\s+(?:{_ADMIN}|{_GROUP}{_NAME.pattern}))*)\s*"
)
"""A line without faults of its own: name, digest or key, options."""
_IS_KEY: Final = re.compile(r"gw-[A-Za-z0-9_-]{40,}|[0-9a-f]{64}")
_SWAPPED: Final = "the name comes first, then the key: this one begins with a key or its digest"
_BAD_NAME: Final = "a client's name is made of letters, digits and . _ @ -, at most 64"
_BAD_GROUP: Final = "a group's name is made of letters, digits and . _ @ -, at most 64"
_LINE: Final = "a line is `name key` or `name sha256:<hex>`, then `group=NAME` and `admin` where they are wanted"


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
        self._own: dict[bytes, Client] = {}
        data, self._stamp = _read(path)
        self._readings = 0
        lines = _parsed(path, data)
        self._clients, self.has_admin = lines.clients, lines.has_admin
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="client-keys")
        """Its own, because hooks may keep all threads of the event loop busy."""
        self._reading: asyncio.Future[None] | None = None
        self._not_before_s = 0.0
        """Until then the changed file is not looked at, on the monotonic clock: it is being written."""
        self._told = False
        """It is in the log that the file is being written."""

    def changed(self) -> bool:
        """Tell whether the file is another one than was read last."""
        return stamp(self._path) != self._stamp and time.monotonic() >= self._not_before_s

    async def refresh(self) -> None:
        """Read the changed file in a thread, and wait for it, REFRESH_S at most: until then the old keys count.

        Requests that come meanwhile wait for the same read.
        """
        if self._reading is None:
            self._reading = asyncio.get_running_loop().run_in_executor(self._thread, self.read_again)
            self._reading.add_done_callback(self._read_done)
        await asyncio.wait([self._reading], timeout=REFRESH_S)

    def read_again(self) -> None:
        """Read the file now, or keep the old keys. Blocks for up to a second if it has 100,000 lines."""
        before = stamp(self._path)
        try:
            data, found = _read(self._path)
            if is_half_written(self._path, found, before=self._stamp, now=time.time()):
                self._keep_old("it is being written", for_s=AGAIN_S)
                return
            with resting():
                self._readings += 1
                lines = _parsed(self._path, data, reading=self._readings)
        except UsageError as exc:
            if is_exhaustion(exc):
                self._keep_old(str(exc), for_s=REFRESH_S)
                return
            self._stamp = before
            log.warning("client keys not read again: the old ones stay", extra={"reason": str(exc)})
        else:
            self._clients, self.has_admin, self._told = lines.clients | self._own, lines.has_admin, False
            self._stamp = found  # last: from now on requests no longer wait
            log.info("client keys read again", extra={"keys": len(self._clients)})

    def _keep_old(self, reason: str, *, for_s: float) -> None:
        """Look at the file again after `for_s`, and say so once."""
        self._not_before_s = time.monotonic() + for_s
        if not self._told:
            self._told = True
            log.warning("client keys not read again: the old ones stay", extra={"reason": reason})

    def new_key(self, name: str) -> str:
        """Return a new key of the client `name`, which no file holds, and which is good while this process runs."""
        key = secrets.token_urlsafe(32)
        self._own[sha256(key.encode()).digest()] = Client(name=name)
        self._clients |= self._own
        return key

    def group_of(self, name: str) -> str | None:
        """Return the group of a client's name; None for the default one. Takes milliseconds of 100,000 keys."""
        return next((client.group for client in self._clients.values() if client.name == name), None)

    def client_of(self, key: str) -> Client | None:
        """Return the client of a key, or None. The lookup by SHA-256 leaks nothing by its duration."""
        return self._clients.get(sha256(key.encode("utf-8", "surrogateescape")).digest())

    def _read_done(self, _: asyncio.Future[None]) -> None:
        self._reading = None


def admin_token(path: Path) -> KeySource:
    """Return the operators' token, which is read again whenever its file changes. Raises UsageError without one."""
    token = KeySource(name="admin token", file=path, keeps=False)  # to take the token away is to close the paths
    if token.read() is None:
        try:
            read_regular_file(path, limit_bytes=MAX_KEY_FILE_BYTES)
        except OSError as exc:
            raise UsageError(f"cannot read the admin token file {path}: {why(exc)}") from None
        raise UsageError(
            f"the admin token file {path} holds no token: write one line of printable ASCII without spaces"
        )
    return token


def _read(path: Path) -> tuple[bytes, Stamp]:
    """Return the file's bytes and stamp. Raises UsageError, from the OSError."""
    try:
        return read_regular_file(path, limit_bytes=MAX_FILE_BYTES)
    except OSError as exc:
        raise UsageError(f"cannot read the client keys file {path}: {why(exc)}") from exc


def _parsed(path: Path, data: bytes, *, reading: int = 0) -> _Lines:
    """Return the clients of a file that has some. Raises UsageError, whose text contains no key."""
    lines = _Lines(path, reading)
    try:
        for number, line in enumerate(paced(_texts(data)), start=1):
            lines.add(number, line)
    except UnicodeDecodeError:
        raise UsageError(f"cannot read the client keys file {path}: it is not UTF-8 text") from None
    lines.end()
    return lines


def _texts(data: bytes) -> TextIOWrapper:
    """Return the file's lines, without the mark that some editors begin a file with.

    They are decoded one after the other: a call that takes long would keep the event loop from the interpreter.
    """
    return TextIOWrapper(BytesIO(data), encoding="utf-8-sig")


def key_line(name: str, key: str, *, group: str | None = None, is_admin: bool = False) -> str:
    """Return the line of a client keys file for a key, with its digest. Raises UsageError for a malformed name."""
    if not _NAME.fullmatch(name):
        raise UsageError(_BAD_NAME)
    if group is not None and not _NAME.fullmatch(group):
        raise UsageError(_BAD_GROUP)
    fields = [name, f"sha256:{sha256(key.encode()).hexdigest()}"]
    fields += [f"{_GROUP}{group}"] if group is not None else []
    return " ".join([*fields, _ADMIN] if is_admin else fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What is in a client keys file, without the keys."""

    keys: int
    names: frozenset[str]
    by_name: Mapping[str, str | None]
    """Each client's group; None for the default one."""
    groups: Mapping[str, int]
    """The groups that lines name, each with the number of its first line."""
    has_default: bool
    """Some client has no group of its own."""
    faults: tuple[tuple[int, str], ...]
    """The malformed lines: number, what is wrong. No text contains a key."""


def inspect(path: Path) -> Inspected:
    """Read a client keys file to its end, malformed lines too. Raises UsageError if it cannot be read."""
    data, _ = _read(path)
    try:
        texts = list(_texts(data))
    except UnicodeDecodeError:
        raise UsageError(f"cannot read the client keys file {path}: it is not UTF-8 text") from None
    lines, groups = _Lines(path), dict[str, int]()
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(texts, start=1):
        fault = lines.fault(number, line)
        if fault:
            faults.append((number, fault))
        for word in line.split()[2:] if not fault else ():
            if word.startswith(_GROUP):
                groups.setdefault(word.removeprefix(_GROUP), number)
    if not faults:
        lines.end()
    clients = lines.clients.values()
    return Inspected(
        keys=len(clients),
        names=frozenset(client.name for client in clients),
        by_name={client.name: client.group for client in clients},
        groups=groups,
        has_default=any(client.group is None for client in clients),
        faults=tuple(faults),
    )


class _Lines:
    """Collects the lines of a client keys file."""

    def __init__(self, path: Path, reading: int = 0) -> None:
        self.has_admin = False
        self.clients: dict[bytes, Client] = {}
        """By the SHA-256 of the key."""
        self._path = path
        self._reading = reading
        self._groups: dict[str, tuple[str, int]] = {}
        """Name → the group that its lines give, and the first of these lines."""
        self._without_group: list[bytes] = []
        """Keys whose lines give none; another line of their name may."""
        self._shared: dict[tuple[str, str], Client] = {}
        """Name and options as written → one object for all such lines."""

    def add(self, number: int, line: str) -> None:
        """Add a line. Raises UsageError."""
        fault = self.fault(number, line)
        if fault:
            raise UsageError(f"{self._path}:{number}: {fault}")

    def fault(self, number: int, line: str) -> str | None:
        """Add a line, or return what is wrong with it."""
        match = _GOOD.fullmatch(line)
        fields = [] if match else line.split()
        if not match and (not fields or fields[0].startswith("#")):
            return None
        return self._take(number, *match.groups()) if match else _fault(fields)

    def end(self) -> None:
        """Give the lines of a name their group. Raises UsageError if there is no line."""
        if not self.clients:
            raise UsageError(f"{self._path}: holds no key; write one client per line as `name key`")
        for digest in paced(self._without_group if self._groups else ()):
            client = self.clients[digest]
            given = self._groups.get(client.name)
            self.clients[digest] = replace(client, group=client.group or (given and given[0]))

    def _take(self, number: int, name: str, digits: str | None, key: str, options: str) -> str | None:
        """Add the client of a line in good form; return what contradicts earlier lines, or None."""
        client = self._shared.get((name, options))
        if client is None and _IS_KEY.fullmatch(name):
            return _SWAPPED  # as a name it would be in logs and metrics
        if client is None:
            words = options.split()
            groups = [word.removeprefix(_GROUP) for word in words if word != _ADMIN]
            group = groups[0] if groups else None
            client = Client(name=name, group=group, is_admin=_ADMIN in words, reading=self._reading)
            if len(words) > len(set(words)) or len(groups) > 1:
                return "a line has one `group=NAME` and one `admin` at most"
            if group is not None:
                first, line = self._groups.setdefault(name, (group, number))
                if first != group:
                    return f"line {line} gives the client {name!r} the group {first!r}; a client has one"
            self._shared[name, options] = client
            self.has_admin = self.has_admin or client.is_admin
        digest = bytes.fromhex(digits) if digits else sha256(key.encode()).digest()
        other = self.clients.setdefault(digest, client)
        if other is not client:
            if other.name != name:
                return f"the key is that of client {other.name!r} already"
            self.clients[digest] = replace(other, is_admin=other.is_admin or client.is_admin)
        if client.group is None:
            self._without_group.append(digest)
        return None


def _fault(fields: list[str]) -> str:
    """Return what is wrong with a line that is not in good form. Repeats no field: any may be a key."""
    name, key, *options = (*fields, "", "")[: max(2, len(fields))]
    if not key:
        return _LINE
    if not _NAME.fullmatch(name):
        return _BAD_NAME
    if not _KEY.fullmatch(key):
        return "a key is printable ASCII, at most 512 characters"
    if key.startswith("sha256:") and not _SHA256.fullmatch(key):
        return "after sha256: stand 64 hex digits"
    if key == _ADMIN or key.startswith(_GROUP):
        return "the key comes second, before `group=NAME` and `admin`"
    if any(option.startswith(_GROUP) and not _NAME.fullmatch(option.removeprefix(_GROUP)) for option in options):
        return _BAD_GROUP
    return _LINE
