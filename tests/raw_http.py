"""A server on the loopback whose every byte the test decides, for the HTTP/1.1 client.

async def handle(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\\r\\n\\r\\n")

async with serving(handle) as server:
    ...                                     # server.origin, server.peers, server.requests
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway.wire.http1.client import Http1Client, Origin, Response, request_head

OK = b"HTTP/1.1 200 OK\r\n"


def whole(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    """Return a response with a length; each of `headers` ends in CR LF."""
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


class Peer:
    """One connection, seen from the server."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self.reader = reader
        self.writer = writer
        self.gone = asyncio.Event()
        """The handler is done and the connection closed, or the client left."""

    async def request(self) -> bytes:
        """Return one request, head and body. Raises IncompleteReadError when the client leaves instead."""
        head = await self.head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        request = head + await self.reader.readexactly(length)
        self._server.requests.append(request)
        return request

    async def head(self) -> bytes:
        """Return a request's head, its body unread."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def send(self, data: bytes, *, by: int | None = None) -> None:
        """Write `data`, in pieces of `by` bytes where that is given."""
        step = by or len(data) or 1
        for start in range(0, len(data), step):
            self.writer.write(data[start : start + step])
            await self.writer.drain()
            if by:
                await asyncio.sleep(0)

    async def left(self) -> None:
        """Return once the client has closed its end; what it sends before is dropped."""
        with suppress(ConnectionError):
            while await self.reader.read(2**16):
                pass

    def reset(self) -> None:
        """Close with a TCP reset."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()


Handler: TypeAlias = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    """What the test sees of the server."""

    port: int
    scheme: str
    peers: list[Peer] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def origin(self) -> Origin:
        """Where the client finds it."""
        return Origin(self.scheme, "127.0.0.1" if self.scheme == "http" else "localhost", self.port)


@asynccontextmanager
async def serving(
    handle: Handler, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    """Serve each connection with `handle`; when that returns the connection closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(server, reader, writer)
        server.peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        server._tasks.add(task)
        try:
            await handle(peer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            peer.gone.set()
            # TLS would wait for the client's goodbye.
            writer.transport.abort() if tls else writer.close()
            with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()
            server._tasks.discard(task)

    listening = await asyncio.start_server(serve, host, port, ssl=tls, limit=2**24)
    server = Server(listening.sockets[0].getsockname()[1], "https" if tls else "http")
    try:
        yield server
    finally:
        listening.close()
        for task in tuple(server._tasks):
            task.cancel()
        await asyncio.gather(*server._tasks, return_exceptions=True)
        await listening.wait_closed()


def answering(*answers: bytes, by: int | None = None) -> Handler:
    """Return a handler: each request of a connection gets the next answer, the last one for ever."""

    async def handle(peer: Peer) -> None:
        count = 0
        while True:
            await peer.request()
            await peer.send(answers[min(count, len(answers) - 1)], by=by)
            count += 1

    return handle


def closing(answer: bytes, *, by: int | None = None) -> Handler:
    """Return a handler: one request, one answer, then the connection closes."""

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer, by=by)

    return handle


async def post(client: Http1Client, server: Server, body: bytes = b"{}", *, connect_s: float = 5.0) -> Response:
    """Make a plain request."""
    head = request_head("POST", "/v1", {"host": f"127.0.0.1:{server.port}"})
    return await client.request(server.origin, head, body, connect_s=connect_s)


async def until(reached: Callable[[], bool]) -> None:
    """Let the event loop run until something is so."""
    while not reached():  # noqa: ASYNC110 - what a transport does, nobody tells
        await asyncio.sleep(0)
