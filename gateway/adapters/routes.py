"""Where our own HTTP client sends requests: origin and credentials of a base URL, a client for each event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from yarl import URL

from gateway.wire.http1 import client as http1


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach a base URL."""

    url: URL
    """Without user information."""
    origin: http1.Origin
    headers: Mapping[str, str]
    """Host, credentials from the URL's user information, and over plain HTTP those for the proxy."""
    is_exact: bool = False
    """The URL is sent as it is written: a signature covers its spelling."""

    @property
    def proxy(self) -> http1.Proxy | None:
        """The proxy that the environment names for this URL."""
        return self.origin.proxy

    def target(self, path: str) -> str:
        """Return the request target of an operation: the whole URL if a proxy has to read it."""
        url = URL(f"{self.url}{path}", encoded=self.is_exact)
        return str(url) if self.proxy is not None and url.scheme == "http" else url.raw_path_qs


@lru_cache(maxsize=1024)
def route_to(base_url: str, *, exact: bool = False) -> Route:
    """Return the way to a base URL, through the environment's proxy if any; loopback needs none. Cached.

    `exact` keeps the spelling of a URL that is quoted already.
    """
    url = URL(base_url, encoded=exact)
    origin = http1.origin_of(url)
    headers = {"host": url.host_port_subcomponent or ""}
    if (credentials := http1.basic_credentials(url)) is not None:
        headers["authorization"] = credentials
    if url.scheme == "http" and origin.proxy is not None and origin.proxy.authorization is not None:
        headers["proxy-authorization"] = origin.proxy.authorization
    plain = url.with_user(None).with_fragment(None) if url.raw_user is not None or url.raw_fragment else url
    return Route(plain, origin, headers, exact)


class Clients:
    """The HTTP clients of one adapter. A program may run one event loop after the other."""

    def __init__(self) -> None:
        self._clients: dict[asyncio.AbstractEventLoop, http1.Http1Client] = {}

    def current(self, loop: asyncio.AbstractEventLoop | None = None) -> http1.Http1Client:
        """Return the running loop's client. `loop` is that loop; pass it where it is known."""
        if loop is None:
            loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            for dead in [known for known in self._clients if known.is_closed()]:
                del self._clients[dead]
            client = self._clients[loop] = http1.Http1Client()
        return client

    async def close(self) -> None:
        """Close all connections."""
        while self._clients:
            loop, client = self._clients.popitem()
            if not loop.is_closed():
                await client.close()
