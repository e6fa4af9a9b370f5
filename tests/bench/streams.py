"""`python -m tests.bench.streams < what.json`: a client that reads streams and notes when each event came.

It takes what `load.read_streams` writes and prints what `load.Streamed` holds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, cast

import httptools
import uvloop

from tests.bench.messages import EVENTS

RAMP_S: Final = 0.001
"""Between two connections that are opened, when each reads one stream."""
_STAMP: Final = re.compile(rb"sent at (\d+\.\d{6})")
_GIVE_UP_S: Final = 60.0


class _Notes:
    """What all connections found."""

    def __init__(self, *, request: bytes, end_s: float) -> None:
        self.request = request
        self.end_s = end_s
        self.streams = 0
        self.broken = 0
        self.first_ms: list[float] = []
        self.late_ms: list[float] = []


class _Reader(asyncio.Protocol):
    """One connection: asks, reads to the end, and asks again while there is time."""

    def __init__(self, notes: _Notes) -> None:
        self._notes = notes
        self._transport: asyncio.Transport
        self.done = asyncio.get_running_loop().create_future()
        """Set when no more will be asked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._began_s = time.monotonic()
        self._events = 0
        self._body = b""
        self._stamped = 0
        self._transport.write(self._notes.request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        now_s = time.monotonic()
        if not self._body:
            self._notes.first_ms.append((now_s - self._began_s) * 1e3)
        self._body += data
        for stamp in _STAMP.finditer(self._body, self._stamped):
            self._stamped = stamp.end()
            self._notes.late_ms.append((now_s - float(stamp[1])) * 1e3)

    def on_message_complete(self) -> None:
        whole = self._body.count(b'"content":') >= EVENTS and self._body.rstrip().endswith(b"[DONE]")
        self._notes.streams += 1
        self._notes.broken += not whole
        if time.monotonic() < self._notes.end_s:
            asyncio.get_running_loop().call_soon(self._ask)
        else:
            self._transport.close()
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._notes.streams += 1
            self._notes.broken += 1
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _read(asked: Mapping[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    began_s = time.monotonic()
    notes = _Notes(request=asked["request"].encode(), end_s=began_s + asked["seconds"])
    readers: list[_Reader] = []
    for _ in range(asked["connections"]):
        _, reader = await loop.create_connection(lambda: _Reader(notes), asked["host"], asked["port"])
        readers.append(reader)
        if not asked["seconds"]:
            await asyncio.sleep(RAMP_S)
    await asyncio.wait([reader.done for reader in readers], timeout=asked["seconds"] + _GIVE_UP_S)
    notes.broken += sum(not reader.done.done() for reader in readers)
    return {
        "streams": notes.streams,
        "seconds": time.monotonic() - began_s,
        "broken": notes.broken,
        "first_ms": notes.first_ms,
        "late_ms": notes.late_ms,
    }


if __name__ == "__main__":
    gc.disable()
    found = json.dumps(uvloop.run(_read(json.load(sys.stdin))))
    # With PYTHONUNBUFFERED, `print` loses what a pipe does not take at once.
    with open(sys.stdout.fileno(), "w", closefd=False) as output:
        output.write(found)
