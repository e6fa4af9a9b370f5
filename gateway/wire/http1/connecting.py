"""Makes connections: resolves names, tries several addresses, goes through proxies, sets up TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final, TypeAlias
from urllib.request import getproxies, proxy_bypass

from aiohappyeyeballs import start_connection
from yarl import URL

from gateway.wire.http1.connection import MAX_HEADER_BYTES, Connection, ConnectionOwner
from gateway.wire.http1.errors import ConnectError, ConnectTimeout, UnusableProxy
from gateway.wire.local_faults import note_local_fault

log = logging.getLogger(__name__)

HAPPY_EYEBALLS_S: Final = 0.25
"""Seconds until the next address is tried beside the last (RFC 8305, section 5)."""
ADDRESSES_S: Final = 10.0
"""Seconds that the addresses of a name are cached."""
KEEPALIVE_PROBE_S: Final = 60
"""TCP keepalive idle time. Model answers can take minutes."""

_MAX_NAMES: Final = 1024
_PORTS: Final = {"http": 80, "https": 443}
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,15}")
_CONNECT_REPLY: Final = re.compile(rb"HTTP/1\.[01] 2\d\d[ \r]")

_Addresses: TypeAlias = Sequence[tuple[int, int, int, str, tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    scheme: str
    host: str
    port: int
    authorization: str | None = field(repr=False)
    """The value of `proxy-authorization`, from the user information of the proxy's URL."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The server and proxy of a URL. Requests to one origin can share connections."""

    scheme: str
    """`http` or `https`."""
    host: str
    """A name in its wire form, or an address without brackets."""
    port: int
    proxy: Proxy | None = None
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        proxy = self.proxy
        via = "" if proxy is None else f" {proxy.scheme} {proxy.host} {proxy.port} {proxy.authorization}"
        object.__setattr__(self, "key", f"{self.scheme} {self.host} {self.port}{via}")

    @property
    def authority(self) -> str:
        """Host and port, as in CONNECT."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def origin_of(url: URL) -> Origin:
    """Return the origin of a URL, with the environment's proxy if any. Raises ValueError and UnusableProxy."""
    host, port = url.raw_host, url.port
    if url.scheme not in _PORTS or not host or not port:
        raise ValueError("not an http or https URL")
    return Origin(url.scheme, host, port, proxy_for(url.scheme, host))


def proxy_for(scheme: str, host: str) -> Proxy | None:
    """Return the proxy for a host by HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; None for loopback hosts.

    Raises UnusableProxy: without its proxy a host must not be called.
    """
    proxies = getproxies()
    key = scheme if proxies.get(scheme) else "all"
    named = proxies.get(key)
    if not named or _is_loopback(host) or proxy_bypass(host):
        return None
    found = "a malformed URL"
    try:
        url = URL(named if "://" in named else f"http://{named}")
        if url.scheme in _PORTS and url.raw_host and url.port:
            return Proxy(url.scheme, url.raw_host, url.port, basic_credentials(url))
        if url.scheme not in _PORTS and _SCHEME.fullmatch(url.scheme):
            found = f"{url.scheme}://"
    except ValueError:
        pass
    _complain(key, found)
    raise UnusableProxy(f"the proxy for {scheme} is no http or https URL")


@cache
def _complain(key: str, found: str) -> None:
    """Log once which variable names an unusable proxy; not its value, which may contain a password."""
    names = (f"{key}_proxy", f"{key}_proxy".upper())
    variable = next((name for name in names if os.environ.get(name)), "the system's settings")
    log.warning(
        "proxy cannot be used", extra={"variable": variable, "found": found, "supported": ["http://", "https://"]}
    )


def basic_credentials(url: URL) -> str | None:
    """Return a URL's user information as the value of an `authorization` field (RFC 7617); None if it has none."""
    if url.user is None:
        return None
    pair = f"{url.user}:{url.password or ''}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


@cache
def tls_context() -> ssl.SSLContext:
    """Return the shared TLS context: it verifies certificates and names, and honours SSL_CERT_FILE and SSL_CERT_DIR."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connector:
    """Makes the connections of one event loop."""

    def __init__(self, owner: ConnectionOwner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._addresses: dict[tuple[str, int], tuple[float, asyncio.Future[_Addresses]]] = {}

    async def connect(self, origin: Origin, *, connect_s: float) -> Connection:
        """Return a new connection, TLS done. Raises ConnectTimeout after `connect_s` seconds, else ConnectError."""
        try:
            async with asyncio.timeout(connect_s):
                return await self._connect(origin)
        except TimeoutError:
            raise ConnectTimeout("the connection did not stand in time") from None
        except (OSError, UnicodeError) as error:
            note_local_fault(error, doing="connect", host=origin.authority)
            raise ConnectError("no connection could be made") from error

    async def _connect(self, origin: Origin) -> Connection:
        via = origin.proxy or origin
        connection = Connection(origin.key, self._owner)
        tunnelled = origin.proxy is not None and origin.scheme == "https"
        tunnel = _Tunnel(self._loop) if tunnelled else None
        transport = await self._open(via.scheme, via.host, via.port, tunnel or connection)
        if tunnel is None:
            return connection
        established = False
        try:
            context = await self._tls()
            await tunnel.ask(transport, origin)
            # No await in between: TLS on a transport that has closed would wait for ever.
            secured = await self._loop.start_tls(
                transport, connection, context, server_hostname=_server_name(origin.host)
            )
            if secured is None:
                raise ConnectionError("the proxy's tunnel closed")
            connection.connection_made(secured)
            established = True
        finally:
            if not established:
                transport.abort()
        return connection

    async def _open(self, scheme: str, host: str, port: int, protocol: Connection | _Tunnel) -> asyncio.Transport:
        context = await self._tls() if scheme == "https" else None
        try:
            sock = await start_connection(
                await self._lookup(host, port), happy_eyeballs_delay=HAPPY_EYEBALLS_S, interleave=1, loop=self._loop
            )
        except OSError:
            self._addresses.pop((host, port), None)
            raise
        handed_over = False
        try:
            _probe_when_silent(sock)
            transport, _ = await self._loop.create_connection(
                lambda: protocol, sock=sock, ssl=context, server_hostname=_server_name(host) if context else None
            )
            handed_over = True
        finally:
            if not handed_over:
                # uvloop leaves the transport open if it is cancelled late.
                protocol.abort()
                sock.close()
        return transport

    async def _tls(self) -> ssl.SSLContext:
        # Reading the certificates for the first time takes tens of milliseconds.
        if tls_context.cache_info().currsize:
            return tls_context()
        return await self._loop.run_in_executor(None, tls_context)

    async def _lookup(self, host: str, port: int) -> _Addresses:
        """Return the addresses of a host, cached. Concurrent calls share one look-up."""
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass
        name, now = (host, port), self._loop.time()
        expires_at, looked_up = self._addresses.get(name, (0.0, None))
        if looked_up is None or expires_at <= now:
            if len(self._addresses) >= _MAX_NAMES:
                self._addresses.clear()
            looked_up = self._loop.run_in_executor(
                None, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            )
            self._addresses[name] = (now + ADDRESSES_S, looked_up)
            looked_up.add_done_callback(partial(self._forget_failure, name))
        return await asyncio.shield(looked_up)

    def _forget_failure(self, name: tuple[str, int], looked_up: asyncio.Future[_Addresses]) -> None:
        if looked_up.cancelled() or looked_up.exception() is not None:
            known = self._addresses.get(name)
            if known is not None and known[1] is looked_up:
                del self._addresses[name]


def _server_name(host: str) -> str:
    return host.rstrip(".")


def _probe_when_silent(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_PROBE_S)


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel, before TLS is set up on the connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._reply = bytearray()
        self._whole: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.BaseTransport | None = None

    async def ask(self, transport: asyncio.Transport, origin: Origin) -> None:
        """Return when the tunnel is set up. Raises ConnectionError."""
        lines = [f"CONNECT {origin.authority} HTTP/1.1", f"host: {origin.authority}"]
        if origin.proxy is not None and origin.proxy.authorization is not None:
            lines.append(f"proxy-authorization: {origin.proxy.authorization}")
        transport.write("\r\n".join([*lines, "", ""]).encode())
        await self._whole
        tunnelled = _CONNECT_REPLY.match(self._reply) and self._reply.find(b"\r\n\r\n") == len(self._reply) - 4
        if not tunnelled or transport.is_closing():
            raise ConnectionError("the proxy gave no tunnel")

    def abort(self) -> None:
        """Close at once."""
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reply += data
        if b"\r\n\r\n" in self._reply or len(self._reply) > MAX_HEADER_BYTES:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        self._answered()

    def _answered(self) -> None:
        if not self._whole.done():
            self._whole.set_result(None)
