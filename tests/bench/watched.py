"""`python -m tests.bench.watched`: what an open page costs, in instructions of user space as callgrind counts them.

Unlike times they do not depend on other work of the machine. Valgrind slows a gateway down 50 times, so the page cannot
be left open beside 1,000 requests a second. Three figures are counted apart and put together: a request, by a gateway
that nobody looks at; an answer to the page with 200 new requests; and what it takes to count a request while somebody
looks, by the counters alone, with requests that ended a millisecond after each other.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from gateway.server.live.counts import LiveCounts
from gateway.telemetry.observer import EndedRow
from gateway.telemetry.report import Attempt, CallReport
from tests.bench.messages import answer
from tests.compiling import table
from tests.paths import ROOT

RATE: Final = 1000
"""Requests a second for which the sum is told."""
EVERY_S: Final = 15.0
"""Seconds between two questions of a page that sees over 200 new requests each time."""
REQUESTS: Final = 800
WARM: Final = 400
"""Requests before the first count: what is made once is made then."""
PAGES: Final = 4
BETWEEN: Final = 200
"""Requests between two pages: each of them has all rows anew."""
COUNTED: Final = 10_000
"""Requests of one slot of ten seconds."""
SLOTS: Final = (1, 3)
"""Slots of requests that the counters get; what comes once is in both."""
_READY_S: Final = 120.0
_ROUTES: Final = """\
version: 1
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: sk-none}}
models: {{smart: [up/one, up/two], fast: up/three}}
"""


async def until(is_so: Callable[[], bool]) -> None:
    """Look again and again until something is so."""
    while not is_so():  # noqa: ASYNC110 - another process makes it so
        await asyncio.sleep(0.1)


class Upstream(asyncio.Protocol):
    """Answers each request, which comes in one piece, with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        body = answer(0)
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )


class Gateway:
    """A gateway in callgrind."""

    def __init__(self, folder: Path, port: int, process: asyncio.subprocess.Process) -> None:
        self._folder = folder
        self._port = port
        self._process = process
        self._dumps = 0

    async def counted(self) -> int:
        """Return the instructions since the last call."""
        self._dumps += 1
        command = ["callgrind_control", "--dump", str(self._process.pid)]
        asked = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
        await asked.wait()
        dump = self._folder / f"out.{self._dumps}"
        async with asyncio.timeout(_READY_S):
            await until(lambda: dump.exists() and "totals: " in dump.read_text())
        return int(dump.read_text().rpartition("totals: ")[2].split()[0])

    async def ask(self, count: int, path: str = "/v1/chat/completions") -> None:
        """Ask so often, over one connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for number in range(count):
            writer.write(_request(path, "fast" if number % 2 else "smart"))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"bench: {path} answers {head[:60]!r}")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert length is not None, "the gateway tells the length of what it has whole"
            await reader.readexactly(int(length[1]))
        writer.close()


def _request(path: str, model: str) -> bytes:
    if path.startswith("/-/"):
        return b"GET %b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % path.encode()
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Say hello to me."}]}).encode()
    head = b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (path.encode(), len(body)) + body


async def measure(folder: Path) -> dict[str, float]:
    """Return what is counted, by name."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    config = folder / "routes.yaml"
    config.write_text(_ROUTES.format(port=server.sockets[0].getsockname()[1]))
    port_file = folder / "port"
    process = await asyncio.create_subprocess_exec(
        "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", sys.executable, "-m", "gateway", "serve",
        str(config), "--port", "0", "--port-file", str(port_file), cwd=ROOT, stdout=DEVNULL, stderr=DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_READY_S):
            await until(port_file.exists)
        gateway = Gateway(folder, int(port_file.read_text()), process)
        return await _figures(gateway)
    finally:
        process.terminate()
        await process.wait()
        server.close()


async def _figures(gateway: Gateway) -> dict[str, float]:
    await gateway.ask(WARM)
    await gateway.counted()
    await gateway.ask(REQUESTS)
    alone = await gateway.counted() / REQUESTS
    await gateway.ask(1, "/-/")
    pages = 0
    for _ in range(PAGES):
        await gateway.ask(BETWEEN)
        await gateway.counted()
        await gateway.ask(1, "/-/")
        pages += await gateway.counted()
    return {"alone": alone, "page": pages / PAGES}


def count(slots: int) -> None:
    """Have the counters hear of the requests of some slots, each alone, at RATE."""
    gc.disable()
    targets = table("models: {smart: [up/one, up/two], fast: up/three}\nproviders: {up: {kind: mock}}\n").targets
    rows: list[EndedRow] = []
    for number in range(COUNTED * max(SLOTS)):
        target = targets[number % len(targets)]
        attempts = [Attempt(target.name, target.label, None, 200, 1.0 + number % 97)]
        report = CallReport(alias="fast", attempts=attempts, target=target)
        rows.append((report, "chat", 200, False, None, None, None, 0.1, 1e9 + number / RATE))
    live = LiveCounts()
    for row in rows[: COUNTED * slots]:
        live.hear([row])


def counting() -> float:
    """Return the instructions that it takes to count a request."""
    found = []
    for slots in (0, *SLOTS):  # the first one compiles what the others find compiled
        command = [
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            sys.executable,
            "-m",
            __spec__.name,
        ]
        done = subprocess.run(
            [*command, str(slots)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
        told = re.search(r"Collected : (\d+)", done.stderr)
        assert told is not None, "callgrind tells it at its end"
        found.append(int(told[1]))
    return (found[2] - found[1]) / COUNTED / (SLOTS[1] - SLOTS[0])


def lines(found: dict[str, float]) -> Iterable[str]:
    """Yield the table."""
    alone, counted, page = found["alone"], found["counted"], found["page"]
    of_page = page / (RATE * EVERY_S)
    yield f"a request that nobody looks at       {alone:14,.0f}"
    yield f"to count it while somebody looks     {counted:14,.0f}  {counted / alone:.2%}"
    yield f"an answer to the page, 200 new rows  {page:14,.0f}"
    yield f"of which a request bears             {of_page:14,.0f}  {of_page / alone:.2%}"
    yield f"an open page at {RATE:,} requests/s: {(counted + of_page) / alone:.2%} more instructions a request"


def main() -> int:
    """Measure and print; return the exit code."""
    if len(sys.argv) > 1:
        count(int(sys.argv[1]))
        return 0
    missing = [tool for tool in ("valgrind", "callgrind_control") if shutil.which(tool) is None]
    if missing:
        print(f"bench: {', '.join(missing)} is not installed: apt-get install valgrind", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="watched-") as name:
        found = asyncio.run(measure(Path(name)))
    print("\n".join(lines({**found, "counted": counting()})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
