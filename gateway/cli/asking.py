"""Ask a running gateway over HTTP, on TCP or a Unix socket, with the standard library only: it loads in an instant."""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gateway.cli.settings import Settings, is_kubernetes, port
from gateway.errors import UsageError
from gateway.policy.keys import MAX_KEY_FILE_BYTES, KeySource, Secret
from gateway.policy.regular_file import read_regular_file, why
from gateway.wire.json import Json
from gateway.words import cut, printable

TIMEOUT_S: Final = 3.0
"""For one whole answer. A container's health check has as long."""
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

_EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not listened on
"""Where to ask a gateway that listens on every address."""
_REFUSED: Final = frozenset({401, 403})


class Unreachable(UsageError):
    """No gateway answered, or not as one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a gateway listens."""

    url: str
    """As people write it: `http://127.0.0.1:8080`, `unix:/run/gateway.sock`."""
    host: str = "localhost"
    port: int = 80
    unix_socket: str | None = None
    is_tls: bool = False
    path: str = ""
    """What the URL has before the gateway's own paths, without the last slash."""
    token: Secret | None = field(default=None, repr=False)

    def ask(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a GET. Follows no redirect and asks no proxy. Raises Unreachable."""
        connection = None
        deadline_s = time.monotonic() + TIMEOUT_S
        fields = {"accept": "application/json"}
        if self.token is not None:
            fields["authorization"] = f"Bearer {self.token.reveal()}"
        try:
            connection = self._connection()
            connection.request("GET", self.path + path, headers=fields)
            response = connection.getresponse()
            body = bytearray()
            while part := response.read1(65536):
                body += part
                if time.monotonic() > deadline_s:
                    raise TimeoutError("timed out")
                if len(body) > MAX_ANSWER_BYTES:
                    raise Unreachable(f"{self.url} answers with more than {MAX_ANSWER_BYTES >> 20} MiB: no gateway's")
        except (OSError, ValueError, http.client.HTTPException) as exc:
            raise Unreachable(f"cannot reach a gateway at {self.url}: {_why(exc)}") from None
        finally:
            if connection is not None:
                connection.close()
        return response.status, bytes(body)

    def ask_json(self, path: str) -> Json:
        """Return the answer of an operators' path. Raises Unreachable, with what to do where it is refused."""
        status, body = self.ask(path)
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        if status == http.HTTPStatus.OK and isinstance(value, dict):
            return value
        error = value.get("error") if isinstance(value, dict) else None
        said = error.get("message") if isinstance(error, dict) else None
        text = f": {printable(cut(said, 300))}" if isinstance(said, str) else ""
        hint = ""
        if status in _REFUSED:
            hint = "; --token-file names the file of an operator's token or key" if self.token is None else ""
        elif not text:
            hint = "; is this a gateway?"
        raise Unreachable(f"{self.url}{path.partition('?')[0]} answers {status}{text}{hint}")

    def _connection(self) -> http.client.HTTPConnection:
        if self.unix_socket is not None:
            return _UnixConnection(self.unix_socket)
        kind = http.client.HTTPSConnection if self.is_tls else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=TIMEOUT_S)


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def address(args: argparse.Namespace, environ: Mapping[str, str]) -> Address:
    """Return where to ask: `--url` or `--unix-socket`, else where `gateway serve` listens with this environment.

    With GATEWAY_ADMIN_PORT that is the operators' listener.

    The token is that of `--token-file`; without `--url` also that of GATEWAY_ADMIN_TOKEN_FILE. Raises UsageError.
    """
    if args.url is not None and args.unix_socket is not None:
        raise UsageError("--url and --unix-socket are two addresses; give one of them")
    settings = Settings(args, environ)
    token_file = settings.get("token-file", _path, None)
    url = None if args.unix_socket is not None else settings.get("url", str, None)
    if url is not None:
        return _of_url(url, token=_token(token_file))
    token = _token(token_file or Settings(argparse.Namespace(), environ).get("admin-token-file", _path, None))
    unix_socket = settings.get("unix-socket", str, None)
    if unix_socket is not None and (args.unix_socket is not None or _number("ADMIN_PORT", environ) is None):
        return Address(url=f"unix:{unix_socket}", unix_socket=unix_socket, token=token)
    listener = "ADMIN_" if _number("ADMIN_PORT", environ) is not None else ""
    host = environ.get(f"GATEWAY_{listener}HOST", "").strip()
    host = _EVERYWHERE.get(host, host)
    number = _number(f"{listener}PORT", environ) or 8080
    return Address(url=f"http://{f'[{host}]' if ':' in host else host}:{number}", host=host, port=number, token=token)


def _number(name: str, environ: Mapping[str, str]) -> int | None:
    """Return the port in GATEWAY_NAME; None without one."""
    if is_kubernetes(f"GATEWAY_{name}", environ):
        return None
    return Settings(argparse.Namespace(), environ).get(name.lower().replace("_", "-"), _port, None)


def _port(text: str) -> int | None:
    return port(text)


def _of_url(url: str, *, token: Secret | None) -> Address:
    if url.startswith("unix:"):
        return Address(url=url, unix_socket=url.removeprefix("unix:").removeprefix("//"), token=token)
    try:
        parts = urlsplit(url)
        number = parts.port
    except ValueError:
        raise UsageError(f"{cut(url, 200)!r} is no URL; write one such as http://127.0.0.1:8080") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError("a URL with a user or a password is not taken; --token-file names the file of a token")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{cut(url, 200)!r} is no gateway's URL; write one such as http://127.0.0.1:8080")
    path = parts.path.rstrip("/")
    shown = f"{parts.scheme}://{parts.netloc}{path}"
    is_tls = parts.scheme == "https"
    number = number if number is not None else 443 if is_tls else 80
    return Address(url=shown, host=parts.hostname, port=number, is_tls=is_tls, path=path, token=token)


def _token(path: Path | None) -> Secret | None:
    """Return the token in a file. Raises UsageError, whose text contains no token."""
    if path is None:
        return None
    try:
        read_regular_file(path, limit_bytes=MAX_KEY_FILE_BYTES)
    except OSError as exc:
        raise UsageError(f"cannot read the token file {path}: {why(exc)}") from None
    token = KeySource(name="token", file=path).read()
    if token is None:
        raise UsageError(f"the token file {path} holds no token: write one line of printable ASCII without spaces")
    return token


def _path(text: str) -> Path | None:
    return Path(text)


def _why(exc: Exception) -> str:
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused; is it running?"
    if isinstance(exc, http.client.HTTPException):
        return f"what answers speaks no HTTP ({type(exc).__name__})"
    return (getattr(exc, "strerror", None) or str(exc) or type(exc).__name__).lower()
