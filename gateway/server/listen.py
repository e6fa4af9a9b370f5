"""Listens on a TCP address or a Unix socket."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.errors import UsageError
from gateway.server.wiring import ServeOptions

BACKLOG: Final = 1024


@asynccontextmanager
async def listening(runner: web.BaseRunner, options: ServeOptions) -> AsyncGenerator[str, None]:
    """Listen while the block runs and yield the address: `http://host:port` or `unix:path`. Raises UsageError."""
    if options.unix_socket is not None:
        site: web.BaseSite = web.SockSite(runner, _unix_socket(options.unix_socket), backlog=BACKLOG)
        url = f"unix:{options.unix_socket}"
    else:
        host = f"[{options.host}]" if ":" in options.host else options.host
        site = web.TCPSite(runner, options.host, options.port, backlog=BACKLOG, reuse_address=True)
        url = f"http://{host}"
    try:
        await site.start()
    except OSError as exc:
        raise UsageError(f"cannot listen on {options.host}:{options.port}: {_why(exc)}") from exc
    try:
        yield f"{url}:{runner.addresses[0][1]}" if isinstance(site, web.TCPSite) else url
    finally:
        if options.unix_socket is not None:
            options.unix_socket.unlink(missing_ok=True)


def _unix_socket(path: Path) -> socket.socket:
    """Return a bound socket that only this user can connect to. Replaces a socket file without a listener."""
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise UsageError(f"cannot listen on {path}: it exists and is no socket")
        if path.exists() and _is_answered(path):
            raise UsageError(f"cannot listen on {path}: somebody listens there already")
        path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            bound.bind(str(path))
        except OSError:
            bound.close()
            raise
        finally:
            os.umask(mask)
    except OSError as exc:
        raise UsageError(f"cannot listen on {path}: {_why(exc)}") from exc
    return bound


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def _why(exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return "the address is in use already; choose another with --port"
    known = exc.errno is not None and exc.errno in errno.errorcode
    return (os.strerror(exc.errno) if known and exc.errno is not None else str(exc)).lower()
