"""The sockets that workers accept connections from. The supervisor makes them and keeps them open.

On Linux each worker has its own socket for the same address (SO_REUSEPORT), and the kernel shares connections out by a
hash. One socket for all is not fair: of 32 connections that come at once, one worker of four took all. Since the
supervisor keeps the sockets open, what waits in one is not lost while its worker is replaced.

Source: https://man7.org/linux/man-pages/man7/socket.7.html (SO_REUSEPORT)
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

from gateway.server.listen import BACKLOG, cannot_listen


def shared_out(host: str, port: int, workers: int, *, flag: str = "--port") -> list[list[socket.socket]]:
    """Return the listening sockets of each worker: one for each of the host's addresses. Raises UsageError.

    Port 0 becomes the same free port for all.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = list(dict.fromkeys((family, name) for family, _, _, _, name in found))
        for family, name in addresses:
            if port:
                _bound(family, name, reuse_port=False).close()  # another process that listens there is an error
        each: list[list[socket.socket]] = [[] for _ in range(workers)]
        for family, name in addresses:
            name = (name[0], port, *name[2:])
            reuse_port = sys.platform == "linux" and workers > 1
            first = _bound(family, name, reuse_port=reuse_port)
            port = first.getsockname()[1]
            each[0].append(first)
            for sockets in each[1:]:
                sockets.append(_bound(family, (name[0], port, *name[2:]), reuse_port=True) if reuse_port else first)
    except (OSError, UnicodeError) as exc:
        raise cannot_listen(f"{host}:{port}", exc, flag=flag) from exc
    return each


def _bound(family: int, name: Sequence[object], *, reuse_port: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(tuple(name))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
