"""One HTTP/1.1 connection: sends requests one after the other, parses responses with httptools and checks them.

Anything that two readers could understand differently ends the connection: two framings, a framing other than
`content-length` or `chunked`, data without a request or after the end of a response.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.wire.http1.errors import Disconnected, Http1Error, ProtocolError, ReadError
from gateway.wire.http1.known_heads import KnownHead, known_head
from gateway.wire.http1.response import Response
from gateway.wire.json import Spliced

MAX_WAITING_BYTES: Final = 256 * 1024
"""Above this, reading from the socket pauses until the reader has taken the data."""
MAX_HEADER_BYTES: Final = 64 * 1024
"""Limit of all header fields of a head, of all trailers, and of other data in a row that is no body."""
MAX_HEADERS: Final = 256
"""Limit of the number of header fields, including trailers and informational responses."""
WHOLE_BYTES: Final = 64 * 1024
"""A body up to this size is sent in one write with its head."""
WRITE_BYTES: Final = 256 * 1024
"""A longer one is written in pieces of this size as the transport accepts them."""
_PIECES: Final = 4
"""Pieces of WRITE_BYTES that a connection writes before it gives way to the event loop."""

_FIRST_BYTES: Final = b"H\r\n"
"""First bytes of a response. The parser also accepts RTSP, and skips blank lines before a response."""
_SWITCHING_PROTOCOLS: Final = 101
_BODILESS: Final = frozenset({101, 204, 304})
_MAX_NAMES: Final = 1024
_MAX_NAME_BYTES: Final = 64
_lower_names: Final[dict[bytes, str]] = {}
"""Cache: header name as sent → in lower case."""


class ConnectionOwner(Protocol):
    """Keeps connections. Called by a connection, but never while a request uses it."""

    def opened(self, connection: Connection) -> None:
        """Note that the connection is set up."""

    def freed(self, connection: Connection, headers: Mapping[str, str]) -> None:
        """Take back a reusable connection. `headers` are those of its last response."""

    def went_stale(self, connection: Connection) -> None:
        """Note that a kept connection was closed before a response: those kept for longer will be too."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed or closing. May be called twice."""


class Connection(asyncio.Protocol):
    """One connection, used for one request after the other."""

    __slots__ = (
        "_complete", "_fields", "_fruitless", "_header_count", "_in_body", "_keep_alive", "_known", "_loop", "_owner",
        "_parser", "_paused", "_pieces", "_received", "_response", "_rest", "_spare", "_transport", "_until_close",
        "_used", "_writable", "answered", "expires_at", "key", "on_body", "opened_at",
    )  # fmt: skip

    def __init__(self, key: str, owner: ConnectionOwner) -> None:
        self.key = key
        """The origin's."""
        self.expires_at = 0.0
        """While idle: when it must be closed, on the event loop's clock."""
        self.opened_at = 0.0
        """On the event loop's clock. The owner's."""
        self.answered = 0
        """Number of responses with a `keep-alive` field. The owner's."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []
        self.on_body: Callable[[bytes], None] = self._pieces.append
        """The parser's callback for pieces of a body. The list's own method is fastest."""
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._response: Response | None = None
        self._rest: list[memoryview] = []
        """What of the body is still to be written, its next part last."""
        self._spare: socket.socket | None = None
        """The socket once more, while a long body is sent: to read a response that came before a write failed."""
        self._writable = True
        self._used = False
        self._paused = False
        self._received = False
        self._in_body = False
        self._complete = False
        self._keep_alive = False
        self._until_close = False
        self._fields: list[tuple[bytes, bytes]] = []
        self._header_count = 0
        self._fruitless = 0
        self._known: KnownHead | None = None

    @property
    def usable(self) -> bool:
        """The connection is open, as far as known."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, head: bytes, body: bytes | Spliced) -> Response:
        """Send a whole request; return its pending response. The connection must not be in use."""
        response = Response(self, self._loop)
        transport = self._transport
        if transport is None or transport.is_closing():
            if self._used:
                self._owner.went_stale(self)
            response.fail(Disconnected("the connection was closed at once", reused=self._used))
            response.leave()
            return response
        self._response = response
        self._received = False
        if type(body) is bytes and len(body) <= WHOLE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            self._rest = [memoryview(part) for part in reversed([body] if isinstance(body, bytes) else body.parts)]
            self._spare = _duplicate(transport)
            self._known = None  # the short cut for known heads would not close the duplicate
            self._write_on()
        return response

    def abort(self) -> None:
        """Close at once, also during a request."""
        if self._response is not None:
            self._response.fail(ReadError("the connection was closed"))
        self._let_go()
        self._owner.lost(self)
        if self._transport is not None:
            self._transport.abort()

    def go_on_reading(self) -> None:
        """Resume reading: the reader has taken the data."""
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def give_back(self, headers: Mapping[str, str]) -> None:
        """Take the connection back from an ended response that had kept it to check its content coding."""
        if self.usable:
            self._owner.freed(self, headers)

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport. After `start_tls` the Connector calls this."""
        self._transport = cast(asyncio.Transport, transport)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; end the exchange when the response is whole or invalid."""
        response, parser = self._response, self._parser
        if response is None or parser is None:
            self.abort()
            return
        is_first, self._received = not self._received, True
        if is_first:
            if self._known is not None and (whole := self._known.read(data)) is not None:
                self._pass_on(response, *whole)
                return
            self._expect_a_response()
            if data[0] not in _FIRST_BYTES:
                self._end(response, ProtocolError("the response is not HTTP"))
                return
            if self._spare is not None and not self._rest:
                self._drop_spare()
        self._fruitless += len(data)
        pieces = self._pieces
        try:
            parser.feed_data(data)
        except HttpParserUpgrade:
            self._keep_alive = False
        except HttpParserError as error:
            self._keep_alive = False
            if not self._complete:
                response.feed(pieces)
                self._end(response, ProtocolError("the response is not sound HTTP/1.1"), error)
                return
        if pieces:
            self._fruitless = 0
            response.feed(pieces)
        if self._complete:
            if is_first and self._keep_alive:
                self._known = known_head(data, response.headers)
            self._end(response)
            return
        if self._fruitless > MAX_HEADER_BYTES:
            self._end(response, ProtocolError("the response has too much around its body"))
        elif response.waiting_bytes > MAX_WAITING_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if response.status:
            response.wake_now()

    def eof_received(self) -> None:
        """Handle the peer's end of data, which also ends a body without framing."""
        self._closed(None)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection, whoever closed it."""
        if self._spare is not None:
            self._read_early_response()
        self._closed(exc)
        self._transport = None
        # The parser references this object's methods: break the cycle.
        self._parser = None

    def pause_writing(self) -> None:
        """Stop writing the body: the transport's buffer is full."""
        self._writable = False

    def resume_writing(self) -> None:
        """Continue to write the body."""
        self._writable = True
        self._write_on()

    # Called by the parser

    def on_message_begin(self) -> None:
        """Refuse a response after the end of the expected one."""
        if self._complete:
            raise ProtocolError("there is more behind the end of the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header field or a trailer."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the status line and the framing; pass on the headers of a final response."""
        parser, response = self._parser, self._response
        assert parser is not None
        assert response is not None
        status = parser.get_status_code()
        version = parser.get_http_version()
        if version not in ("1.1", "1.0") or status < 100:
            raise ProtocolError("the status line is none of HTTP/1.1")
        fields = self._take_fields()
        if status < 200 and status != _SWITCHING_PROTOCOLS:
            self._header_count += 1
            return
        headers: dict[str, str] = {}
        for name, value in fields:
            key = _lower_names.get(name) or _lower(name)
            text = value.decode("latin-1").rstrip(" \t")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        coding = headers.get("transfer-encoding")
        length = "content-length" in headers
        if coding is not None and (length or version == "1.0" or coding.lower() != "chunked"):
            raise ProtocolError("the response's framing is ambiguous")
        self._until_close = coding is None and not length and status not in _BODILESS
        self._in_body = True
        self._keep_alive = status != _SWITCHING_PROTOCOLS
        response.begin(status, headers)

    def on_message_complete(self) -> None:
        """Note the end of a final response."""
        if self._in_body:
            assert self._parser is not None
            if self._fields:
                self._take_fields()  # trailers, which are dropped
            self._complete = True
            self._keep_alive = self._keep_alive and self._parser.should_keep_alive()

    # Private

    def _pass_on(self, response: Response, headers: Mapping[str, str], body: bytes) -> None:
        """Complete a response that came whole with a known head. The parser's state stays as it was."""
        response.be_whole(200, headers, body)
        self._response = None
        if not self._rest and self._transport is not None and not self._transport.get_write_buffer_size():
            self._used = True
            self._owner.freed(self, headers)
        else:
            self.abort()

    def _expect_a_response(self) -> None:
        self._in_body = self._complete = self._keep_alive = self._until_close = False
        self._fields = []
        self._header_count = self._fruitless = 0

    def _take_fields(self) -> list[tuple[bytes, bytes]]:
        """Return and clear the collected header fields or trailers. Raises ProtocolError if there are too many."""
        fields, self._fields = self._fields, []
        self._header_count += len(fields)
        # Most heads are short: then the sum is not computed.
        if self._header_count > MAX_HEADERS or (
            (self._in_body or self._fruitless > MAX_HEADER_BYTES)
            and sum(len(name) + len(value) for name, value in fields) > MAX_HEADER_BYTES
        ):
            raise ProtocolError("the response has too many header fields")
        return fields

    def _write_on(self) -> None:
        transport = self._transport
        pieces = 0
        while self._rest and self._writable and transport is not None and not transport.is_closing():
            refused = self._spare is not None and not self._received and _is_readable(self._spare)
            if refused or pieces == _PIECES:
                # Maybe a refusal. It must be read first: a write that fails ends the transport.
                self._loop.call_soon(self._write_on)
                return
            pieces += 1
            part = self._rest.pop()
            if len(part) > WRITE_BYTES:
                self._rest.append(part[WRITE_BYTES:])
            transport.write(part[:WRITE_BYTES])

    def _read_early_response(self) -> None:
        """Read what the server sent before it closed the connection in the middle of a request's body.

        A server that refuses a body unread resets the connection, and a write then fails before its response is read.
        """
        transport, spare = self._transport, self._spare
        if spare is None or transport is None or transport.get_extra_info("ssl_object") is not None:
            return
        with suppress(OSError):
            while self._response is not None and (data := spare.recv(MAX_WAITING_BYTES)):
                self.data_received(data)

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def _let_go(self, *, ended: bool = False) -> None:
        response, self._response = self._response, None
        self._rest = []
        if self._spare is not None:
            self._drop_spare()
        if response is not None:
            response.leave(ended=ended)

    def _end(self, response: Response, error: Http1Error | None = None, cause: Exception | None = None) -> None:
        """End the exchange; give the connection back if certainly nothing is left on it, else close it."""
        if error is not None:
            response.fail(error, cause)
        transport = self._transport
        unsent = bool(self._rest) or (transport is not None and transport.get_write_buffer_size() > 0)
        self._let_go(ended=error is None)
        if error is not None or not self._keep_alive or unsent or not self.usable:
            self.abort()
            return
        self._used = True
        self.go_on_reading()
        if not response.holds(self):
            self._owner.freed(self, response.headers)

    def _closed(self, error: Exception | None) -> None:
        self._owner.lost(self)
        response = self._response
        if response is None:
            return
        ended = self._until_close and error is None
        if not ended and response.status:
            response.fail(ReadError("the connection broke in the middle of the body"), error)
        elif not ended:
            reused = self._used and not self._received
            if reused:
                self._owner.went_stale(self)
            response.fail(Disconnected("the connection broke before the response", reused=reused), error)
        self._let_go(ended=ended)


def _lower(name: bytes) -> str:
    lower = name.decode("ascii").lower()
    if len(_lower_names) < _MAX_NAMES and len(name) <= _MAX_NAME_BYTES:
        _lower_names[name] = lower
    return lower


def _duplicate(transport: asyncio.Transport) -> socket.socket | None:
    """Return the transport's socket under a descriptor that outlives the transport; None if it has none."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return None
    try:
        spare = socket.socket(fileno=os.dup(sock.fileno()))
    except OSError:
        return None
    spare.setblocking(False)
    return spare


def _is_readable(sock: socket.socket) -> bool:
    """Tell whether data, the end of data, or an error waits to be read."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
