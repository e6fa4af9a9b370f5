"""Listens on a TCP address, on a Unix socket, or on a socket that listens already."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from aiohttp import web

from gateway.errors import UsageError
from gateway.server.wiring import ServeOptions

BACKLOG: Final = 1024


@asynccontextmanager
async def listening(
    runner: web.BaseRunner, options: ServeOptions, *, flag: str = "--port"
) -> AsyncGenerator[str, None]:
    """Listen while the block runs and yield the address: `http://host:port` or `unix:path`. Raises UsageError.

    `flag`: what to choose another port with.
    """
    made: SocketFile | None = None
    if options.listener is not None:
        site: web.BaseSite = web.SockSite(runner, options.listener, backlog=BACKLOG)
    elif options.unix_socket is not None:
        made = SocketFile(options.unix_socket)
        site = web.SockSite(runner, made.listener, backlog=BACKLOG)
    else:
        site = web.TCPSite(runner, options.host, options.port, backlog=BACKLOG, reuse_address=True)
    try:
        await site.start()
        for more in options.more_listeners:
            await web.SockSite(runner, more, backlog=BACKLOG).start()
    except (OSError, UnicodeError) as exc:
        raise cannot_listen(f"{options.host}:{options.port}", exc, flag=flag) from exc
    try:
        if options.unix_socket is not None:
            yield f"unix:{options.unix_socket}"
        else:
            host = f"[{options.host}]" if ":" in options.host else options.host
            yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        if made is not None:
            made.remove()


async def stop_listening(runner: web.BaseRunner) -> None:
    """Accept no further connection; those that there are go on."""
    for site in runner.sites:
        await site.stop()


@contextmanager
def port_file(path: Path | None, url: str) -> Generator[None, None, None]:
    """Keep the port of `url` in a file while the block runs. Raises UsageError if it cannot be written.

    It appears whole, and at the end it is removed unless another process has written its own port meanwhile.
    """
    if path is None:
        yield
        return
    if not url.startswith("http:"):
        raise UsageError("there is no port for --port-file: a Unix socket has none")
    text = f"{url.rpartition(':')[2]}\n"
    try:
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(text)
        try:
            Path(file.name).chmod(0o644)
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise
    except OSError as exc:
        raise UsageError(f"cannot write the port file {path}: {_why(exc)}") from exc
    try:
        yield
    finally:
        with suppress(OSError, UnicodeDecodeError):
            if path.read_text() == text:
                path.unlink()


class SocketFile:
    """A bound Unix socket that only this user can connect to, and its file."""

    def __init__(self, path: Path) -> None:
        """Replace a socket file without a listener. Raises UsageError."""
        self._path = path
        try:
            if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
                raise UsageError(f"cannot listen on {path}: it exists and is no socket")
            if path.exists() and _is_answered(path):
                raise UsageError(f"cannot listen on {path}: somebody listens there already")
            path.unlink(missing_ok=True)
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            mask = os.umask(0o177)
            try:
                self.listener.bind(str(path))
                self._inode = path.stat().st_ino
            except OSError:
                self.listener.close()
                raise
            finally:
                os.umask(mask)
        except OSError as exc:
            raise UsageError(f"cannot listen on {path}: {_why(exc)}") from exc

    def remove(self) -> None:
        """Remove the file, unless it is another process' by now."""
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def cannot_listen(address: str, exc: OSError | UnicodeError, *, flag: str = "--port") -> UsageError:
    """Return the error for an address that cannot be listened on."""
    return UsageError(f"cannot listen on {address}: {_why(exc, flag=flag)}")


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def _why(exc: OSError | UnicodeError, *, flag: str = "--port") -> str:
    if isinstance(exc, UnicodeError):
        return "this is no host name"
    if exc.errno == errno.EADDRINUSE:
        return f"the address is in use already; choose another with {flag}"
    known = exc.errno is not None and exc.errno in errno.errorcode
    return (os.strerror(exc.errno) if known and exc.errno is not None else str(exc)).lower()
