"""A client with 64 connections does its worst for two minutes: the loop's lag, memory, and a polite client's answers.

Polite requests are answered whole all the while; the event loop's own lag stays under 100 ms at p99; memory in the
second half is within 20 % of that in the first; afterwards nothing is in flight and no descriptor is left open.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from tests.audit import Findings
from tests.audit.measured import Lags
from tests.gateway_process import GatewayProcess, gateway_process
from tests.paths import ROOT
from tests.raw_http import Peer, serving, whole

SECONDS: Final = 120.0
CONNECTIONS: Final = 64
BODY_BYTES: Final = 31 * 2**20
LAG_S: Final = 0.1
GROWTH: Final = 1.2
JUDGED_FROM: Final = 1.0
"""Scale from which on lag and memory are judged: before, the start weighs too much."""
POLITE_EVERY_S: Final = 0.1
POLITE_S: Final = 30.0
MEMORY_EVERY_S: Final = 0.25
CALM_S: Final = 15.0
"""Seconds after which nothing of the bad client may be left."""
ROUTES: Final = """\
version: 1
defaults: {{retries: 0, timeout: 20s, cooldown: {{failures: 1000000}}}}
providers: {{up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: sk-upstream-key}}}}
models: {{echo: mock/echo, relay: up/quick, long: up/long, slow: up/slow}}
"""
_EVENT: Final = (
    'data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    '"choices":[{{"index":0,"delta":{},"finish_reason":{}}}]}}\n\n'
)
_ANSWER: Final = whole(
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}',
    headers="content-type: application/json\r\n",
)


@dataclass(slots=True)
class Polite:
    """What the polite client lived through."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


async def probe(scale: float) -> Findings:
    """Run the gateway, its upstream, the bad client and the polite one."""
    seconds = max(1.0, SECONDS * scale)
    with tempfile.TemporaryDirectory() as name:
        config, log, lags = (Path(name) / each for each in ("routes.yaml", "log", "lags"))
        async with serving(_upstream) as upstream:
            config.write_text(ROUTES.format(port=upstream.port))
            command = ("-m", "tests.audit.measured", str(lags))
            async with gateway_process(config, log=log, command=command) as gateway:
                polite, memory, acts = await _run(gateway, seconds, body_bytes=max(2**20, int(BODY_BYTES * scale)))
                wrong = await _left(gateway)
        faults = _faults(log)
        measured = Lags.load(lags) if lags.exists() else Lags([])
    findings = Findings([*wrong, *faults], tried=sum(acts.values()))
    findings += _judged(polite, memory, measured, scale) if memory else ["the server ended"]
    findings.figures += [
        f"{len(polite.seconds)} polite requests answered, {len(polite.failed)} not; {_ms(polite.seconds)}",
        f"event loop's own lag {_lag(measured.own_s)}; with waiting for a processor {_lag(measured.all_s)}",
        f"memory {_memory(memory)}",
        f"bad acts begun: {', '.join(f'{name} {count}' for name, count in sorted(acts.items()))}",
    ]
    return findings


async def _run(gateway: GatewayProcess, seconds: float, *, body_bytes: int) -> tuple[Polite, list[int], Counter[str]]:
    """Let both clients ask, and sample the memory, until the bad client ends."""
    polite, memory = Polite(), list[int]()
    async with (
        _hostile(gateway.port, seconds, body_bytes) as hostile,
        asyncio.timeout(seconds + 60),
        asyncio.TaskGroup() as group,
    ):
        ended = group.create_task(hostile.communicate())
        group.create_task(_ask_politely(gateway, polite, ended))
        group.create_task(_watch(gateway, memory, ended))
    return polite, memory, Counter(json.loads(ended.result()[0] or b"{}"))


@asynccontextmanager
async def _hostile(port: int, seconds: float, body_bytes: int) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = map(str, (port, seconds, CONNECTIONS, body_bytes))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.audit.hostile", *arguments, cwd=ROOT, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ask_politely(gateway: GatewayProcess, polite: Polite, ended: asyncio.Task[Any]) -> None:
    """Ask for plain answers and streams in turn, through the relay and the mock, on kept and on new connections."""
    clock, timeout = asyncio.get_running_loop(), aiohttp.ClientTimeout(total=POLITE_S)
    number = 0
    async with aiohttp.ClientSession(gateway.url, timeout=timeout) as session:
        while not ended.done():
            model, stream = ("relay", "echo")[number // 2 % 2], number % 2 == 1
            headers = {"connection": "close"} if number % 5 == 0 else {}
            body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
            began_s = clock.time()
            try:
                async with session.post("/v1/chat/completions", json=body, headers=headers) as response:
                    answer = await response.text()
                is_whole = "data: [DONE]" in answer if stream else '"hello"' in answer
                wrong = "" if response.status == 200 and is_whole else f"{response.status} {answer[-200:]}"
            except (aiohttp.ClientError, TimeoutError) as error:
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                polite.failed.append(f"{model}, {'stream' if stream else 'plain'}: {wrong}")
            else:
                polite.seconds.append(clock.time() - began_s)
            number += 1
            await asyncio.sleep(POLITE_EVERY_S)


async def _watch(gateway: GatewayProcess, memory: list[int], ended: asyncio.Task[Any]) -> None:
    while not ended.done() and not gateway.has_ended:
        memory.append(gateway.memory_bytes())
        await asyncio.sleep(MEMORY_EVERY_S)


async def _upstream(peer: Peer) -> None:
    """Answer at once, or with a stream that is long, or one that is slow."""
    while True:
        head = (await peer.head()).lower()
        body = await peer.reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        if b'"stream":true' not in body.replace(b" ", b""):
            await asyncio.sleep(5 if b'"slow"' in body else 0)
            await peer.send(_ANSWER)
            continue
        is_slow, is_long = b'"slow"' in body, b'"long"' in body
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        event = _EVENT.format(orjson.dumps({"content": "x" * 4000 if is_long else "hello"}).decode(), "null").encode()
        for _ in range(2000 if is_long else 100 if is_slow else 5):
            await peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            if is_slow:
                await asyncio.sleep(0.1)
        last = _EVENT.format("{}", '"stop"').encode() + b"data: [DONE]\n\n"
        await peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))


async def _left(gateway: GatewayProcess) -> list[str]:
    """Return what the bad client left behind, when it had time to go."""
    loop = asyncio.get_running_loop()
    end_s, in_flight, open_ = loop.time() + CALM_S, -1.0, -1
    async with aiohttp.ClientSession(gateway.url, timeout=aiohttp.ClientTimeout(total=CALM_S)) as session:
        while loop.time() < end_s and not gateway.has_ended:
            async with session.get("/metrics") as response:
                text = await response.text()
            in_flight = next(
                float(line.split()[1]) for line in text.splitlines() if line.startswith("gateway_in_flight ")
            )
            open_ = len(os.listdir(f"/proc/{gateway.process.pid}/fd"))
            if not in_flight and open_ < CONNECTIONS:
                return []
            await asyncio.sleep(0.2)
    return [f"{CALM_S:g} s after the bad client left, {in_flight:g} requests are in flight, {open_} descriptors open"]


def _judged(polite: Polite, memory: list[int], lags: Lags, scale: float) -> list[str]:
    wrong = [f"a polite request failed: {why}" for why in polite.failed]
    if not polite.seconds:
        wrong.append("no polite request was answered")
    if scale < JUDGED_FROM:
        return wrong
    if (p99_s := lags.own_s(0.99)) > LAG_S:
        wrong.append(f"the event loop's own lag is {p99_s * 1000:.0f} ms at p99")
    first, second = _halves(memory)
    if statistics.mean(second) > GROWTH * statistics.mean(first):
        wrong.append(f"memory grows: {_memory(memory)}")
    return wrong


def _faults(log: Path) -> list[str]:
    """Return the first lines of the log that tell of a fault of the gateway's own."""
    with log.open(errors="replace") as lines:
        faults = [line[:500] for line in lines if not line.startswith("{") or '"level":"error"' in line]
    return [f"the gateway logged {line.strip()}" for line in faults[:3]]


def _halves(memory: list[int]) -> tuple[list[int], list[int]]:
    half = max(1, len(memory) // 2)
    return memory[:half], memory[half:] or memory


def _memory(memory: list[int]) -> str:
    shown = (f"{statistics.mean(half) / 1e6:.0f} MB (at most {max(half) / 1e6:.0f})" for half in _halves(memory or [0]))
    return " in the first half, ".join(shown) + " in the second"


def _lag(percentile: Any) -> str:
    return ", ".join(
        f"{name} {percentile(share) * 1000:.0f} ms" for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1))
    )


def _ms(seconds: list[float]) -> str:
    ordered = sorted(seconds) or [0.0]
    shown = (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
    return ", ".join(
        f"{name} {ordered[min(len(ordered) - 1, int(len(ordered) * at))] * 1000:.0f} ms" for name, at in shown
    )
