"""One HTTP/1.1 connection: sends requests one after the other, feeds the C parser, judges what it says.

Two readers of one byte stream must never disagree, so whatever is ambiguous ends the connection: two framings, a
framing other than `content-length` or `chunked`, anything that comes unasked or after the end of a response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.wire.http1.errors import Disconnected, Http1Error, ProtocolError, ReadError
from gateway.wire.http1.known_heads import KnownHead, known_head
from gateway.wire.http1.response import Response

MAX_WAITING_BYTES: Final = 256 * 1024
"""Above this, nothing more is read from the socket until the reader has taken what is there."""
MAX_HEADER_BYTES: Final = 64 * 1024
"""All header fields of a head, or all trailers; also all that may come in a row without being a body."""
MAX_HEADERS: Final = 256
"""Header fields, trailers and informational responses included."""
WRITE_BYTES: Final = 256 * 1024
"""A longer request is handed to the transport in pieces of this size, as it takes them."""

_FIRST_BYTES: Final = b"H\r\n"
"""What a response may begin with: the parser would read RTSP too, and skips blank lines left by the one before."""
_SWITCHING_PROTOCOLS: Final = 101
_BODILESS: Final = frozenset({101, 204, 304})
_MAX_NAMES: Final = 1024
_MAX_NAME_BYTES: Final = 64
_lower_names: Final[dict[bytes, str]] = {}
"""Header names as servers write them, in lower case: few, and asked for with each response."""


class ConnectionOwner(Protocol):
    """Who keeps connections. Called from the connection, never while it is used."""

    def opened(self, connection: Connection) -> None:
        """Note that the connection stands."""

    def freed(self, connection: Connection, headers: Mapping[str, str]) -> None:
        """Take back a connection that can be used again; `headers` are those of its last response."""

    def went_stale(self, connection: Connection) -> None:
        """A connection that was kept broke before anything came back: so will those that have been kept for longer."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed or about to be. Maybe called twice."""


class Connection(asyncio.Protocol):
    """One connection, used for one request after the other."""

    __slots__ = (
        "_complete",
        "_fields",
        "_fruitless",
        "_header_count",
        "_in_body",
        "_keep_alive",
        "_known",
        "_loop",
        "_owner",
        "_parser",
        "_paused",
        "_pieces",
        "_received",
        "_response",
        "_rest",
        "_transport",
        "_until_close",
        "_used",
        "_writable",
        "expires_at",
        "key",
        "on_body",
    )

    def __init__(self, key: str, owner: ConnectionOwner) -> None:
        self.key = key
        """The origin's."""
        self.expires_at = 0.0
        """While idle: until when it may be used, on the event loop's clock."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []
        self.on_body: Callable[[bytes], None] = self._pieces.append
        """What the parser calls with each piece of a body: a stream has many of them."""
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._response: Response | None = None
        self._rest: memoryview | None = None
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
        """The connection stands, as far as anyone knows."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, head: bytes, body: bytes) -> Response:
        """Send a request whole; return its response to be. Only for a connection that is not in use."""
        response = Response(self, self._loop)
        transport = self._transport
        if transport is None or transport.is_closing():
            response.fail(Disconnected("the connection was closed at once", reused=self._used))
            response.leave()
            return response
        self._response = response
        self._received = False
        if len(body) <= WRITE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            self._rest = memoryview(body)
            self._write_on()
        return response

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if self._response is not None:
            self._response.fail(ReadError("the connection was closed"))
        self._let_go()
        self._owner.lost(self)
        if self._transport is not None:
            self._transport.abort()

    def go_on_reading(self) -> None:
        """The reader has taken what was there."""
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def give_back(self, headers: Mapping[str, str]) -> None:
        """The response that held the connection, after its end, does so no longer."""
        if self.usable:
            self._owner.freed(self, headers)

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport. After `start_tls` the one who connected calls this."""
        self._transport = cast(asyncio.Transport, transport)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; end the exchange when its response is whole or no response."""
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
        self._fruitless += len(data)
        pieces = self._pieces
        try:
            parser.feed_data(data)
        except HttpParserUpgrade:
            self._keep_alive = False
        except HttpParserError as error:
            self._keep_alive = False
            if not self._complete:
                response.take_in(pieces)
                self._end(response, ProtocolError("the response is not sound HTTP/1.1"), error)
                return
        if pieces:
            self._fruitless = 0
            response.take_in(pieces)
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
        """The peer has ended its side: so ends a body that has no other end."""
        self._closed(None)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by whomever."""
        self._closed(exc)
        self._transport = None
        # The parser holds on to this object's methods.
        self._parser = None

    def pause_writing(self) -> None:
        """The transport has enough to send for now."""
        self._writable = False

    def resume_writing(self) -> None:
        """The transport takes more of the request."""
        self._writable = True
        self._write_on()

    # What the parser calls

    def on_message_begin(self) -> None:
        """A response begins: the one that is waited for, or one after an informational one."""
        if self._complete:
            raise ProtocolError("there is more behind the end of the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field, or a trailer, until all are there."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the status line and the framing; hand the headers of a final response on."""
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
        """Note the end, unless it is that of an informational response."""
        if self._in_body:
            assert self._parser is not None
            if self._fields:
                self._take_fields()  # trailers, which nobody reads
            self._complete = True
            self._keep_alive = self._keep_alive and self._parser.should_keep_alive()

    # What follows

    def _pass_on(self, response: Response, headers: Mapping[str, str], body: bytes) -> None:
        """Hand over a good response that came whole, head and all; what the parser knows is left as it was."""
        response.be_whole(200, headers, body)
        self._response = None
        if self._rest is None and self._transport is not None and not self._transport.get_write_buffer_size():
            self._used = True
            self._owner.freed(self, headers)
        else:
            self.abort()

    def _expect_a_response(self) -> None:
        self._in_body = self._complete = self._keep_alive = self._until_close = False
        self._fields = []
        self._header_count = self._fruitless = 0

    def _take_fields(self) -> list[tuple[bytes, bytes]]:
        """Return the header fields or trailers that have come. Raises ProtocolError for too many."""
        fields, self._fields = self._fields, []
        self._header_count += len(fields)
        # Short heads are the rule, and need no sum.
        if self._header_count > MAX_HEADERS or (
            (self._in_body or self._fruitless > MAX_HEADER_BYTES)
            and sum(len(name) + len(value) for name, value in fields) > MAX_HEADER_BYTES
        ):
            raise ProtocolError("the response has too many header fields")
        return fields

    def _write_on(self) -> None:
        transport = self._transport
        while self._rest is not None and self._writable and transport is not None and not transport.is_closing():
            piece, rest = self._rest[:WRITE_BYTES], self._rest[WRITE_BYTES:]
            self._rest = rest if len(rest) else None
            transport.write(piece)

    def _let_go(self, *, ended: bool = False) -> None:
        response, self._response = self._response, None
        self._rest = None
        if response is not None:
            response.leave(ended=ended)

    def _end(self, response: Response, error: Http1Error | None = None, cause: Exception | None = None) -> None:
        """The exchange is over: give the connection back where it is certain that nothing is left on it."""
        if error is not None:
            response.fail(error, cause)
        transport = self._transport
        unsent = self._rest is not None or (transport is not None and transport.get_write_buffer_size() > 0)
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
