"""Exit with 0 when the gateway of this container is ready: the probe of the image, of Compose and of Kubernetes.

It asks where the environment says that the gateway listens, as `gateway serve` reads it: `GATEWAY_UNIX_SOCKET`, else
`GATEWAY_HOST` and `GATEWAY_PORT`. No proxy is asked. Flags are not seen: set the port of a container by its variable.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Mapping
from typing import Final

TIMEOUT_S: Final = 2
DEFAULT_PORT: Final = 8080
LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not listened on
"""Where to ask when the gateway listens on every address."""


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def connection(environ: Mapping[str, str]) -> http.client.HTTPConnection:
    """Return a connection, not yet open, to the gateway that was started with this environment."""
    if path := environ.get("GATEWAY_UNIX_SOCKET", "").strip():
        return _UnixConnection(path)
    host = environ.get("GATEWAY_HOST", "").strip()
    port = environ.get("GATEWAY_PORT", "").strip()
    if port.startswith("tcp://"):  # Kubernetes' own, for a Service named gateway
        port = ""
    return http.client.HTTPConnection(LOOPBACK.get(host, host), int(port or DEFAULT_PORT), timeout=TIMEOUT_S)


def main(environ: Mapping[str, str]) -> int:
    """Ask once and return the exit code; what went wrong is on stderr."""
    try:
        asked = connection(environ)
        asked.request("GET", "/readyz")
        status = asked.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"not ready: {error}", file=sys.stderr)
        return 1
    if status != http.HTTPStatus.OK:
        print(f"not ready: status {status}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
