"""Odd HTTP/1.1, read by our own reader and by aiohttp's: both answer the same requests, to the byte.

Each payload goes over two connections of a real gateway. The first request on one is of the common form, so that
our own reader (`server/connection.py`) sees the payload first; that on the other is not, so that aiohttp reads all that
follows. Behind each payload is a last request, which ends the connection.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.audit import Findings
from tests.audit.probes._http_payloads import Payload, payloads, post
from tests.gateway_process import GatewayProcess, gateway_process
from tests.responses import without_varying

ROUTES: Final = "version: 1\nmodels: {echo: mock/echo}\n"
OURS: Final = post("say:first")
AIOHTTPS: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"

AT_A_TIME: Final = 24
QUIET_S: Final = 0.5
"""The gateway waits for more of the request if it says nothing for so long."""
LONG_QUIET_S: Final = 3.0
"""The same, before a difference is believed."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")


@dataclass(frozen=True, slots=True)
class Heard:
    """All that came back for a payload."""

    data: bytes
    closed: bool

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in _STATUS.findall(self.data)]

    @property
    def told(self) -> list[str]:
        """What the answered requests said."""
        return [said.decode() for said in re.findall(rb'"content": ?"(say:[a-z0-9]*)"', self.data)]

    def __str__(self) -> str:
        end = "closed" if self.closed else "open"
        return f"{self.statuses} {self.told} {end}"


async def probe(scale: float) -> Findings:
    """Send every payload both ways."""
    chosen = payloads(scale)
    findings = Findings(tried=len(chosen))
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "routes.yaml"
        config.write_text(ROUTES)
        async with gateway_process(config, log=Path(name) / "log", flags=("--log-level", "error")) as gateway:
            slots = asyncio.Semaphore(AT_A_TIME)

            async def compare(payload: Payload) -> str | None:
                async with slots:
                    return await _compared(gateway, payload)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(compare(payload)) for payload in chosen]
            findings += [found for task in tasks if (found := task.result()) is not None]
            if gateway.has_ended:
                findings.append("the gateway ended")
        log = (Path(name) / "log").read_text(errors="replace").splitlines()
        findings += [f"the gateway logged {line[:500]}" for line in log[:5]]
    return findings


async def _compared(gateway: GatewayProcess, payload: Payload) -> str | None:
    """Return what is wrong with the two answers to a payload, or None."""
    for quiet_s in (QUIET_S, LONG_QUIET_S):
        ours, aiohttps = await asyncio.gather(
            _heard(gateway, OURS, payload, quiet_s), _heard(gateway, AIOHTTPS, payload, quiet_s)
        )
        if agree(ours, aiohttps):
            break
    shown = f"{payload.sort}: {payload.data[:160]!r}" + (f" … {len(payload.data)} bytes" if payload.data[160:] else "")
    if not agree(ours, aiohttps):
        why = "" if str(ours) != str(aiohttps) else f", which differ in {_difference(ours.data, aiohttps.data)}"
        return f"{shown}: our reader said {ours}, aiohttp's {aiohttps}{why}"
    if payload.must_refuse and any(status < 300 for status in ours.statuses):
        return f"{shown}: answered {ours}, but {payload.must_refuse}"
    return None


def agree(ours: Heard, aiohttps: Heard) -> bool:
    """Tell whether both readers answered the same.

    aiohttp parses all that has come before it answers any of it, and drops good requests with the malformed one behind
    them: its answer is then the last of ours, a 400 that ends the connection, and nothing before it was done.
    """
    is_last = aiohttps.closed and aiohttps.statuses == [400] and ours.statuses[-1:] == [400]
    return ours == aiohttps or (is_last and ours.closed and ours.data.endswith(aiohttps.data))


async def _heard(gateway: GatewayProcess, first: bytes, payload: Payload, quiet_s: float) -> Heard:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(first)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"[Cc]ontent-[Ll]ength: (\d+)", head)
        assert length is not None, "answers to the first request have a length"
        await reader.readexactly(int(length[1]))
        with suppress(ConnectionError):  # what it said before is read below
            by = payload.pieces or len(payload.data)
            for start in range(0, len(payload.data), by):
                writer.write(payload.data[start : start + by])
                await writer.drain()
                if payload.pieces:
                    await asyncio.sleep(0.001)
            writer.write(LAST)
            await writer.drain()
        data, closed = b"", False
        with suppress(TimeoutError):
            while not closed:
                async with asyncio.timeout(quiet_s):
                    try:
                        part = await reader.read(2**16)
                    except ConnectionError:
                        part = b""
                data, closed = data + part, not part
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return Heard(without_varying(data), closed)


def _difference(one: bytes, other: bytes) -> str:
    place = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"{one[max(0, place - 40) : place + 60]!r} and {other[max(0, place - 40) : place + 60]!r}"
