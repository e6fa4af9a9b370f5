"""The HTTP/1.1 client's connections: which are kept, for how long, and what closes them."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.wire.http1.client import ConnectError, Disconnected, Http1Client, Origin, ReadError, request_head
from tests.raw_http import OK, Peer, answering, closing, post, serving, until, whole

LIMIT = 2**30
NAME = "upstream.test"


@pytest.fixture
async def client() -> AsyncIterator[Http1Client]:
    client = Http1Client()
    yield client
    await client.close()


async def ask(client: Http1Client, origin: Origin, *, connect_s: float = 5.0) -> bytes:
    """Make a request and return the body of its response."""
    head = request_head("POST", "/v1", {"host": "h"})
    return await (await client.request(origin, head, b"{}", connect_s=connect_s)).read(LIMIT)


# Which connections are kept


async def test_requests_at_once_have_connections_of_their_own_and_leave_them_for_the_next(client: Http1Client) -> None:
    async with serving(answering(whole(b"hi"))) as server:
        for _ in range(2):
            assert await asyncio.gather(*(ask(client, server.origin) for _ in range(20))) == [b"hi"] * 20
        assert len(server.peers) == 20


async def test_origins_do_not_share_connections(client: Http1Client) -> None:
    async with serving(answering(whole(b"one"))) as one, serving(answering(whole(b"two"))) as two:
        for _ in range(2):
            assert await ask(client, one.origin) == b"one"
            assert await ask(client, two.origin) == b"two"
        assert (len(one.peers), len(two.peers)) == (1, 1)


async def test_the_connection_used_last_is_used_first(client: Http1Client) -> None:
    async with serving(answering(whole(b"hi"))) as server:
        await asyncio.gather(ask(client, server.origin), ask(client, server.origin))
        idle = client._idle[server.origin.key]
        last = list(idle)[-1]
        await ask(client, server.origin)
        assert list(idle)[-1] is last


async def test_an_unused_connection_is_closed_after_a_while() -> None:
    client = Http1Client(idle_s=0.05)
    async with serving(answering(whole(b"hi"))) as server:
        await asyncio.gather(ask(client, server.origin), ask(client, server.origin))
        for peer in server.peers:
            await peer.gone.wait()
        assert (client._idle_count, client._all) == (0, set())
        await ask(client, server.origin)
        assert len(server.peers) == 3
        await client.close()


async def test_the_sweep_leaves_what_may_still_be_used_and_comes_back(client: Http1Client) -> None:
    async with serving(answering(whole(b"hi"))) as server:
        await ask(client, server.origin)
        assert client._sweep_handle is not None
        client._sweep_handle.cancel()
        client._sweep()
        assert (client._idle_count, client._sweep_handle is None) == (1, False)
        await ask(client, server.origin)
        assert len(server.peers) == 1


async def test_a_connection_whose_time_is_over_is_not_used_even_before_it_is_closed(client: Http1Client) -> None:
    async with serving(answering(whole(b"hi"))) as server:
        await ask(client, server.origin)
        for connection in client._all:
            connection.expires_at = 0.0
        await ask(client, server.origin)
        await server.peers[0].gone.wait()
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    ("hint", "kept"),
    [
        ("timeout=5", True), ("max=7, timeout=60", True), ("timeout=1", False), ("timeout=0", False),
        ("Timeout = 1", False), ('timeout="1"', False), ("timeout=5, max=0", False), ("timeout=5, max=1", False),
        ("max=2", True), ("soon", True),
    ],
)  # fmt: skip
async def test_the_server_may_want_connections_back_sooner(client: Http1Client, hint: str, kept: bool) -> None:
    async with serving(answering(whole(b"hi", headers=f"keep-alive: {hint}\r\n"))) as server:
        await ask(client, server.origin)
        now = asyncio.get_running_loop().time()
        assert all(connection.expires_at <= now + 30 for connection in client._all)
        assert len(client._idle.get(server.origin.key, ())) == kept


@pytest.mark.parametrize(
    "hints",
    [("timeout=5, max=3",) * 6, ("timeout=5, max=4", "timeout=5, max=3", "timeout=5, max=2") * 2],
    ids=["the same each time", "counted down"],
)
async def test_the_server_may_take_only_so_many_requests_on_a_connection(
    client: Http1Client, hints: tuple[str, ...]
) -> None:
    answers = (whole(b"hi", headers=f"keep-alive: {hint}\r\n") for hint in hints)

    async def handle(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(next(answers))

    async with serving(handle) as server:
        for _ in hints:
            await ask(client, server.origin)
        assert len(server.peers) == 2


async def test_only_so_many_unused_connections_are_kept() -> None:
    client = Http1Client(max_idle=3)
    async with serving(answering(whole(b"hi"))) as server:
        await asyncio.gather(*(ask(client, server.origin) for _ in range(10)))
        assert client._idle_count == 3
        await client.close()


async def test_a_connection_the_server_closes_is_forgotten(client: Http1Client) -> None:
    async with serving(closing(whole(b"hi"))) as server:
        await ask(client, server.origin)
        await server.peers[0].gone.wait()
        await until(lambda: not client._all)
        assert client._idle_count == 0


@pytest.mark.parametrize("unasked", [whole(b"evil"), b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"x", b"\r\n"])
async def test_what_comes_unasked_is_never_a_response(client: Http1Client, unasked: bytes) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole(b"hi"))
        await go_on.wait()
        await peer.send(unasked)
        await peer.left()

    go_on = asyncio.Event()
    async with serving(handle) as server:
        await ask(client, server.origin)
        go_on.set()
        await server.peers[0].gone.wait()
        assert client._idle_count == 0


async def test_closing_the_client_closes_every_connection(client: Http1Client) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole(b"hi"))
        await peer.request()
        await peer.send(OK + b"content-length: 5\r\n\r\nhi")
        await peer.left()

    async with serving(handle) as server:
        await asyncio.gather(ask(client, server.origin), ask(client, server.origin))
        running = await post(client, server)
        await client.close()
        for peer in server.peers:
            await peer.gone.wait()
        assert len(server.peers) == 2
        with pytest.raises(ReadError):
            await running.read(LIMIT)


# What closes a connection


async def test_cancelling_a_request_closes_its_connection(client: Http1Client) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.left()

    asked = asyncio.Event()
    async with serving(handle) as server, asyncio.TaskGroup() as group:
        running = group.create_task(post(client, server))
        await asked.wait()
        running.cancel()
        await server.peers[0].gone.wait()
        assert client._all == set()


@pytest.mark.parametrize("how", ["cancel", "close"])
@pytest.mark.parametrize("coding", ["", "content-encoding: gzip\r\n"])
async def test_a_response_left_early_closes_its_connection(client: Http1Client, how: str, coding: str) -> None:
    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(f"HTTP/1.1 200 OK\r\n{coding}content-length: 500\r\n\r\n".encode())
        await peer.left()

    async with serving(handle) as server:
        response = await post(client, server)
        if how == "cancel":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(response.readany(), 0.01)
        response.close()
        response.close()
        await server.peers[0].gone.wait()
        with pytest.raises(ReadError, match="closed"):
            await response.readany()


async def test_a_response_closed_after_its_end_costs_nothing(client: Http1Client) -> None:
    async with serving(answering(whole(b"hi"))) as server:
        for _ in range(3):
            response = await post(client, server)
            assert response.ended
            response.close()
            with pytest.raises(ReadError, match="closed"):
                await response.readany()
        assert len(server.peers) == 1


async def test_cancelling_while_connecting_leaves_nothing(client: Http1Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(5)
        origin = Origin("https", "127.0.0.1", silent.getsockname()[1])
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ask(client, origin))
            accepted, _ = await asyncio.to_thread(silent.accept)
            asking.cancel()
        assert asking.cancelled()
        with accepted:
            accepted.settimeout(5)
            # The client's hello, then the end.
            while await asyncio.to_thread(accepted.recv, 2**16):
                pass
    assert client._all == set()


# Against nginx

NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_max_body_size 1m; client_body_buffer_size 1m;
  gzip on; gzip_types application/json; gzip_min_length 10; gzip_proxied any;
  keepalive_requests 5;
  server {{
    listen 127.0.0.1:{inner};
    location / {{ default_type application/json; return 200 '{{"answer": "{long}"}}'; }}
  }}
  server {{
    listen 127.0.0.1:{port};
    location /plain {{ gzip off; default_type application/json; return 200 '{{"answer": 1}}'; }}
    location /zipped {{ proxy_pass http://127.0.0.1:{inner}/; proxy_http_version 1.0; }}
    location /refused {{ proxy_pass http://127.0.0.1:9/; }}
    location /echo {{ proxy_pass http://127.0.0.1:{behind}; proxy_http_version 1.1; proxy_buffering off; }}
  }}
}}
"""


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
async def test_nginx_is_understood(client: Http1Client, tmp_path: Path) -> None:
    async def echo(peer: Peer) -> None:
        while True:
            request = await peer.request()
            body = request.partition(b"\r\n\r\n")[2]
            await peer.send(OK + b"transfer-encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 10_000):
                piece = body[start : start + 10_000]
                await peer.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
            await peer.send(b"0\r\n\r\n")

    async with serving(echo) as behind:
        port, inner = free_ports()
        conf = tmp_path / "nginx.conf"
        conf.write_text(NGINX_CONF.format(folder=tmp_path, port=port, inner=inner, behind=behind.port, long="y" * 2000))
        nginx = await asyncio.create_subprocess_exec(
            "nginx", "-c", str(conf), "-p", str(tmp_path), stderr=asyncio.subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            origin = Origin("http", "127.0.0.1", port)
            await answers(client, origin)
            await nginx_says_what_it_should(client, origin)
        finally:
            nginx.terminate()
            await nginx.communicate()


async def answers(client: Http1Client, origin: Origin) -> None:
    """Return once the server listens."""
    async with asyncio.timeout(5):
        while True:
            try:
                await ask(client, origin)
            except (ConnectError, Disconnected):
                continue
            return


async def nginx_says_what_it_should(client: Http1Client, origin: Origin) -> None:
    async def get(path: str, body: bytes = b"{}") -> tuple[int, bytes]:
        head = request_head("POST", path, {"host": "h", "accept-encoding": "gzip, deflate"})
        # nginx closes after so many requests of a connection, and says so.
        response = await client.request(origin, head, body, connect_s=5.0)
        return response.status, await response.read(LIMIT)

    for _ in range(12):
        assert await get("/plain") == (200, b'{"answer": 1}')
    assert await get("/zipped") == (200, b'{"answer": "' + b"y" * 2000 + b'"}')
    assert (await get("/refused"))[0] == 502
    assert (await get("/plain", bytes(3_000_000)))[0] == 413
    body = bytes(range(256)) * 3000
    for _ in range(3):
        assert await get("/echo", body) == (200, body)


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
