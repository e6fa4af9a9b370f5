"""`python -m tests.bench.upstream PORT SLOW_EVERY_S`: the upstream of the benchmark, with bytes made beforehand.

A question that wants no stream is answered at once, on chat at the length it has itself. One that does gets EVENTS
events: BURST to a write, without a pause, or, when the path begins with `/slow`, one every SLOW_EVERY_S seconds with
the time it was sent in it. The path tells which wire it speaks, as `wires.py` has them. With a write for each of the
events this upstream, on its half of the machine, gives no more streams than some of the peers can pass on, and would be
what is measured. (`/plain` is answered by an nginx where there is one: see `peers.py`.)
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import Final, cast

import httptools
import uvloop

from tests.bench.messages import EVENTS, SIZES, answer
from tests.bench.wires import SPOKEN, WORD, Spoken, spoken_at

BURST: Final = 10
"""Events in one write, where nothing is waited for."""
STAMP: Final = "sent at {:.6f}"
"""In the content of a slow stream's events: seconds on the machine's monotonic clock."""


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _plain(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


_ANSWERS: Final = [(length, _plain(answer(length))) for length in (0, *SIZES.values())]
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _end(spoken: Spoken) -> bytes:
    return _chunk(spoken.last) + b"0\r\n\r\n"


def _writes(spoken: Spoken) -> list[bytes]:
    """Return a whole stream, write by write."""
    words = [_chunk(spoken.event(WORD, number)) for number in range(EVENTS)]
    bursts = [b"".join(words[place : place + BURST]) for place in range(0, EVENTS, BURST)]
    begun = _chunk(spoken.begun) if spoken.begun else b""
    return [_HEAD + begun, *bursts, _end(spoken)]


_WRITES: Final = {id(spoken): _writes(spoken) for spoken in SPOKEN.values()}
_PLAIN: Final = {id(spoken): _plain(spoken.plain) for spoken in SPOKEN.values()}
_CHAT: Final = spoken_at(b"")


class Upstream(asyncio.Protocol):
    """One connection. Requests come one after the other, each when the last was answered."""

    def __init__(self, slow_every_s: float) -> None:
        self._slow_every_s = slow_every_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._length = 0
        self._wants_stream = False
        self._timer: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._path, self._length, self._wants_stream = b"", 0, False

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._length += len(body)
        # Some peers write the request anew, so the spelling may vary; long questions are never for streams.
        if self._length < 10_000 and b'"stream":true' in body.replace(b" ", b""):
            self._wants_stream = True

    def on_message_complete(self) -> None:
        spoken = spoken_at(self._path)
        if not self._wants_stream and b":streamGenerate" not in self._path:
            if spoken is _CHAT:
                data = next(data for length, data in reversed(_ANSWERS) if length <= self._length * 1.01)
            else:
                data = _PLAIN[id(spoken)]
            self._transport.write(data)
        elif self._path.startswith(b"/slow"):
            self._transport.write(_HEAD + (_chunk(spoken.begun) if spoken.begun else b""))
            self._send_slowly(spoken, 0)
        else:
            self._send_on(_WRITES[id(spoken)], 0)

    def _send_on(self, writes: list[bytes], place: int) -> None:
        self._transport.write(writes[place])
        if place + 1 < len(writes):
            self._timer = self._loop.call_soon(self._send_on, writes, place + 1)

    def _send_slowly(self, spoken: Spoken, number: int) -> None:
        if number == EVENTS:
            self._transport.write(_end(spoken))
            return
        self._transport.write(_chunk(spoken.event(STAMP.format(time.monotonic()), number)))
        self._timer = self._loop.call_later(self._slow_every_s, self._send_slowly, spoken, number + 1)


async def _serve(port: int, slow_every_s: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Upstream(slow_every_s), "127.0.0.1", port, backlog=4096
    )
    gc.freeze()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
