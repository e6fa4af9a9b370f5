"""What the HTTP/1.1 client raises.

Http1Error
├── ConnectError       no connection: DNS, refused, TLS, a proxy's no
│   ├── ConnectTimeout it did not stand in time
│   └── UnusableProxy  the environment names a proxy that is none we can use
├── Disconnected       the connection broke before the response's headers were whole
├── ProtocolError      what came is not HTTP/1.1, or could be read in two ways
├── ReadError          the body broke off, or its content coding is broken
└── BodyTooLarge       the body is longer than the reader wanted

None of them carries bytes of a response or a credential.
"""

from __future__ import annotations


class Http1Error(Exception):
    """The root of what the client raises, cancellation and the caller's own mistakes (ValueError) apart."""


class ConnectError(Http1Error):
    """No connection came about."""


class ConnectTimeout(ConnectError):
    """The connection did not stand in time, TLS and a proxy's tunnel included."""


class UnusableProxy(ConnectError):
    """The environment names a proxy of a sort that there is no support for, or a malformed one."""


class Disconnected(Http1Error):
    """The connection broke before the response's headers were whole."""

    def __init__(self, message: str, *, reused: bool) -> None:
        super().__init__(message)
        self.reused = reused
        """The connection had served before and not one byte came back: most likely its idle time was over."""


class ProtocolError(Http1Error):
    """The peer does not keep to HTTP/1.1, or sent what two readers could understand differently."""


class ReadError(Http1Error):
    """The body is not whole, or cannot be decoded."""


class BodyTooLarge(Http1Error):
    """The body is longer than the limit given."""
