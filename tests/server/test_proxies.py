"""A real nginx on the gateway's machine: what it passes on opens the operators' paths to nobody without a key."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.server.conftest import Start, until

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")

CONF: Final = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass {to}; {settings} }}
  }}
}}
"""
SETTINGS: Final = (
    "",
    "proxy_set_header Host localhost;",
    "proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;",
    "proxy_http_version 1.1; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "proxy_http_version 1.1; proxy_set_header X-Forwarded-Proto $scheme;",
    "proxy_http_version 1.1; proxy_set_header Forwarded for=$remote_addr;",
    'proxy_http_version 1.1; proxy_set_header Via "1.1 nginx";',
)
KEYS: Final = "ann ann-key\nops ops-key admin\n"


@asynccontextmanager
async def nginx(folder: Path, to: str, settings: str) -> AsyncIterator[str]:
    """Run nginx in front of `to`; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    conf = folder / f"nginx-{port}.conf"
    conf.write_text(CONF.format(folder=folder, port=port, to=to, settings=settings, user=user))
    process = await asyncio.create_subprocess_exec(
        "nginx", "-c", str(conf), "-p", str(folder), "-e", "stderr", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        await until(lambda: process.returncode is not None or _listens(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _status(url: str, *, method: str = "GET", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=named) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("over", ["tcp", "unix"])
async def test_without_keys_nobody_behind_nginx_is_an_operator(
    start: Start, tmp_path: Path, settings: str, over: str
) -> None:
    async with AsyncExitStack() as stack:
        gateway = await start(**({"unix_socket": tmp_path / "s"} if over == "unix" else {}))
        to = f"http://unix:{tmp_path / 's'}" if over == "unix" else gateway.url
        url = await stack.enter_async_context(nginx(tmp_path, to, settings))
        for host in ("localhost", "127.0.0.1", "gateway.example"):
            assert await _status(f"{url}/-/config", host=host) == 403
            assert await _status(f"{url}/-/reload", method="POST", host=host) == 403
        assert await _status(f"{url}/healthz", host="localhost") == 200
        assert (await gateway.get("/-/config")).status == 200


@pytest.mark.parametrize("settings", [SETTINGS[0], SETTINGS[2], "proxy_http_version 1.1;"])
async def test_with_keys_an_operator_behind_nginx_shows_one(start: Start, tmp_path: Path, settings: str) -> None:
    (tmp_path / "keys").write_text(KEYS)
    gateway = await start(client_keys_file=tmp_path / "keys")
    async with nginx(tmp_path, gateway.url, settings) as url:
        assert await _status(f"{url}/-/config", host="localhost") == 401
        assert await _status(f"{url}/-/config", host="localhost", x_api_key="ann-key") == 403
        assert await _status(f"{url}/-/config", host="gateway.example", x_api_key="ops-key") == 200
        assert await _status(f"{url}/v1/models", host="gateway.example", x_api_key="ann-key") == 200
