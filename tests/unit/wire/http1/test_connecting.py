"""How the HTTP/1.1 client comes by its connections: names, addresses, TLS, proxies."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from gateway.wire.http1 import connecting as http1_connect
from gateway.wire.http1.client import (
    ConnectError,
    ConnectTimeout,
    Disconnected,
    Http1Client,
    Origin,
    Proxy,
    ReadError,
    UnusableProxy,
    origin_of,
    request_head,
)
from gateway.wire.http1.connecting import _complain
from gateway.wire.http1.connection import MAX_WAITING_BYTES, Connection
from tests.certificates import self_signed
from tests.raw_http import OK, Handler, Peer, answering, closing, serving, until, whole

LIMIT = 2**30
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
NAME = "upstream.test"
BASIC = "Basic bWU6cDpz"
"""The user `me` with the password `p:s`."""


@pytest.fixture
async def client() -> AsyncIterator[Http1Client]:
    client = Http1Client()
    yield client
    await client.close()


async def ask(client: Http1Client, origin: Origin, *, connect_s: float = 5.0) -> bytes:
    """Make a request and return the body of its response."""
    head = request_head("POST", "/v1", {"host": "h"})
    return await (await client.request(origin, head, b"{}", connect_s=connect_s)).read(LIMIT)


def names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let the name have these addresses; return the list of the look-ups made for it."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if host.rstrip(".") != NAME or kwargs.get("flags"):
            return real(host, port, *args, **kwargs)
        looked_up.append(host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [found for address in addresses for found in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return looked_up


@contextmanager
def full_backlog(host: str) -> Iterator[int]:
    """Yield a port whose connections are never accepted, nor refused."""
    with socket.socket() as listening:
        listening.bind((host, 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((host, port))
        try:
            yield port
        finally:
            for one in waiting:
                one.close()


# Names and addresses


async def test_a_refused_connection_is_told(client: Http1Client) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectError) as caught:
            await ask(client, Origin("http", "127.0.0.1", closed.getsockname()[1]))
    assert not isinstance(caught.value, ConnectTimeout)


async def test_a_connection_that_takes_too_long_is_told(client: Http1Client) -> None:
    with full_backlog("127.0.0.1") as port, pytest.raises(ConnectTimeout):
        await ask(client, Origin("http", "127.0.0.1", port), connect_s=0.05)


async def test_a_server_that_closes_at_once_is_told(client: Http1Client) -> None:
    async def handle(peer: Peer) -> None:
        peer.reset()

    async with serving(handle) as server:
        with pytest.raises((Disconnected, ConnectError)) as caught:
            await ask(client, server.origin)
        assert not getattr(caught.value, "reused", False)


@pytest.mark.parametrize("host", [NAME, "x" * 300 + ".test", "a..test"])
async def test_a_name_that_nobody_knows_is_told(
    client: Http1Client, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = names(monkeypatch)
    for _ in range(2):
        with pytest.raises(ConnectError):
            await ask(client, Origin("http", host, 80))
    assert len(looked_up) == (2 if host == NAME else 0), "a failure is not remembered"


async def test_a_name_is_looked_up_once_for_all_who_ask(client: Http1Client, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = names(monkeypatch, "127.0.0.1")
    async with serving(answering(whole(b"hi"))) as server:
        origin = Origin("http", NAME, server.port)
        assert await asyncio.gather(*(ask(client, origin) for _ in range(10))) == [b"hi"] * 10
    assert looked_up == [NAME]


async def test_addresses_that_nobody_answers_at_are_looked_up_again(
    client: Http1Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = names(monkeypatch, "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for _ in range(2):
            with pytest.raises(ConnectError):
                await ask(client, Origin("http", NAME, closed.getsockname()[1]))
    assert looked_up == [NAME] * 2


async def test_the_next_address_is_tried_when_one_refuses(client: Http1Client, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with serving(answering(whole(b"hi"))) as server:
        assert await ask(client, Origin("http", NAME, server.port)) == b"hi"


async def test_the_next_address_is_tried_beside_one_that_is_silent(
    client: Http1Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, "127.0.0.2", "127.0.0.1")
    with full_backlog("127.0.0.2") as port:
        async with serving(answering(whole(b"hi")), port=port) as server:
            assert await ask(client, Origin("http", NAME, server.port), connect_s=5.0) == b"hi"


async def test_an_ipv6_address_is_reached(client: Http1Client) -> None:
    try:
        async with serving(answering(whole(b"hi")), host="::1") as server:
            assert await ask(client, http1_connect.origin_of(URL(f"http://[::1]:{server.port}/v1"))) == b"hi"
    except OSError:
        pytest.skip("no IPv6 loopback")


@pytest.mark.parametrize("url", ["ftp://h/", "/v1", "http:///v1"])
def test_only_http_urls_lead_somewhere(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        http1_connect.origin_of(URL(url))


class Leaving(Http1Client):
    """Cancels the request that a connection is for as soon as it stands."""

    running: asyncio.Task[bytes]

    def opened(self, connection: Connection) -> None:
        super().opened(connection)
        self.running.cancel()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("secure", [False, True])
async def test_cancelling_when_the_connection_just_stands_closes_it(server_tls: ssl.SSLContext, secure: bool) -> None:
    async with serving(answering(whole(b"hi")), tls=server_tls if secure else None) as server:
        client = Leaving()
        async with asyncio.TaskGroup() as group:
            client.running = group.create_task(ask(client, server.origin))
        assert client.running.cancelled()
        assert client._all == set()
        await until(lambda: len(server.peers) == 1)
        await server.peers[0].gone.wait()
        await client.close()


# TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate for `localhost`, `upstream.test` and 127.0.0.1."""
    return self_signed(tmp_path_factory.mktemp("tls"), NAME)


@pytest.fixture
def server_names() -> list[str | None]:
    """Return the names that clients asked the TLS server for."""
    return []


@pytest.fixture
def server_tls(certificate: Path, server_names: list[str | None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda _connection, name, _context: server_names.append(name)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let SSL_CERT_FILE name the server's certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    http1_connect.tls_context.cache_clear()
    yield
    http1_connect.tls_context.cache_clear()


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_of_ssl_cert_file_is_trusted_and_its_name_asked_for(
    client: Http1Client, server_tls: ssl.SSLContext, server_names: list[str | None]
) -> None:
    async with serving(answering(whole(b"hi")), tls=server_tls) as server:
        for _ in range(3):
            assert await ask(client, server.origin) == b"hi"
        assert len(server.peers) == 1
        tls = server.peers[0].writer.get_extra_info("ssl_object")
        assert (server_names, tls.selected_alpn_protocol()) == (["localhost"], "http/1.1")


@pytest.mark.usefixtures("trusted")
async def test_an_address_is_verified_too(client: Http1Client, server_tls: ssl.SSLContext) -> None:
    async with serving(answering(whole(b"hi")), tls=server_tls) as server:
        assert await ask(client, Origin("https", "127.0.0.1", server.port)) == b"hi"
        with pytest.raises(ConnectError):
            await ask(client, Origin("https", "127.0.0.2", server.port))


@pytest.mark.usefixtures("trusted")
async def test_a_dot_at_a_name_s_end_is_not_part_of_it(
    client: Http1Client,
    server_tls: ssl.SSLContext,
    server_names: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names(monkeypatch, "127.0.0.1")
    async with serving(answering(whole(b"hi")), tls=server_tls) as server:
        assert await ask(client, Origin("https", f"{NAME}.", server.port)) == b"hi"
        assert server_names == [NAME]


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_of_another_name_is_no_connection(
    client: Http1Client, server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1" if host == "other.test" else host, *a, **k)
    )
    async with serving(answering(whole(b"hi")), tls=server_tls) as server:
        with pytest.raises(ConnectError) as caught:
            await ask(client, Origin("https", "other.test", server.port))
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert server.requests == []


async def test_an_unknown_certificate_is_no_connection_and_leaves_no_socket(
    client: Http1Client, server_tls: ssl.SSLContext
) -> None:
    async with serving(answering(whole(b"hi")), tls=server_tls) as server:
        for _ in range(2):
            with pytest.raises(ConnectError):
                await ask(client, server.origin)
        before = len(os.listdir("/dev/fd"))
        for _ in range(10):
            with pytest.raises(ConnectError):
                await ask(client, server.origin)
        await until(lambda: len(os.listdir("/dev/fd")) <= before)
        assert (client._all, server.requests) == (set(), [])


@pytest.mark.usefixtures("trusted")
async def test_long_bodies_pass_tls_both_ways(client: Http1Client, server_tls: ssl.SSLContext) -> None:
    async def echo(peer: Peer) -> None:
        while True:
            await peer.send(whole((await peer.request()).partition(b"\r\n\r\n")[2]))

    body = bytes(range(256)) * 20_000
    async with serving(echo, tls=server_tls) as server:
        head = request_head("POST", "/v1", {"host": "h"})
        for _ in range(2):
            response = await client.request(server.origin, head, body, connect_s=5.0)
            assert await response.read(LIMIT) == body
        assert len(server.peers) == 1


@pytest.mark.usefixtures("trusted")
async def test_a_slow_reader_holds_a_tls_server_back(client: Http1Client, server_tls: ssl.SSLContext) -> None:
    async with serving(answering(whole(bytes(30_000_000))), tls=server_tls) as server:
        response = await client.request(server.origin, request_head("POST", "/v1", {"host": "h"}), b"{}", connect_s=5.0)
        await until(lambda: response.waiting_bytes > MAX_WAITING_BYTES)
        for _ in range(100):
            await asyncio.sleep(0)
        assert response.waiting_bytes <= 4 * MAX_WAITING_BYTES
        assert len(await response.read(LIMIT)) == 30_000_000


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "answer", [OK + b"content-length: 9\r\n\r\nhi", OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi"]
)
async def test_a_break_under_tls_is_no_end(client: Http1Client, server_tls: ssl.SSLContext, answer: bytes) -> None:
    async with serving(closing(answer), tls=server_tls) as server:
        with pytest.raises((ReadError, Disconnected)):
            await ask(client, server.origin)


@pytest.mark.usefixtures("trusted")
async def test_tls_that_never_comes_takes_too_long(client: Http1Client) -> None:
    async def silent(peer: Peer) -> None:
        await peer.left()

    async with serving(silent) as server:
        with pytest.raises(ConnectTimeout):
            await ask(client, Origin("https", "127.0.0.1", server.port), connect_s=0.05)
        await server.peers[0].gone.wait()


async def test_words_that_are_not_tls_are_no_connection(client: Http1Client) -> None:
    async def answer_anything(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(answer_anything) as server:
        with pytest.raises(ConnectError):
            await ask(client, Origin("https", "127.0.0.1", server.port))


# Proxies


def tunnelling(seen: list[bytes]) -> Handler:
    """Return a proxy that opens the tunnels it is asked for, whatever the name, on 127.0.0.1."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, ssl.SSLError):
                while data := await reader.read(2**16):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def handle(peer: Peer) -> None:
        seen.append(await peer.head())
        port = int(seen[-1].split(b" ")[1].rpartition(b":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await peer.send(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
        await asyncio.gather(pass_on(peer.reader, writer), pass_on(reader, peer.writer))

    return handle


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_tls_goes_through_a_proxy_s_tunnel(
    client: Http1Client, server_tls: ssl.SSLContext, server_names: list[str | None], scheme: str
) -> None:
    seen: list[bytes] = []
    tls = server_tls if scheme == "https" else None
    body = bytes(2_000_000)
    async with serving(answering(whole(body)), tls=server_tls) as server, serving(tunnelling(seen), tls=tls) as proxy:
        origin = Origin("https", NAME, server.port, Proxy(scheme, "localhost", proxy.port, BASIC))
        for _ in range(2):
            assert await ask(client, origin) == body
        assert (len(server.peers), len(proxy.peers)) == (1, 1)
        authority = f"{NAME}:{server.port}"
        assert seen == [
            f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nproxy-authorization: {BASIC}\r\n\r\n".encode()
        ]
        assert server_names == (["localhost"] if tls else []) + [NAME]
        await client.close()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_plain_http_goes_to_the_proxy(client: Http1Client, server_tls: ssl.SSLContext, scheme: str) -> None:
    async with serving(answering(whole(b"hi")), tls=server_tls if scheme == "https" else None) as proxy:
        origin = Origin("http", NAME, 80, Proxy(scheme, "localhost", proxy.port, None))
        assert await ask(client, origin) == b"hi"


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nsomething that TLS servers never say first",
        b"HTTP/1.1 200 OK\r\n\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"",
    ],
)
async def test_a_proxy_without_a_tunnel_is_no_connection(client: Http1Client, answer: bytes) -> None:
    async def handle(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)

    async with serving(handle) as proxy:
        with pytest.raises(ConnectError):
            await ask(client, Origin("https", NAME, 443, Proxy("http", "127.0.0.1", proxy.port, None)))
        assert client._all == set()


async def test_a_silent_proxy_takes_too_long(client: Http1Client) -> None:
    async def handle(peer: Peer) -> None:
        await peer.left()

    async with serving(handle) as proxy:
        with pytest.raises(ConnectTimeout):
            await ask(client, Origin("https", NAME, 443, Proxy("http", "127.0.0.1", proxy.port, None)), connect_s=0.05)
        await proxy.peers[0].gone.wait()


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://a.test/", None),
        ({"https_proxy": "http://p.test:3128"}, "https://a.test/", Proxy("http", "p.test", 3128, None)),
        ({"HTTPS_PROXY": "p.test"}, "https://a.test/", Proxy("http", "p.test", 80, None)),
        ({"https_proxy": "https://p.test"}, "https://a.test/", Proxy("https", "p.test", 443, None)),
        ({"https_proxy": "http://me:p%3As@p.test:1"}, "https://a.test/", Proxy("http", "p.test", 1, BASIC)),
        ({"https_proxy": ""}, "https://a.test/", None),
        ({"https_proxy": "http://p.test:1"}, "http://a.test/", None),
        ({"http_proxy": "http://p.test:1"}, "http://a.test/", Proxy("http", "p.test", 1, None)),
        ({"https_proxy": "http://p.test:1", "no_proxy": "b.test,.a.test"}, "https://x.a.test/", None),
        ({"https_proxy": "http://p.test:1", "NO_PROXY": "*"}, "https://a.test/", None),
        ({"https_proxy": "http://p.test:1", "no_proxy": "b.test"}, "https://a.test/", Proxy("http", "p.test", 1, None)),
        ({"ALL_PROXY": "http://p.test:1"}, "http://a.test/", Proxy("http", "p.test", 1, None)),
        (
            {"all_proxy": "socks5://s.test:1", "http_proxy": "http://p.test:1"},
            "http://a.test/",
            Proxy("http", "p.test", 1, None),
        ),
        ({"all_proxy": "socks5://s.test:1"}, "http://localhost:5/", None),
        ({"http_proxy": "http://p.test:1"}, "http://localhost:5/", None),
        ({"http_proxy": "http://p.test:1"}, "http://LOCALHOST./", None),
        ({"http_proxy": "http://p.test:1"}, "http://127.9.9.9/", None),
        ({"http_proxy": "http://p.test:1"}, "http://[::1]:5/", None),
    ],
)
def test_the_environment_names_the_proxy(
    environ: dict[str, str], url: str, proxy: Proxy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert origin_of(URL(url)).proxy == proxy


@pytest.mark.parametrize(
    ("variable", "value", "found"),
    [
        ("https_proxy", "socks5://me:secret@p.test:1080", "socks5://"),
        ("HTTPS_PROXY", "socks5h://me:secret@p.test", "socks5h://"),
        ("ALL_PROXY", "socks4://p.test:1080", "socks4://"),
        ("all_proxy", "ftp://me:secret@p.test", "ftp://"),
        ("https_proxy", "http://me:secret@[bad", "a malformed URL"),
        ("https_proxy", "http://me:secret@p.test:99999", "a malformed URL"),
        ("https_proxy", "http://me:secret@:1", "a malformed URL"),
        ("https_proxy", "http://", "a malformed URL"),
        ("https_proxy", "me:secret@p.test:none", "a malformed URL"),
        ("https_proxy", "sec ret://p.test", "a malformed URL"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_and_named_once(
    variable: str, value: str, found: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(variable, value)
    _complain.cache_clear()
    for _ in range(2):
        with pytest.raises(UnusableProxy, match="the proxy for https") as caught:
            origin_of(URL("https://a.test/"))
        assert "sec" not in str(caught.value)
    (line,) = caplog.records
    assert (line.getMessage(), line.levelname) == ("proxy cannot be used", "WARNING")
    fields = vars(line)
    assert (fields["variable"], fields["found"]) == (variable, found)
    assert fields["supported"] == ["http://", "https://"]
    assert "secret" not in str(fields)


def test_credentials_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = Origin("https", "a.test", 443, Proxy("http", "p.test", 1, BASIC))
    assert BASIC not in repr(origin)
    assert origin.key != Origin("https", "a.test", 443, Proxy("http", "p.test", 1, None)).key
