"""The errors of the HTTP/1.1 client.

Http1Error
├── ConnectError       no connection: DNS, refused, TLS, refused by a proxy
│   ├── ConnectTimeout it was not set up in time
│   └── UnusableProxy  the environment names an unsupported or malformed proxy
├── Disconnected       the connection broke before the response's headers were whole
├── ProtocolError      the response is not HTTP/1.1, or ambiguous
├── ReadError          the body broke off, or its content coding is broken
└── BodyTooLarge       the body is longer than the reader's limit

None of them contains bytes of a response or a credential.
"""

from __future__ import annotations


class Http1Error(Exception):
    """The root of the client's errors, except cancellation and ValueError for the caller's mistakes."""


class ConnectError(Http1Error):
    """No connection could be made."""


class ConnectTimeout(ConnectError):
    """The connection was not set up in time, including TLS and a proxy's tunnel."""


class UnusableProxy(ConnectError):
    """The environment names an unsupported or malformed proxy."""


class Disconnected(Http1Error):
    """The connection broke before the response's headers were whole."""

    def __init__(self, message: str, *, reused: bool) -> None:
        super().__init__(message)
        self.reused = reused
        """The connection had been used before and no byte came back: most likely it was stale."""


class ProtocolError(Http1Error):
    """The response is not valid HTTP/1.1, or ambiguous."""


class ReadError(Http1Error):
    """The body is not whole, or cannot be decoded."""


class BodyTooLarge(Http1Error):
    """The body is longer than the reader's limit."""
