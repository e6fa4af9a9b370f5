"""Sockets that systemd hands over, and what it is told: with a socket of the test's in systemd's place."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TextIO

import aiohttp
import pytest

from gateway.server import systemd
from tests.paths import ROOT
from tests.server.conftest import save

HAND_OVER: Final = """\
import os, sys
given, names, *command = sys.argv[1:]
moved = [os.dup(int(number)) for number in given.split()]
for position, number in enumerate(moved):
    while number < 3 + len(moved):
        number = os.dup(number)
    moved[position] = number
for position, number in enumerate(moved):
    os.dup2(number, 3 + position)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(moved)), LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""
"""Does as systemd does: the sockets are the descriptors from 3 on."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\nmodels: {echo: mock/echo}\n")
    return path


@asynccontextmanager
async def served(
    config: Path,
    *sockets: socket.socket | TextIO,
    names: str = "",
    flags: Sequence[str] = (),
    notify: Path | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Serve on these sockets."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environ |= {"PYTHONPATH": str(ROOT)} | ({} if notify is None else {"NOTIFY_SOCKET": str(notify)})
    given = [sock.fileno() for sock in sockets]
    hand_over = (sys.executable, "-c", HAND_OVER, " ".join(map(str, given)), names) if sockets else ()
    process = await asyncio.create_subprocess_exec(
        *hand_over, sys.executable, "-m", "gateway", "serve", str(config), *flags,
        pass_fds=given, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def status(url: str, *, path: Path | None = None) -> int:
    connector = None if path is None else aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
        return response.status


@pytest.mark.timeout(30)
async def test_a_socket_of_systemd_is_served_and_outlives_the_process(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for _ in range(2):  # what comes between two processes waits
            asking = asyncio.get_running_loop().create_task(status(f"{url}/v1/models"))
            async with served(config, listener) as process:
                assert await asking == 200
                assert process.stdout is not None
                assert (await process.stdout.readline()).decode().rstrip().endswith(f"on {url}")
                process.send_signal(signal.SIGTERM)
                await process.communicate()
                assert process.returncode == 0


async def test_a_unix_socket_of_systemd_and_one_for_operators(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as admin:
        unix.bind(str(path))
        unix.listen()
        at = f"http://127.0.0.1:{admin.getsockname()[1]}"
        async with served(config, unix, admin, names="web:admin") as process:
            assert await status("http://localhost/v1/models", path=path) == 200
            assert await status("http://localhost/metrics", path=path) == 404
            assert [await status(at + each) for each in ("/metrics", "/-/config", "/v1/models")] == [200, 200, 404]
            process.send_signal(signal.SIGTERM)
            await process.communicate()
            assert process.returncode == 0
    assert path.exists()  # it is systemd's


async def test_beyond_this_machine_such_a_socket_needs_keys_too(config: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        async with served(config, listener) as process:
            _, err = await process.communicate()
    assert (process.returncode, b"--client-keys-file" in err) == (2, True)


async def test_more_sockets_than_are_served_are_told(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        async with served(config, one, two, names="a:b") as process:
            _, err = await process.communicate()
    assert process.returncode == 2
    assert b"systemd hands over 2 sockets; the gateway takes one" in err


async def test_what_is_no_socket_is_told(config: Path) -> None:
    with config.open() as file:
        async with served(config, file) as process:
            _, err = await process.communicate()
    assert (process.returncode, err) == (2, b"gateway: LISTEN_FDS is 1, and descriptor 3 is no socket\n")


async def test_what_does_not_listen_is_told(config: Path) -> None:
    with socket.socket() as idle:
        async with served(config, idle) as process:
            _, err = await process.communicate()
    assert (process.returncode, err) == (2, b"gateway: descriptor 3 of LISTEN_FDS does not listen: use ListenStream=\n")


@pytest.mark.parametrize("number", ["0", "", "x", "-1"])
def test_without_sockets_nothing_is_inherited(number: str) -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": number}
    assert systemd.inherited(environ) == (None, None)
    assert environ == {}


def test_another_process_sockets_are_not_ours() -> None:
    environ = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1"}
    assert systemd.inherited(environ) == (None, None)


async def test_systemd_hears_of_start_reload_and_stop(config: Path, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.setblocking(False)

        async def heard() -> str:
            return (await loop.sock_recv(told, 4096)).decode()

        async with served(config, flags=("--port", "0"), notify=tmp_path / "notify") as process:
            assert await heard() == "READY=1"
            save(config, "version: 1\nmodels: {echo: mock/echo, more: mock/echo}\n")
            process.send_signal(signal.SIGHUP)
            reloading, _, at = (await heard()).partition("\n")
            assert (reloading, at.startswith("MONOTONIC_USEC=")) == ("RELOADING=1", True)
            assert await heard() == "READY=1"
            process.send_signal(signal.SIGTERM)
            assert await heard() == "STOPPING=1"
            await process.communicate()
            assert process.returncode == 0


@pytest.mark.parametrize("path", ["", "relative", "@abstract-nobody", "/no/such/socket", "/" + "x" * 300])
def test_a_service_manager_that_is_not_there_is_no_fault(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    systemd.notify("READY=1")
