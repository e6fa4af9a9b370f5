"""A model's answer on the wire: its head and its framing, laid out here.

aiohttp's own responses lead to the same bytes by a way that takes as long as our whole way to the upstream and back.
What is answered otherwise, errors, lists and the operator's paths, is left to them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Final, Protocol

from aiohttp import HttpVersion, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from gateway.concurrency.deadlines import until
from gateway.telemetry.report import CallReport

JSON_TYPE: Final = "application/json"
EVENTS_TYPE: Final = "text/event-stream"

_UNSAFE: Final = re.compile(r"[\r\n\0]")
_END: Final = b"0\r\n\r\n"
_AT_ONCE_BYTES: Final = 64 * 1024
"""A body up to this size is joined to its head, so that both leave together."""
_BEHIND_BYTES: Final = 64 * 1024
"""When more than this waits to be sent, the client is behind."""


class Writer(Protocol):
    """Who sends what was written."""

    async def drain(self) -> None:
        """Wait while the client is behind."""


class Request(Protocol):
    """What an answer asks of its request, whoever read it."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's connection."""

    @property
    def writer(self) -> Writer:
        """What can be waited for while the client is behind."""

    @property
    def version(self) -> HttpVersion:
        """Of HTTP."""

    @property
    def keep_alive(self) -> bool:
        """The client wants to use the connection again."""


class ClientGone(ConnectionError):
    """The client left, or stopped reading. Nobody is there to be answered."""


class Laid(web.StreamResponse):
    """A response of status 200 that is sent by the time aiohttp's server sees it."""

    # No super().__init__() here: what it sets up is what is saved.

    _asked: Request
    _client_s: float
    """How long the client may be behind."""
    is_broken = False
    """It was given up: nothing can follow on its connection."""

    @property
    def status(self) -> int:
        return 200

    @property
    def keep_alive(self) -> bool:
        return not self.is_broken and not _is_last(self._asked)

    async def prepare(self, request: Request) -> AbstractStreamWriter | None:
        """There is nothing left to send."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nothing left to send."""

    async def catch_up(self) -> None:
        """Wait while the client is behind. Raises ClientGone when it is gone or stays behind."""
        transport = self._asked.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        if transport.get_write_buffer_size() > _BEHIND_BYTES:
            await self._wait()

    def hang_up(self, *, at_once: bool = False) -> None:
        """Close the connection without the body's end, so that nobody can take the body for a whole one."""
        self.is_broken = True
        transport = self._asked.transport
        if transport is not None:
            transport.abort() if at_once else transport.close()

    async def _wait(self) -> None:
        try:
            with until(asyncio.get_running_loop().time() + self._client_s):
                await self._asked.writer.drain()
        except ConnectionError as exc:
            raise ClientGone from exc
        except TimeoutError as exc:
            self.hang_up(at_once=True)
            raise ClientGone from exc


class PlainAnswer(Laid):
    """A whole answer."""

    def __init__(
        self, request: Request, report: CallReport, body: bytes, more: Mapping[str, str], *, client_s: float
    ) -> None:
        """`more` are header fields. Raises ValueError for one that cannot go on the wire."""
        self._asked = request
        self._client_s = client_s
        head = f"{_head(request, report, JSON_TYPE, more)}Content-Length: {len(body)}\r\n\r\n".encode()
        self._pieces = (head + body,) if len(body) <= _AT_ONCE_BYTES else (head, body)

    def send(self) -> bool:
        """Hand all of it to the transport; return whether that is soon rid of it. Raises ClientGone."""
        transport = self._asked.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        for piece in self._pieces:
            transport.write(piece)
        return len(self._pieces) == 1


class StreamAnswer(Laid):
    """A stream of events. It begins with the first of them, so that an error before that has its status."""

    def __init__(self, request: Request, report: CallReport, more: Mapping[str, str], *, client_s: float) -> None:
        """`more` are header fields. Raises ValueError for one that cannot go on the wire."""
        self._asked = request
        self._client_s = client_s
        self._is_chunked = request.version >= HttpVersion11
        framing = "Transfer-Encoding: chunked\r\n" if self._is_chunked else ""
        self._first = f"{_head(request, report, EVENTS_TYPE, more)}{framing}\r\n".encode()
        self._is_whole = False
        self.begun = False
        """The head is on its way."""

    async def send(self, data: bytes) -> None:
        """Write, and wait while the client is behind. Raises ClientGone when it is gone or stays behind."""
        if not self.push(data):
            await self.catch_up()

    def push(self, data: bytes) -> bool:
        """Write; return whether more can be written before anybody looks after the client."""
        transport = self._asked.transport
        if transport is None or transport.is_closing():
            return False
        if not data:
            return True  # an empty chunk would be the end
        if self._is_chunked:
            data = b"%x\r\n%b\r\n%b" % (len(data), data, _END if self._is_whole else b"")
        if not self.begun:
            self.begun = True
            data = self._first + data
        transport.write(data)
        return transport.get_write_buffer_size() <= _BEHIND_BYTES

    async def finish(self, data: bytes) -> None:
        """Write the last of the body and mark its end. Raises ClientGone."""
        self._is_whole = True
        await self.send(data)


def whole_answer(response: web.Response, *, keep_alive: bool) -> bytes:
    """Return another answer's head and body, as aiohttp lays them out."""
    body = response.body
    assert body is None or isinstance(body, bytes), "what is not at hand whole is not answered here"
    lines = f"HTTP/1.1 {response.status} {response.reason}\r\n"
    for name, value in response.headers.items():
        if name.lower() != "connection":
            lines += f"{name}: {value}\r\n"
    lines += f"Content-Length: {len(body or b'')}\r\nDate: {_http_date(int(time.time()))}\r\n"
    if not keep_alive:
        lines += "Connection: close\r\n"
    return f"{lines}\r\n".encode() + (body or b"")


def _head(request: Request, report: CallReport, content_type: str, more: Mapping[str, str]) -> str:
    """Return the head but for the framing and the blank line."""
    assert report.target is not None, "what was answered was answered by a target"
    lines = (
        f"{_shared_lines(report.generation, content_type)}x-gateway-target: {report.target.header}\r\n"
        f"x-request-id: {report.request_id}\r\nx-gateway-attempts: {report.calls}\r\n"
        f"Date: {_http_date(int(time.time()))}\r\n"
    )
    for name, value in more.items():
        if _UNSAFE.search(value):
            raise ValueError(f"the value of the header field {name!r} has control characters")
        lines += f"{name}: {value}\r\n"
    if _is_last(request):
        lines += "Connection: close\r\n"
    return lines


def _is_last(request: Request) -> bool:
    return not request.keep_alive or (request.version is not HttpVersion11 and request.version < HttpVersion11)


@lru_cache(maxsize=8)
def _shared_lines(generation: int, content_type: str) -> str:
    """Return the status line and the header fields that many answers have in common."""
    return (
        f"HTTP/1.1 200 OK\r\nserver: gateway\r\ncontent-type: {content_type}\r\nx-gateway-generation: {generation}\r\n"
    )


@lru_cache(maxsize=2)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)
