"""systemd's protocols for services, in a few lines: sockets that it hands over, and what it is told of our state.

Sources: https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html and
https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final, NamedTuple

from gateway.errors import UsageError

FIRST_DESCRIPTOR: Final = 3
"""SD_LISTEN_FDS_START."""
ADMIN: Final = "admin"
"""FileDescriptorName= of the socket for metrics and operators."""
VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET")
"""What is meant for this process alone, and not for a command that it runs."""


class Inherited(NamedTuple):
    """Sockets that listen already."""

    main: socket.socket | None = None
    admin: socket.socket | None = None


def inherited(environ: MutableMapping[str, str] = os.environ) -> Inherited:
    """Return the sockets of a systemd socket unit, if it started this process. Takes the variables out of `environ`.

    One is the gateway's; one more may have the name `admin`. Raises UsageError for others.
    """
    pid, number, names = (environ.pop(name, "") for name in VARIABLES[:3])
    if pid != str(os.getpid()) or not number.isdecimal() or not int(number):
        return Inherited()
    known = names.split(":")
    admin: list[socket.socket] = []
    main: list[socket.socket] = []
    for position in range(int(number)):
        try:
            os.set_inheritable(FIRST_DESCRIPTOR + position, False)
            sock = socket.socket(fileno=FIRST_DESCRIPTOR + position)
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as exc:
            raise UsageError(
                f"LISTEN_FDS is {number}, and descriptor {FIRST_DESCRIPTOR + position} is no socket"
            ) from exc
        if not listens or sock.type != socket.SOCK_STREAM:
            raise UsageError(
                f"descriptor {FIRST_DESCRIPTOR + position} of LISTEN_FDS does not listen: use ListenStream="
            )
        (admin if known[position : position + 1] == [ADMIN] else main).append(sock)
    if len(main) > 1 or len(admin) > 1:
        message = f"systemd hands over {number} sockets; the gateway takes one, and one with FileDescriptorName={ADMIN}"
        raise UsageError(message)
    return Inherited(next(iter(main), None), next(iter(admin), None))


def notify(*lines: str) -> None:
    """Tell systemd of the state, such as `READY=1`, where it wants to know. Never waits and never fails."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto("\n".join(lines).encode(), f"\0{path[1:]}" if path.startswith("@") else path)


def notify_reloading() -> None:
    """Tell systemd that a reload begins; `READY=1` ends it (Type=notify-reload)."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
