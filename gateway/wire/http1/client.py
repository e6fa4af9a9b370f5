"""A small HTTP/1.1 client for the relay: requests with a whole body, responses read piece by piece.

    client = Http1Client()                                    # belongs to the running event loop
    head = request_head("POST", "/v1/chat/completions", {"host": "api.example.com", …})
    response = await client.request(origin, head, body, connect_s=5.0)
    while data := await response.readany(): …                 # or: await response.read(limit)
    response.close()

It has no redirects, cookies, retries, or credentials from the environment.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Mapping
from functools import lru_cache
from typing import Final

from gateway.wire.http1.connecting import Connector, Origin, Proxy, basic_credentials, origin_of
from gateway.wire.http1.connection import Connection
from gateway.wire.http1.errors import (
    BodyTooLarge,
    ConnectError,
    ConnectTimeout,
    Disconnected,
    Http1Error,
    ProtocolError,
    ReadError,
    UnusableProxy,
)
from gateway.wire.http1.response import Response
from gateway.wire.json import Spliced

__all__ = [
    "BodyTooLarge", "ConnectError", "ConnectTimeout", "Disconnected", "Http1Client", "Http1Error", "Origin",
    "ProtocolError", "Proxy", "ReadError", "Response", "UnusableProxy", "basic_credentials", "header_lines",
    "origin_of", "request_head",
]  # fmt: skip

IDLE_S: Final = 30.0
"""Seconds that an unused connection is kept."""
MAX_IDLE: Final = 512
"""Number of unused connections kept for all origins together. Those in use are not limited."""

_MAX_STALE: Final = 1024
_SWEEP_S: Final = 5.0
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_VALUES: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_REQUEST_TARGET: Final = re.compile(r"[\x21-\x7e]+")
_FRAMING: Final = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_KEEP_ALIVE: Final = re.compile(r"(?:^|[,;\s])(timeout|max)\s*=\s*\"?(\d{1,6})", re.IGNORECASE)
"""The parameters of `keep-alive` (RFC 2068, 19.7.1.1), which servers write in several ways."""


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return a request's first line and headers, without `content-length`, which is sent with the body.

    Raises ValueError for text that would change the meaning of the request.
    """
    if not _TOKEN.fullmatch(method) or not _REQUEST_TARGET.fullmatch(target):
        raise ValueError("a method or request target that is none")
    return f"{method} {target} HTTP/1.1\r\n".encode() + header_lines(headers)


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Return header fields in wire form. Raises ValueError, whose message contains no value."""
    lines = ""
    for name, value in headers.items():
        if not _is_sendable(name):
            raise ValueError(f"not a header field to send: {name!r}")
        if not value.isprintable() and _NOT_IN_VALUES.search(value):
            raise ValueError(f"the value of the header field {name!r} has control characters")
        lines += f"{name}: {value}\r\n"
    return lines.encode()


@lru_cache(maxsize=256)
def _is_sendable(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None and name.lower() not in _FRAMING


class Http1Client:
    """Sends requests and keeps connections for later ones. Belongs to the event loop that it is made in."""

    def __init__(self, *, idle_s: float = IDLE_S, max_idle: int = MAX_IDLE) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle_s = idle_s
        self._max_idle = max_idle
        self._connector = Connector(self)
        self._all: set[Connection] = set()
        self._idle: dict[str, dict[Connection, None]] = {}
        self._idle_count = 0
        self._stale_at: dict[str, float] = {}
        """When an origin's connection was last found stale. Connections opened before are not kept."""
        self._sweep_handle: asyncio.TimerHandle | None = None

    def request(self, origin: Origin, head: bytes, body: bytes | Spliced, *, connect_s: float) -> Awaitable[Response]:
        """Send a request; return an awaitable of its response, body unread. `head` comes from `request_head`.

        Takes the connection used last; a new one must be set up in `connect_s` seconds. The caller limits the rest.
        Raises Http1Error; Disconnected says whether the connection had been used before. Cancelling closes it.
        """
        head += b"content-length: %d\r\n\r\n" % len(body)
        idle = self._idle.get(origin.key)
        while idle:
            connection, _ = idle.popitem()
            self._idle_count -= 1
            if connection.expires_at > self._loop.time():
                return connection.send(head, body).begun()
            connection.abort()
        return self._connect_and_send(origin, head, body, connect_s=connect_s)

    async def close(self) -> None:
        """Close all connections, including those in use."""
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        for connection in tuple(self._all):
            connection.abort()
        # Transports close at the event loop's next turn.
        await asyncio.sleep(0)

    def opened(self, connection: Connection) -> None:
        """Note a new connection."""
        connection.opened_at = self._loop.time()
        self._all.add(connection)

    def freed(self, connection: Connection, headers: Mapping[str, str]) -> None:
        """Keep a connection for the next request to its origin, until our or the server's limit."""
        keep_s = self._idle_s
        if (wish := headers.get("keep-alive")) is not None:
            keep_s = min(keep_s, _kept_s(connection, wish))
        if self._stale_at and connection.opened_at <= self._stale_at.get(connection.key, -math.inf):
            keep_s = 0.0
        if self._idle_count >= self._max_idle or keep_s <= 0:
            connection.abort()
            return
        connection.expires_at = self._loop.time() + keep_s
        idle = self._idle.get(connection.key)
        if idle is None:
            idle = self._idle[connection.key] = {}
        idle[connection] = None
        self._idle_count += 1
        if self._sweep_handle is None:
            self._sweep_handle = self._loop.call_later(min(_SWEEP_S, self._idle_s), self._sweep)

    def went_stale(self, connection: Connection) -> None:
        """Close an origin's unused connections, now or once they are free: when one is stale, others are too.

        So the next request gets a new connection. A server may close each connection soon after its answer, and those
        that become free until then would be as stale.
        """
        if len(self._stale_at) >= _MAX_STALE:
            self._stale_at.clear()
        self._stale_at[connection.key] = self._loop.time()
        for other in tuple(self._idle.get(connection.key, ())):
            other.abort()

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._all.discard(connection)
        idle = self._idle.get(connection.key)
        if idle is not None and connection in idle:
            del idle[connection]
            self._idle_count -= 1

    async def _connect_and_send(
        self, origin: Origin, head: bytes, body: bytes | Spliced, *, connect_s: float
    ) -> Response:
        connection = await self._connector.connect(origin, connect_s=connect_s)
        return await connection.send(head, body).begun()

    def _sweep(self) -> None:
        """Close connections unused for too long; call itself again later while any is kept."""
        self._sweep_handle = None
        now = self._loop.time()
        for connection in [known for idle in self._idle.values() for known in idle if known.expires_at <= now]:
            connection.abort()
        self._idle = {key: idle for key, idle in self._idle.items() if idle}
        if self._idle:
            self._sweep_handle = self._loop.call_later(min(_SWEEP_S, self._idle_s), self._sweep)


def _kept_s(connection: Connection, wish: str) -> float:
    """Return the seconds that the server keeps an unused connection by its `keep-alive` field; 0 if it closes it.

    `max` is how many more requests it takes, or, where each response says the same, how many in all.
    """
    connection.answered += 1
    keep_s = math.inf
    for name, number in _KEEP_ALIVE.findall(wish):
        if name.lower() == "timeout":
            # One second less: the request must arrive before the server closes.
            keep_s = min(keep_s, int(number) - 1.0)
        elif int(number) <= connection.answered:
            return 0.0
    return keep_s
