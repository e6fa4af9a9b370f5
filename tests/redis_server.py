"""A real Redis without persistence, on a free port of this machine: killed, paused and started again by tests."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from gateway.state.link import Link
from gateway.state.options import StateAddress, read_address

START_S: Final = 5.0
BUS: Final = 10_000
"""How far above its port a node of a cluster listens for others; Redis 6 knows no other way to say where."""


class RedisServer:
    """A server of its own; `redis-server` of the PATH, or the one that REDIS_SERVER names, such as Valkey's."""

    def __init__(
        self, folder: Path, *, password: str = "", in_cluster: bool = False, certificate: Path | None = None
    ) -> None:
        """`certificate`: it speaks TLS only, with that certificate and the key in the same file."""
        self.port = _free_port(and_above=BUS if in_cluster else 0)
        self._certificate = certificate
        self._folder = folder
        self.password = password
        self._more = ("--cluster-enabled", "yes") if in_cluster else ()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        user = f":{self.password}@" if self.password else ""
        return f"redis://{user}127.0.0.1:{self.port}/0"

    @property
    def address(self) -> StateAddress:
        return read_address(self.url)

    def _listening(self) -> tuple[str, ...]:
        if self._certificate is None:
            return "--port", str(self.port)
        file = str(self._certificate)
        of_tls = (
            "--tls-cert-file",
            file,
            "--tls-key-file",
            file,
            "--tls-ca-cert-file",
            file,
            "--tls-auth-clients",
            "no",
        )
        return "--port", "0", "--tls-port", str(self.port), *of_tls

    async def start(self) -> None:
        """Start without any data, and wait until it listens."""
        password = ["--requirepass", self.password] if self.password else []
        self._process = await asyncio.create_subprocess_exec(
            os.environ.get("REDIS_SERVER", "redis-server"), *self._listening(), "--bind", "127.0.0.1",
            "--save", "", "--appendonly", "no", "--dir", str(self._folder), *password, *self._more,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    return

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it as the kernel would: nothing is saved, nothing is told."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it runs"
        assert self._process.returncode is None, "it has not ended by itself"
        self._process.send_signal(number)

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    async def ask(self, *command: str | bytes | float) -> Any:
        """Send one command, as an operator would with redis-cli. What is no text has surrogates in the answer."""
        from redis.asyncio import Redis

        async with Redis.from_url(
            self.url, protocol=2, decode_responses=True, encoding_errors="surrogateescape"
        ) as client:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # of redis-py


def _free_port(*, and_above: int = 0) -> int:
    """Return a free port; the one so far above it is free too."""
    while True:
        with socket.socket() as free, socket.socket() as above:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
            if not and_above:
                return port
            with suppress(OSError, OverflowError):
                above.bind(("127.0.0.1", port + and_above))
                return port


@asynccontextmanager
async def redis_server(
    folder: Path, *, password: str = "", in_cluster: bool = False, certificate: Path | None = None
) -> AsyncIterator[RedisServer]:
    server = RedisServer(folder, password=password, in_cluster=in_cluster, certificate=certificate)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def linked(link: Link) -> AsyncIterator[Link]:
    """Run a link until the block ends."""
    task = asyncio.get_running_loop().create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(holds: Callable[[], bool], *, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


class SlowProxy:
    """Stands before a Redis, and holds back what comes from either side."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[SlowProxy]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    @property
    def address(self) -> StateAddress:
        return read_address(f"redis://127.0.0.1:{self.port}")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream: asyncio.StreamWriter | None = None
        try:
            there, upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._relay(reader, upstream))
                group.create_task(self._relay(there, writer))
        except OSError:
            pass
        finally:
            for each in (writer, upstream):
                if each is not None:
                    each.transport.abort()
            await asyncio.sleep(0)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(self.delay_s)
                writer.write(data)
        writer.transport.abort()
