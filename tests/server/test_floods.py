"""Upstreams that send without end what says nothing: a `bad_response` within a bound, while the loop goes on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
import litellm  # noqa: F401 - warns when it is loaded, which is an error in a thread
import orjson
import pytest

from tests.litellm_calls import QUIET
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import HELLO, RunningGateway, Start

pytestmark = [*QUIET]

OK: Final = b"HTTP/1.1 200 OK\r\n"
EVENTS: Final = OK + b"content-type: text/event-stream\r\n"
CHUNKED: Final = b"transfer-encoding: chunked\r\n\r\n"
EVENT: Final = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
BLOCK_BYTES: Final = 256 * 1024
MOST_BYTES: Final = 64 * 1024 * 1024
"""A flood ends here if nobody ends it."""
MOST_CPU_S: Final = 0.3
"""Most processor time of one turn of the loop, on a machine that is busy. Unmended it is up to 13 s."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def squeezed(data: bytes, size: int) -> bytes:
    """Return the beginning of a gzip body of `data`, again and again."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(data) for _ in range(size // len(data))) + packer.flush(zlib.Z_SYNC_FLUSH)


BLANKS: Final = b"\n" * BLOCK_BYTES

FLOODS: Final = {
    "blank lines": (EVENTS + CHUNKED, chunk(BLANKS)),
    "blank lines, CR LF": (EVENTS + CHUNKED, chunk(b"\r\n" * (BLOCK_BYTES // 2))),
    "blank lines in pieces": (EVENTS + CHUNKED, chunk(b"\n") * (BLOCK_BYTES // 6)),
    "comments": (EVENTS + CHUNKED, chunk(b":\n\n" * (BLOCK_BYTES // 3))),
    "long comments": (EVENTS + CHUNKED, chunk(b":" + b"x" * BLOCK_BYTES + b"\n\n")),
    "one comment of many lines": (EVENTS + CHUNKED, chunk(b":\n" * (BLOCK_BYTES // 2))),
    "events of many lines": (EVENTS + CHUNKED, chunk(b":\n" * 120_000 + b"\n")),
    "empty data": (EVENTS + CHUNKED, chunk(b"data:\n\n" * (BLOCK_BYTES // 7))),
    "names only": (EVENTS + CHUNKED, chunk(b"event: ping\n\n" * (BLOCK_BYTES // 13))),
    "squeezed blank lines": (EVENTS + b"content-encoding: gzip\r\n\r\n" + squeezed(BLANKS, MOST_BYTES), b""),
    "blanks instead of JSON": (OK + b"content-type: application/json\r\n" + CHUNKED, chunk(b" " * BLOCK_BYTES)),
    "interim responses": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * (BLOCK_BYTES // 28)),
    "header fields": (OK, b"x: y\r\n" * (BLOCK_BYTES // 6)),
    "one header field": (OK + b"x: ", b"y" * BLOCK_BYTES),
    "chunk extensions": (EVENTS + CHUNKED + b"1;", b"x=y;" * (BLOCK_BYTES // 4)),
    "trailers": (EVENTS + CHUNKED + chunk(b"\n") + b"0\r\n", b"x: y\r\n" * (BLOCK_BYTES // 6)),
}

ROUTES: Final = """\
version: 1
defaults: {retries: 0, timeout: 4s, cooldown: {failures: 1000}}
providers:
  up: {kind: openai, base_url: "BASE_URL", api_key: sk-upstream}
  flood: {kind: openai, base_url: "FLOOD", api_key: sk-flood, adapter: ADAPTER}
models:
  flooded: [flood/a, up/a]
  alone: flood/a
"""


class Flood:
    """A server in threads of its own that answers each request with a beginning, and then the same block for ever."""

    def __init__(self, begin: bytes, block: bytes) -> None:
        self._begin = begin
        self.block = block
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.sent_bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(self._begin)
            self.sent_bytes += len(self._begin)
            while self.block and self.sent_bytes < MOST_BYTES:
                connection.sendall(self.block)
                self.sent_bytes += len(self.block)
            while connection.recv(65536):
                pass


@asynccontextmanager
async def watching() -> AsyncIterator[list[float]]:
    """Measure the processor time of this thread between two timers, while the block runs; yield the times."""
    times: list[float] = []
    before_s = time.thread_time()

    async def tick() -> None:
        nonlocal before_s
        while True:
            await asyncio.sleep(0.001)
            now_s = time.thread_time()
            times.append(now_s - before_s)
            before_s = now_s

    ticking = asyncio.get_running_loop().create_task(tick())
    try:
        yield times
    finally:
        ticking.cancel()


@pytest.fixture(params=FLOODS)
def flood(request: pytest.FixtureRequest) -> Iterator[tuple[str, Flood]]:
    server = Flood(*FLOODS[request.param])
    yield request.param, server
    server.close()


@pytest.mark.parametrize("adapter", ["relay", "litellm"])
async def test_a_flood_is_a_bad_response_and_the_loop_goes_on(
    start: Start, upstream: ScriptedOpenAI, flood: tuple[str, Flood], adapter: str
) -> None:
    _, server = flood
    gateway: RunningGateway = await start(ROUTES.replace("FLOOD", server.base_url).replace("ADAPTER", adapter))
    async with watching() as times:
        answer = await gateway.chat("flooded", stream=True)
    assert max(times) < MOST_CPU_S
    assert (answer.status, answer.events[-1], len(upstream.calls)) == (200, "[DONE]", 1)
    assert await gateway.metric('gateway_attempts_total{kind="bad_response",target="flood/a"}') == 1
    assert server.sent_bytes < MOST_BYTES or not server.block


@pytest.mark.parametrize("adapter", ["relay", "litellm"])
async def test_a_flood_after_content_breaks_the_stream(start: Start, adapter: str) -> None:
    server = Flood(EVENTS + CHUNKED + chunk(EVENT), chunk(BLANKS))
    gateway: RunningGateway = await start(ROUTES.replace("FLOOD", server.base_url).replace("ADAPTER", adapter))
    body = {"model": "flooded", "messages": HELLO, "stream": True}
    received = b""
    async with watching() as times, gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as response:
        with suppress(aiohttp.ClientPayloadError):
            async for part in response.content.iter_any():
                received += part
    assert max(times) < MOST_CPU_S
    last = orjson.loads(received.strip().rpartition(b"data: ")[2])
    assert last["error"]["attempts"][0]["kind"] == "bad_response"
    server.close()


async def test_keepalive_comments_are_no_flood(start: Start) -> None:
    comments = b": keepalive\n\n" * 500 + EVENT
    end = EVENT.replace(b'"delta"', b'"finish_reason":"stop","delta"') + b"data: [DONE]\n\n"
    server = Flood(EVENTS + b"connection: close\r\n" + CHUNKED + chunk(comments * 40 + end) + b"0\r\n\r\n", b"")
    gateway: RunningGateway = await start(ROUTES.replace("FLOOD", server.base_url).replace("ADAPTER", "relay"))
    answer = await gateway.chat("alone", stream=True)
    assert (answer.events[-1], len(answer.events)) == ("[DONE]", 42)
    server.close()
