"""`python -m tests.audit.hostile PORT SECONDS CONNECTIONS BODY_BYTES`: a client that does its worst, on this machine.

Each of its connections does one bad act after the other, chosen by a fixed seed, for a few seconds each; it prints how
often it did each as JSON. It talks to 127.0.0.1 only and ends by itself.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from tests.audit.probes._http_payloads import body, payloads, post

ACT_S: Final = 6.0
"""The longest of one act."""
HUGE_AT_A_TIME: Final = 12
"""Connections that send a huge body at once."""
PATHS: Final = (b"/v1/chat/completions", b"/v1/messages", b"/v1/responses")
_SLICE: Final = 2**18
_FLOOD: Final = 200
_HEADERS: Final = "Content-Type: application/json\r\n"


@dataclass(slots=True)
class Connection:
    """One connection and what all of them share."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    numbers: random.Random
    huge: Sequence[bytes]
    bomb: bytes
    malformed: Sequence[bytes]
    slots: asyncio.Semaphore

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE):
            self.writer.write(data[start : start + _SLICE])
            await self.writer.drain()

    async def dribble(self, data: bytes, *, pause_s: float = 0.05) -> None:
        for byte in data:
            self.writer.write(bytes((byte,)))
            await self.writer.drain()
            await asyncio.sleep(pause_s)

    async def read_all(self) -> None:
        while await self.reader.read(_SLICE):
            pass

    async def read_answer(self) -> None:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self.reader.readexactly(int(length or 0))

    def reset(self) -> None:
        """Close with a TCP reset."""
        with socket.socket(fileno=socket.dup(self.writer.get_extra_info("socket").fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()


def _anywhere(at: Connection, request: bytes) -> bytes:
    """Return the request, or the same for another wire, which has to be translated or comes to nothing."""
    return request.replace(PATHS[0], at.numbers.choice(PATHS), 1)


Act: TypeAlias = Callable[[Connection], Awaitable[None]]


async def slow_head(at: Connection) -> None:
    await at.dribble(post("say:slow"))


async def slow_body(at: Connection) -> None:
    await at.send(post("", data=b"{", length="Content-Length: 100000\r\n"))
    await at.dribble(b" " * 100)


async def slow_chunks(at: Connection) -> None:
    await at.send(post("", "Transfer-Encoding: chunked\r\n", data=b"", length=""))
    await at.send(b"1\r\n \r\n" * 20_000)
    await at.dribble(b"1\r\n \r\n" * 20)


async def half_closed(at: Connection) -> None:
    await at.send(post("", data=_ask("long", stream=True)))
    at.writer.write_eof()
    await at.read_all()


async def huge_body(at: Connection) -> None:
    data = at.numbers.choice(at.huge)
    async with at.slots:
        await at.send(_anywhere(at, post("", data=data)))
        await at.read_answer()


async def gzip_bomb(at: Connection) -> None:
    await at.send(post("", "Content-Encoding: gzip\r\n", data=at.bomb))
    await at.read_answer()


async def flood(at: Connection) -> None:
    for _ in range(_FLOOD):
        await at.send(post("say:tiny"))
        await at.read_answer()


async def flood_of_unknown_models(at: Connection) -> None:
    for number in range(_FLOOD):
        await at.send(post("", data=body("say:x", f"unknown-{number}-{'x' * at.numbers.choice((1, 200, 5000))}")))
        await at.read_answer()


async def pipelining(at: Connection) -> None:
    await at.send(post("say:tiny") * _FLOOD)
    await at.read_answer()
    at.reset()


async def pipelining_unread(at: Connection) -> None:
    await at.send(_anywhere(at, post("", data=_ask("long", stream=True))) * 50)
    await asyncio.sleep(ACT_S)


async def abandoned_stream(at: Connection) -> None:
    await at.send(_anywhere(at, post("", data=_ask(at.numbers.choice(("long", "slow")), stream=True))))
    await at.reader.read(100)
    at.reset()


async def unread_stream(at: Connection) -> None:
    await at.send(_anywhere(at, post("", data=_ask("long", stream=True))))
    await asyncio.sleep(ACT_S)


async def malformed(at: Connection) -> None:
    await at.send(at.numbers.choice(at.malformed))
    await at.read_all()


async def left_at_once(at: Connection) -> None:
    await at.send(_anywhere(at, post("", data=_ask("slow"))))
    at.reset()


ACTS: Final[tuple[Act, ...]] = (
    slow_head, slow_body, slow_chunks, half_closed, huge_body, gzip_bomb, flood, flood_of_unknown_models, pipelining,
    pipelining_unread, abandoned_stream, unread_stream, malformed, left_at_once,
)  # fmt: skip


def _ask(model: str, *, stream: bool = False) -> bytes:
    return json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()


def huge_bodies(size: int) -> list[bytes]:
    """Return bodies of `size` bytes that cost most where they are parsed whole."""
    start, end = _ask("relay")[:-1] + b', "x": ', b"}"
    room = size - len(start) - len(end)
    return [
        start + filled + end
        for filled in (
            b"[" + b"[]," * ((room - 4) // 3) + b"[]]",
            b"[" + b"{}," * ((room - 4) // 3) + b"{}]",
            b"[" + b"[]," * ((room - 15) // 3) + b'"\\ud800"]',
            b"{" + b",".join(b'"k%d":1' % number for number in range(room // 12)) + b"}",
            b'"' + b"\\u0041" * ((room - 2) // 6) + b'"',
            b"[" * (room // 2) + b"]" * (room // 2),
        )
    ]


async def act_until(end_s: float, port: int, shared: Callable[..., Connection], numbers: random.Random) -> Counter[str]:
    """Do one act after the other, each on a connection of its own."""
    done: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    while loop.time() < end_s:
        act = numbers.choice(ACTS)
        done[act.__name__] += 1
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        try:
            with suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout_at(min(end_s, loop.time() + ACT_S)):
                    await act(shared(reader, writer, numbers))
        finally:
            writer.transport.abort()
    return done


async def run(port: int, seconds: float, connections: int, body_bytes: int) -> Counter[str]:
    """Do the worst, and return how often each act was begun."""
    huge, bomb = huge_bodies(body_bytes), gzip.compress(bytes(body_bytes * 8), 1)
    odd, slots = [payload.data for payload in payloads(0.05)], asyncio.Semaphore(HUGE_AT_A_TIME)

    def shared(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, numbers: random.Random) -> Connection:
        return Connection(reader, writer, numbers, huge, bomb, odd, slots)

    end_s = asyncio.get_running_loop().time() + seconds
    each = (act_until(end_s, port, shared, random.Random(number)) for number in range(connections))
    return sum(await asyncio.gather(*each), Counter())


if __name__ == "__main__":
    port_, seconds_, connections_, bytes_ = sys.argv[1:]
    print(json.dumps(asyncio.run(run(int(port_), float(seconds_), int(connections_), int(bytes_)))))
