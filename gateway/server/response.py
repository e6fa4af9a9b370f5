"""Writes all responses: head, framing, and waiting for a client that reads slowly.

Responses go straight to the transport, also when aiohttp read the request: aiohttp's own responses take as long as the
whole call of the upstream.
"""

from __future__ import annotations

import asyncio
import re
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from http.client import responses
from socket import AF_UNIX, SO_LINGER, SOL_SOCKET
from typing import Final

from gateway.concurrency.deadlines import until
from gateway.server.request import Request
from gateway.telemetry.report import CallReport
from gateway.wire.json import Spliced

JSON_TYPE: Final = "application/json"
EVENTS_TYPE: Final = "text/event-stream"

_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""https://man7.org/linux/man-pages/man7/socket.7.html: closing discards what is unsent and resets the connection."""
_UNSAFE: Final = re.compile(r"[\r\n\0]")
_LAST_CHUNK: Final = b"0\r\n\r\n"
_BODILESS: Final = (204, 304)
"""Statuses without a body; a length would be that of another answer (RFC 9110, 8.6)."""
_JOINED_BYTES: Final = 64 * 1024
"""A body up to this size is sent in one write with its head."""
_BEHIND_BYTES: Final = 64 * 1024
"""The client is behind when more than this waits in the transport."""


class ClientGone(ConnectionError):
    """The client has disconnected or stopped reading."""


class ResponseWriter:
    """Writes the response to one request: whole, or as a stream that begins with its first piece."""

    __slots__ = ("_client_s", "_head", "_is_complete", "_report", "_request", "begun")

    def __init__(self, request: Request, report: CallReport, *, client_s: float) -> None:
        """`client_s`: seconds that the client may be behind."""
        self._request = request
        self._report = report
        self._client_s = client_s
        self._head = b""
        self._is_complete = False
        self.begun = False
        """The head is sent: no other response can follow."""

    # A whole response

    def send_whole(self, status: int, content_type: str | None, more: Mapping[str, str], body: bytes | Spliced) -> bool:
        """Write a whole response; return False if the client may be behind or gone: call `catch_up` then.

        Raises ValueError for a header field in `more` that cannot go on the wire.
        """
        request = self._request
        framing = f"Content-Length: {len(body)}\r\n" if status not in _BODILESS else ""
        head = self._compose_head(status, content_type, more, framing)
        self.begun = True
        transport = request.transport
        if transport.is_closing():
            return False
        if request.method == "HEAD":
            body = b""
        if len(body) <= _JOINED_BYTES:
            transport.write(head + body)  # type: ignore[operator]  # what comes in parts is longer
            return True
        transport.write(head)
        if isinstance(body, bytes):
            transport.write(body)
        else:
            transport.writelines(body.parts)
        return False

    # A stream of events or bytes

    def prepare_stream(
        self, more: Mapping[str, str], *, content_type: str = EVENTS_TYPE, is_early: bool = False
    ) -> None:
        """Compose the head of a stream. It is sent with the first data, so an earlier error can set the status.

        `is_early`: the number of attempts is not known yet.
        Raises ValueError for a header field in `more` that cannot go on the wire.
        """
        framing = "Transfer-Encoding: chunked\r\n" if self._request.is_http11 else ""
        self._head = self._compose_head(200, content_type, more, framing, is_early=is_early)

    async def send(self, data: bytes) -> None:
        """Write, and wait while the client is behind. Raises ClientGone if it is gone or stays behind."""
        if not self.push(data):
            await self.catch_up()

    def push(self, data: bytes) -> bool:
        """Write; return False if the client is behind or gone: call `catch_up` before more is written."""
        transport = self._request.transport
        if transport.is_closing():
            return False
        if not data:
            if not self._is_complete:
                return True  # an empty chunk would be the end
            data = _LAST_CHUNK if self._request.is_http11 else b""
        elif self._request.is_http11:
            data = b"%x\r\n%b\r\n%b" % (len(data), data, _LAST_CHUNK if self._is_complete else b"")
        if not self.begun:
            self.begun = True
            data = self._head + data
        transport.write(data)
        return transport.get_write_buffer_size() <= _BEHIND_BYTES

    def push_if_idle(self, data: bytes) -> None:
        """Write, unless the client is gone or has not read all that was written before."""
        if not self._request.transport.get_write_buffer_size():
            self.push(data)

    async def finish(self, data: bytes) -> None:
        """Write the last data, which may be empty, and the end of the body. Raises ClientGone."""
        self._is_complete = True
        await self.send(data)

    # Both

    async def catch_up(self) -> None:
        """Wait while the client is behind. Raises ClientGone when it is gone or stays behind."""
        transport = self._request.transport
        if transport.is_closing():
            raise ClientGone
        if transport.get_write_buffer_size() <= _BEHIND_BYTES:
            return
        try:
            with until(asyncio.get_running_loop().time() + self._client_s):
                await self._request.channel.drain()
        except ConnectionError as exc:
            raise ClientGone from exc
        except TimeoutError as exc:
            self.close(at_once=True)
            raise ClientGone from exc

    def close(self, *, at_once: bool = False, reset: bool = False) -> None:
        """Close the connection without the end of the body, so that no client takes the body for complete.

        `at_once` drops data that is not sent yet. `reset` does too, and resets the connection: where the end of the
        connection is the end of the body, nothing else tells.
        """
        self._request.keep_alive = False
        transport = self._request.transport
        if reset and (sock := transport.get_extra_info("socket")) is not None and sock.family != AF_UNIX:
            with suppress(OSError):
                sock.setsockopt(SOL_SOCKET, SO_LINGER, _NO_LINGER)
        transport.abort() if at_once or reset else transport.close()

    def _compose_head(
        self, status: int, content_type: str | None, more: Mapping[str, str], framing: str, *, is_early: bool = False
    ) -> bytes:
        """Return the status line and all header fields."""
        report = self._report
        attempts = "" if is_early else f"x-gateway-attempts: {report.calls}\r\n"
        target = "" if report.target is None else f"x-gateway-target: {report.target.header}\r\n"
        lines = (
            f"{_shared_lines(status, content_type, report.generation)}{target}"
            f"x-request-id: {report.request_id}\r\n{attempts}"
            f"Date: {_http_date(int(time.time()))}\r\n"
        )
        for name, value in more.items():
            if _UNSAFE.search(value):
                raise ValueError(f"the value of the header field {name!r} has control characters")
            lines += f"{name}: {value}\r\n"
        if report.limits is not None:
            lines += report.limits.head
        if not self._request.keep_alive:
            lines += "Connection: close\r\n"
        return f"{lines}{framing}\r\n".encode()


@lru_cache(maxsize=256)
def _shared_lines(status: int, content_type: str | None, generation: int) -> str:
    """Return the status line and the header fields that many responses share."""
    lines = f"HTTP/1.1 {status} {responses.get(status, '')}\r\nserver: gateway\r\n"
    if content_type is not None:
        lines += f"content-type: {content_type}\r\n"
    return f"{lines}x-gateway-generation: {generation}\r\n"


@lru_cache(maxsize=2)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)
